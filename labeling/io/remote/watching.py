"""A store looked at again and again, by who waits for something in it.

Always holds: a flow that serves the store is asked; a file that nobody serves is opened for a
moment, once after each change, and only when it has stayed as it is from one look to the next, so
that who writes it, or starts to, finds it free. A store that cannot be asked now may be asked
later: flows and replays come and go.

Not promised: that a flow which starts at the very moment at which the file is read does not find it
in use. Its supervisor starts it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labeling.errors import StoreError
from labeling.io.remote.client import Client
from labeling.io.remote.live import read_live
from labeling.io.remote.store import open_store
from labeling.io.store import Store

_Stamp = tuple[tuple[int, int, int], ...]


class Watch:
    """Looks at one store.

    Args:
        path: the DuckDB file; it need not exist yet.

    Attributes:
        served: whether a flow was there at the last look.
        why: why the last look saw nothing; None where it did.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: _Stamp | None = None
        self._before: _Stamp | None = None
        self.served = False
        self.why: str | None = None

    def forget(self) -> None:
        """Let the next look see the store again, although it may be the same."""
        self._seen = None

    @contextmanager
    def look(self) -> Iterator[Store | None]:
        """The store for the block; None where nothing is new in it, or it cannot be asked now.

        An error of the store in the block counts as one that passes, and ends it.
        """
        live = read_live(self._path)
        self.served = live is not None and Client(live).greet() is not None
        stamp = None if self.served else _stamp(self._path)
        restless = self._before not in (None, stamp)
        self._before = stamp
        if stamp is not None and (restless or stamp == self._seen):
            yield None
            return
        try:
            store = open_store(self._path, read_only=True)
        except StoreError as error:
            # In use, most likely: who has it may be about to come back.
            self.why, self._before = str(error), ()
            yield None
            return
        try:
            yield store
            self.why, self._seen = None, stamp
        except StoreError as error:
            self.why = str(error)
        finally:
            store.close()


def _stamp(path: Path) -> _Stamp:
    """What changes with each commit: of the file, and of its log."""
    found = []
    for each in (path, path.with_name(f"{path.name}.wal")):
        try:
            told = each.stat()
        except OSError:
            continue
        found.append((told.st_ino, told.st_mtime_ns, told.st_size))
    return tuple(found)
