"""A commit that another process will make: every call is recorded and sent at the end.

Always holds: the calls are made in the order of the recording, inside one transaction, all or
none; frames wait on disk, not in memory.

Not promised: results before the end. ``set_hours`` returns a mapping that is filled when the
commit is made; how many rejects were new is never told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import polars as pl

from labeling.errors import StoreError
from labeling.io.remote.parcel import Packer
from labeling.io.store.commit import Commit
from labeling.io.store.publish import Published
from labeling.model.table import RuleTable

#: What other processes may call; the rest is the flow's own.
CALLS: Final = frozenset(
    {
        *("append_counts", "append_rejects", "append_late", "append_conflicts", "append_imports"),
        *("mark_retried", "end_source", "add_files", "remove_files"),
        *("add_feature_files", "remove_feature_files"),
        *("publish", "publish_first", "set_hours", "set_repaired", "activate"),
    }
)


class Recorder(Commit):
    """Records the calls of a commit; made by ``RemoteStore.commit``.

    ``number`` is None: the commit gets one when it is made. What is archived under it has a null
    ``archived`` and files of ``max_archived`` 0; ``add_files`` puts the number in.
    """

    number: int | None = None  # type: ignore[assignment] # the writer gives it, later

    def __init__(self, packer: Packer) -> None:
        self._packer = packer
        self._calls: list[Any] = []
        self._hours: dict[int, dict[datetime, int]] = {}

    def record(self, name: str, *args: Any, **more: Any) -> None:
        """Note a call."""
        self._calls.append(self._packer.pack([name, args, more]))

    def calls(self) -> list[Any]:
        """What was recorded, packed."""
        return self._calls

    def fulfil(self, hours: Mapping[str, Sequence[tuple[str, int]]]) -> None:
        """Fill in what the writer answered: the place of a call to its hours and their rows."""
        for place, rows in self._hours.items():
            rows.update((datetime.fromisoformat(hour), count) for hour, count in hours[str(place)])

    def append_rejects(self, rejects: pl.DataFrame) -> int:
        """See ``Commit.append_rejects``; how many there are, whether or not they are new."""
        self.record("append_rejects", rejects)
        return rejects.height

    def publish(self, table: RuleTable, changes: pl.DataFrame) -> Published:
        """See ``Commit.publish``."""
        self.record("publish", table, changes)
        kinds = dict(changes["kind"].value_counts().iter_rows())
        return Published(*(kinds.get(kind, 0) for kind in ("insert", "update", "retract")))

    def set_hours(self, *args: Any, **more: Any) -> dict[datetime, int]:
        """See ``Commit.set_hours``; the mapping is filled when the commit is made."""
        rows = self._hours[len(self._calls)] = dict[datetime, int]()
        self.record("set_hours", *args, **more)
        return rows


def _recording(name: str) -> Callable[..., None]:
    def record(self: Recorder, *args: Any, **more: Any) -> None:
        self.record(name, *args, **more)

    return record


def _refusing(name: str) -> Callable[..., None]:
    def refuse(self: Recorder, *_: Any, **__: Any) -> None:
        raise StoreError(f"{type(self).__name__}.{name}: only the process that writes the store")

    return refuse


_PUBLIC = {
    name
    for base in Commit.__mro__[:-1]
    for name, value in vars(base).items()
    if callable(value) and not name.startswith("_")
}
for _name in sorted(_PUBLIC):
    if _name not in vars(Recorder):
        setattr(Recorder, _name, (_recording if _name in CALLS else _refusing)(_name))
