"""A store that another process has open: the same questions and commits, over HTTP.

Always holds: whatever reads or writes a ``Store`` works on this one; a commit is made whole or not
at all, and nobody but the serving process itself commits between its begin and its end (a lock on
the live file, which ends with the process that holds it).

Not promised: that two reads outside a commit see the same commit.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labeling.errors import StoreError
from labeling.io.remote.client import Client
from labeling.io.remote.database import RemoteDatabase, parcel_file
from labeling.io.remote.live import live_path, read_live
from labeling.io.remote.parcel import Packer
from labeling.io.remote.recorder import Recorder
from labeling.io.store import Store
from labeling.io.store.commit import Commit
from labeling.io.store.snapshot import hand_over


class RemoteStore(Store):
    """A store served by another process; made by ``open_store``.

    Args:
        db: its reading half.
        writes: whether it will commit, which takes a run number of its own.

    Raises:
        StoreError: nobody answers.
    """

    def __init__(self, db: RemoteDatabase, *, writes: bool) -> None:
        super().__init__(db)
        self._client = db.client
        if writes:
            with self._client.ask("/run", {}) as answer:
                self.run = int(json.loads(answer.read())["run"])

    def status(self) -> dict[str, Any]:
        """What the serving process tells of itself.

        Raises:
            StoreError: it does not answer.
        """
        return self._client.look("/status")

    @contextmanager
    def commit(self, what: str, *, run: int | None = None) -> Iterator[Commit]:
        """One transaction of the serving process, made when the block ends without an error.

        Raises:
            StoreError: opened inside another, or refused; nothing was written then.
        """
        with self._turns.turn(what), self._alone(), parcel_file(self._db.spill) as stream:
            with Packer(stream) as packer:
                recorder = Recorder(packer)
                yield recorder
                packer.close({"what": what, "run": run or self.run, "calls": recorder.calls()})
            with self._client.send("/commit", stream) as answer:
                recorder.fulfil(json.loads(answer.read())["hours"])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes that commit through the same endpoint waiting."""
        path = live_path(self.path)
        try:
            stream = path.open("rb")
        except OSError as error:
            raise StoreError(f"{path} is gone: the process that served the store ended") from error
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def retain(self, keep_ms: Mapping[str, int | None]) -> dict[str, int]:
        """See ``Store.retain``."""
        with self._client.ask("/retain", {"keep_ms": dict(keep_ms)}) as answer:
            dropped: dict[str, int] = json.loads(answer.read())["dropped"]
        return dropped

    def checkpoint(self) -> None:
        """Nothing: the serving process does it when it is time."""

    def snapshot(self, path: Path, *, force: bool = False) -> int:
        """See ``Store.snapshot``."""
        if path.exists() and not force:
            raise StoreError(f"{path} exists; name another file, or replace it with --force")
        with self._client.ask("/snapshot", {}) as answer:
            told = json.loads(answer.read())
        hand_over(Path(told["path"]), path, force=force)
        return int(told["commit"])


def open_store(path: Path, *, read_only: bool = False, needed: bool = False) -> Store:
    """Open a store, or speak to the process that has it open.

    Args:
        path: the DuckDB file.
        read_only: for questions only.
        needed: only the latter: the file itself would be in a starting flow's way.

    Raises:
        StoreError: as ``Store.open``; with ``needed``, nobody serves the store.

    Example:
        ``with open_store(config.store, read_only=True) as store: store.query("FROM commits")``
    """
    live = read_live(path)
    if live is not None:
        client = Client(live)
        if client.greet() is not None:
            db = RemoteDatabase(path, client, patient=not read_only)
            return RemoteStore(db, writes=not read_only)
    if needed:
        raise StoreError(f"no flow serves {path}; start `labeling run`, or leave out --beside")
    return Store.open(path, read_only=read_only)
