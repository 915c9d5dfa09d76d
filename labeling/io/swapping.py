"""Files that leave the archive: out of the store in one commit, off the disk when none reads them.

Always holds: names are swapped in one commit, with the new files on disk before it. A file is
deleted only when

- the store does not name it, and never will again: it was named once and a commit took it out (a
  record in ``.removed/`` says so), or its name carries a *run* before that of the process that has
  the store open. Who wrote it has ended then, or speaks to a process that has: it is too late for a
  commit. A file of that process's run or of a later one (each import or compaction beside a flow
  has a run of its own) may be about to be named and stays, unless a record has it;
- and each lease that is held was taken after that was so.

A file whose name carries another store's id, or none, is never touched. After a crash at any
instant the store names whole files only, and a later ``sweep`` deletes the rest.

Not promised: that what a failed compaction or import beside a flow wrote goes before the flow's
process ends. It is told from what is about to be named by nothing else.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from labeling.io import leases, shelf
from labeling.io.archive import TAIL, Archive, ArchiveFile
from labeling.io.durable import make_folder
from labeling.io.remote.database import RemoteDatabase
from labeling.io.store import Store

#: The folder of records inside an archive's: files that were named once and no longer are.
REMOVED: Final = ".removed"
_NAME: Final = re.compile(
    r"\.?(?:import|tail|hour)-(?P<store>[0-9a-f]{8})-(?P<run>\d+)-.*\.parquet(?:\.tmp)?"
)


@dataclass(frozen=True, slots=True)
class Swept:
    """Files that were deleted, and files that wait for readers to end."""

    deleted: int = 0
    waiting: int = 0

    def __add__(self, other: Swept) -> Swept:
        """Both together."""
        return Swept(self.deleted + other.deleted, self.waiting + other.waiting)


@dataclass(frozen=True, slots=True)
class Lying:
    """A file in the archive's folder whose name says which run of which store wrote it."""

    name: str
    store_id: str
    run: int


def lying(root: Path) -> Iterator[Lying]:
    """Files that some import, stream or compaction wrote, whole or temporary, in no order."""
    for folder in (root / TAIL, *root.glob("dt=*/hour=*")):
        for path in folder.iterdir() if folder.is_dir() else ():
            if found := _NAME.fullmatch(path.name):
                name = path.relative_to(root).as_posix()
                yield Lying(name, found["store"], int(found["run"]))


def swap(
    store: Store, archive: Archive, what: str, new: Sequence[ArchiveFile], old: Sequence[str]
) -> Swept:
    """Name new files in place of old ones, in one commit, and delete what nobody reads.

    For the one who is ``leases.alone``.

    Args:
        store: open for writing, or another process's.
        archive: where the files lie.
        what: the commit's, in words.
        new: written and synced.
        old: names of the store.

    Raises:
        StoreError: an old name is no longer there, or the commit fails; nothing is swapped.
    """
    leaving = _Leaving(_new_record(archive), tuple(old))
    if _run_of_opener(store) != store.run:
        # This process may end without the other: then the record alone tells what was taken out.
        leaving.save()
    with store.commit(what) as commit:
        shelf.add(commit, archive, new)
        shelf.remove(commit, archive, old)
    return leaving.finish(archive)


def sweep(store: Store, archive: Archive) -> Swept:
    """Delete what earlier runs left and no reader holds; nothing while another one swaps.

    Args:
        store: open for writing, or another process's.
        archive: where the files lie.
    """
    with leases.alone(store.path) as mine:
        return sweep_alone(store, archive) if mine else Swept()


def sweep_alone(store: Store, archive: Archive) -> Swept:
    """``sweep``, for the one who is ``leases.alone`` already."""
    opened = _run_of_opener(store)
    named = {file.name for file in shelf.named(store, archive)}
    swept, recorded = Swept(), set[str]()
    for path in sorted((archive.root / REMOVED).glob("*.json")):
        leaving = _Leaving.load(path)
        # What is still named: the commit that the record was written for did not come about.
        leaving = replace(leaving, names=tuple(n for n in leaving.names if n not in named))
        swept += leaving.finish(archive)
        recorded.update(leaving.names)
    dead = [
        file.name
        for file in lying(archive.root)
        if file.store_id == store.store_id and file.run < opened
    ]
    unnamed = tuple(sorted({*dead} - named - recorded))
    return swept + _Leaving(_new_record(archive), unnamed).finish(archive) if unnamed else swept


def _run_of_opener(store: Store) -> int:
    """The run of the process that has the store's file open: this one, or the one that serves."""
    db = store.database
    return db.client.live.run if isinstance(db, RemoteDatabase) else store.run


def _new_record(archive: Archive) -> Path:
    return archive.root / REMOVED / f"{secrets.token_hex(8)}.json"


@dataclass(frozen=True, slots=True)
class _Leaving:
    """Names that left the store together.

    ``leases``: those that were held at some time after; a reader may have the names only if its
    lease is among them. None: nobody has looked yet.
    """

    path: Path
    names: tuple[str, ...]
    leases: frozenset[str] | None = None

    @classmethod
    def load(cls, path: Path) -> _Leaving:
        """A record; one that a power cut spoilt is empty: its files are of a run that has ended."""
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return cls(path, ())
        held = told["leases"]
        return cls(path, tuple(told["names"]), None if held is None else frozenset(held))

    def save(self) -> None:
        """Write the record whole; not synced, see ``load``."""
        make_folder(self.path.parent)
        half = self.path.with_suffix(".tmp")
        held = None if self.leases is None else sorted(self.leases)
        half.write_text(json.dumps({"names": self.names, "leases": held}), encoding="utf-8")
        half.rename(self.path)

    def finish(self, archive: Archive) -> Swept:
        """Delete the files if no reader can have their names; else note for whom they wait."""
        live = leases.live(archive.root) if self.names else frozenset[str]()
        held = live if self.leases is None else self.leases & live
        if held:
            replace(self, leases=held).save()
            return Swept(waiting=len(self.names))
        archive.remove(self.names)
        self.path.unlink(missing_ok=True)
        return Swept(deleted=len(self.names))
