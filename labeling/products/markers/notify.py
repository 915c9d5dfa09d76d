"""Telling markers to those who want them: clause M8.

Always holds: each hook is told every marker that it wants, in the order of commits, the next one
only after it took the one before; what it took is noted on disk before the next, so that whatever
ends the process nothing is left out, and at most one marker is told again. Hooks do not wait for
one another.

Not promised: that a hook which fails for ever is given up. With ``tries`` it is, until the next
start.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from labeling.errors import DataError
from labeling.io.durable import put_in_place
from labeling.io.store import Store
from labeling.products.markers.hooks import Hook, Marker
from labeling.products.markers.rows import TOLD, markers_told

_LOG: Final = logging.getLogger("labeling")
#: Appended to the store's name.
SUFFIX: Final = ".notified.json"
#: Markers that wait in memory for one hook.
_WAITING: Final = 200
_IDLE_S: Final = 0.1
_MOST_WAIT_S: Final = 60.0
#: A place in the order of markers: the values of ``TOLD``.
Place = tuple[Any, ...]
_AFTER: Final = (
    f"FROM markers WHERE ({', '.join(TOLD)}) > (?, ?, ?, ?, ?) ORDER BY {', '.join(TOLD)} LIMIT ?"
)
_BEFORE_ALL: Final[Place] = (0, "", 0, datetime(1970, 1, 1, tzinfo=UTC), 0)


class Progress:
    """How far each hook has been told, in a file beside the store.

    Args:
        path: of the file.
        store_id: of the store; what was told of another one is nothing here.

    Raises:
        DataError: the file is there and is none.
    """

    def __init__(self, path: Path, store_id: str) -> None:
        self._path = path
        self._store_id = store_id
        self._lock = threading.Lock()
        self._places: dict[str, Place] = {}
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if told["store_id"] == store_id:
                self._places = {
                    name: (commit, rule, version, datetime.fromisoformat(hour), revision)
                    for name, (commit, rule, version, hour, revision) in told["told"].items()
                }
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} cannot be read ({error}); delete it to tell all markers again"
            ) from error

    def of(self, name: str) -> Place:
        """The last marker that a hook was told of."""
        return self._places.get(name, _BEFORE_ALL)

    def note(self, name: str, place: Place) -> None:
        """A hook was told of a marker; on disk when this returns.

        Raises:
            DataError: the disk refuses.
        """
        with self._lock:
            self._places[name] = place
            told = {
                name: [c, rule, version, hour.isoformat(), revision]
                for name, (c, rule, version, hour, revision) in sorted(self._places.items())
            }
            text = json.dumps({"store_id": self._store_id, "told": told}, indent=1)
            half = self._path.with_name(f".{self._path.name}.tmp")
            try:
                half.write_text(text, encoding="utf-8")
                put_in_place(half, self._path)
            except OSError as error:
                raise DataError(f"{self._path} cannot be written: {error.strerror}") from error


class Courier(threading.Thread):
    """Tells one hook, in a thread of its own.

    Args:
        hook: who is told.
        progress: where it is noted.
        stop: set to end after the try at hand.
        tries: of one marker; None: for ever.

    Attributes:
        failed: why it ended before it was told to; None else.
    """

    def __init__(
        self, hook: Hook, progress: Progress, stop: threading.Event, tries: int | None = None
    ) -> None:
        super().__init__(name=hook.name, daemon=True)
        self.hook = hook
        self.failed: str | None = None
        self._progress = progress
        self._stopping = stop
        self._tries = tries
        self._read = progress.of(hook.name)
        self._more = True
        self._waiting: queue.Queue[tuple[Place, Marker]] = queue.Queue()

    @property
    def idle(self) -> bool:
        """Whether everything that was brought is told, or nothing will be told any more."""
        return self.failed is not None or self._waiting.unfinished_tasks == 0

    @property
    def hungry(self) -> bool:
        """Whether it would take more from a store that is as it was."""
        return self.failed is None and self._more and self._waiting.qsize() < _WAITING

    def bring(self, store: Store) -> None:
        """Take the next markers from the store, if few wait."""
        if self.failed is not None or self._waiting.qsize() >= _WAITING:
            self._more = True
            return
        last = store.last_commit
        if self._read[0] > last:
            _LOG.warning("%s: the store is an older copy, at commit %d", self.hook.name, last)
            self._read = (last + 1, *_BEFORE_ALL[1:])
        found = store.database.frame(_AFTER, [*self._read, _WAITING])
        places = list(found.select(TOLD).iter_rows())
        for place, marker in zip(places, markers_told(found), strict=True):
            self._read = place
            self._waiting.put((place, marker))
        self._more = len(places) == _WAITING

    def run(self) -> None:
        """Tell what is brought, until stopped."""
        try:
            while not self._stopping.is_set():
                try:
                    place, marker = self._waiting.get(timeout=_IDLE_S)
                except queue.Empty:
                    continue
                if self.hook.wants(marker) and not self._told(marker):
                    return
                self._progress.note(self.hook.name, place)
                self._waiting.task_done()
        except Exception as error:  # noqa: BLE001 - a thread that ends in silence looks idle
            self.failed = str(error)
            _LOG.exception("%s is told no more", self.hook.name)

    def _told(self, marker: Marker) -> bool:
        """Tell one marker, again and again; False where it was given up."""
        for number, wait_s in enumerate(waits(), 1):
            try:
                self.hook.tell(marker, self._stopping)
            except DataError as error:
                if number == self._tries:
                    self.failed = str(error)
                    return False
                _LOG.warning("%s; again in %g s", error, wait_s)
                if self._stopping.wait(wait_s):
                    return False
            else:
                return True
        return False


def progress_of(store: Store) -> Progress:
    """How far the markers of a store have been told.

    Raises:
        DataError: as ``Progress``.
    """
    return Progress(store.path.with_name(store.path.name + SUFFIX), store.store_id)


def waits() -> Iterator[float]:
    """Seconds between tries: 1, 2, 4 and so on, at most a minute."""
    wait_s = 1.0
    while True:
        yield wait_s
        wait_s = min(_MOST_WAIT_S, 2 * wait_s)


def skip_all(store: Store, hooks: Sequence[Hook], progress: Progress) -> None:
    """Note for each hook that it was told all markers that there are."""
    last = store.query(f"SELECT {', '.join(TOLD)} FROM markers ORDER BY ALL DESC LIMIT 1")
    for hook in hooks:
        for place in last.iter_rows():
            progress.note(hook.name, place)
