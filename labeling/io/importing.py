"""Files of a source into the archive: bounded memory, one commit per few million events.

Always holds: every event read is counted as exactly one of rejected, too late, duplicate or
accepted; importing a file again archives nothing and lists no reject twice; after a crash at any
instant the store names exactly the files of finished commits, and importing again completes the
rest. Memory is bounded whatever the size of the input.

Not promised: that files left by a crash disappear at once. The next import, compaction or start of
a flow removes those that nobody can name any more (``labeling.io.swapping``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from labeling.config.settings import Config
from labeling.config.source import SourceConfig
from labeling.errors import DataError, StoreError
from labeling.io import leases, shelf
from labeling.io.archive import Archive, ArchiveFile
from labeling.io.decode import Decoded
from labeling.io.decoders import open_decoder
from labeling.io.feature_archive import archive_of, archives
from labeling.io.files import read_batches
from labeling.io.intake import Intake, Taken
from labeling.io.merging import merge_small
from labeling.io.store import Commit, Counts, Store
from labeling.io.swapping import lying, sweep

#: A commit takes in about this many events, or this many bytes of them in memory. While one is
#: taken in, the next is read.
CHUNK_EVENTS: Final = 1_000_000
CHUNK_BYTES: Final = 500_000_000


@dataclass
class Totals:
    """What an import, or a part of one, read and did with it."""

    records: int = 0
    events: int = 0
    rejected: int = 0
    too_late: int = 0
    duplicate: int = 0
    accepted: int = 0
    conflicts: int = 0
    bytes: int = 0

    def add(self, other: Totals) -> None:
        """Add another's numbers to these."""
        for name, number in asdict(other).items():
            setattr(self, name, getattr(self, name) + number)


@dataclass(frozen=True)
class Plan:
    """What to import.

    Args:
        source: its mapping reads the files.
        files: in the order in which they are read.
        until_ts: the input is complete before this time (exclusive); None: it is all there is.
        live_since: first event time that a live flow reads (see ``Intake``); None: there is none.
    """

    source: SourceConfig
    files: Sequence[Path]
    until_ts: datetime | None = None
    live_since: datetime | None = None


@dataclass
class _Chunk:
    """What is read and not committed yet."""

    events: list[pl.DataFrame] = field(default_factory=list)
    rejects: list[pl.DataFrame] = field(default_factory=list)
    finished: list[dict[str, object]] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)
    size: int = 0

    def add(self, decoded: Decoded) -> None:
        """Take a decoded batch."""
        self.totals.records += decoded.records
        self.totals.events += decoded.events.height + decoded.rejects.height
        self.totals.rejected += decoded.rejects.height
        if decoded.events.height:
            self.events.append(decoded.events)
            self.size += int(decoded.events.estimated_size())
        if decoded.rejects.height:
            self.rejects.append(decoded.rejects)
            self.size += int(decoded.rejects.estimated_size())

    def pop_events(self) -> pl.DataFrame:
        """All events as one frame, no longer held here."""
        events = pl.concat(self.events)
        self.events.clear()
        return events

    @property
    def full(self) -> bool:
        """Whether it should be committed before more is read."""
        return self.totals.events >= CHUNK_EVENTS or self.size >= CHUNK_BYTES


class Importer:
    """Imports into one store and archive. Made once per run.

    Args:
        store: open for writing.
        config: columns, archive folder and clock skew.
        progress: called with the numbers of each batch read (records, events, rejects, bytes) and
            of each commit (the rest), from two threads; None: nobody watches.
        now: the clock: what lies further ahead of it than ``max_clock_skew`` is a reject; None:
            there is none.

    Raises:
        StoreError: the store is new and the archive has files of another store.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        progress: Callable[[Totals], None] | None = None,
        *,
        now: datetime | None = None,
    ) -> None:
        self._now = now
        self.store = store
        self.config = config
        self._tell = progress or (lambda _: None)
        self._stems = stems(store)
        for archive in archives(config):
            _refuse_foreign(store, archive)
            sweep(store, archive)

    def run(self, plan: Plan) -> Totals:
        """Import the files, merge small ones of the hours touched, declare the source's end.

        Raises:
            DataError: a file cannot be read, an archived file is damaged, or the disk refuses;
                what was committed before stays.
        """
        for path in plan.files:
            if not path.is_file():
                raise DataError(f"{path}: no such file; name files that exist")
        totals, hours = Totals(), set[datetime]()
        chunks = self._chunks(plan)
        # The next chunk is decoded while one is sorted, written and committed.
        with ThreadPoolExecutor(max_workers=1) as ahead:
            coming = ahead.submit(next, chunks, None)
            while (chunk := coming.result()) is not None:
                coming = ahead.submit(next, chunks, None)
                totals.add(self._commit(plan, chunk, hours))
        with self.store.commit(f"end of import of {plan.source.name}") as commit:
            commit.end_source(plan.source.name, plan.until_ts)
        archive = archive_of(self.config, plan.source)
        merge_small(self.store, archive, sorted(hours), lambda: next(self._stems))
        return totals

    def _chunks(self, plan: Plan) -> Iterator[_Chunk]:
        """The input in chunks, each of at least one record or finished file."""
        decoder = open_decoder(self.config, plan.source)
        chunk = _Chunk()
        for path in plan.files:
            file = Totals()
            for batch in read_batches(plan.source, path, self.config.folder):
                decoded = decoder.decode(batch, self._now)
                chunk.add(decoded)
                step = Totals(
                    records=decoded.records,
                    events=decoded.events.height + decoded.rejects.height,
                    rejected=decoded.rejects.height,
                )
                file.add(step)
                self._tell(step)
                if chunk.full:
                    yield chunk
                    chunk = _Chunk()
            size = path.stat().st_size
            self._tell(Totals(bytes=size))
            chunk.totals.bytes += size
            chunk.finished.append(_finished(plan, path, file, size))
        yield chunk

    def _commit(self, plan: Plan, chunk: _Chunk, hours: set[datetime]) -> Totals:
        """Take a chunk in; what it added, with the hours it touched put into ``hours``."""
        totals = chunk.totals
        archive = archive_of(self.config, plan.source)
        what = f"import of {plan.source.name}"
        with leases.reading(archive.root), self.store.commit(what) as commit:
            if chunk.events:
                intake = intake_of(self.store, archive, commit.number, self._stems, plan.live_since)
                taken = intake.take(chunk.pop_events())
                record(commit, archive, taken, taken.conflicts)
                hours.update(f.hour for f in taken.files if f.hour is not None)
                totals.too_late, totals.duplicate = taken.too_late, taken.duplicate
                totals.accepted, totals.conflicts = taken.accepted, taken.conflicts.height
            if chunk.rejects:
                commit.append_rejects(pl.concat(chunk.rejects))
            commit.append_counts(counts_of(plan.source.name, totals))
            commit.append_imports(pl.DataFrame(chunk.finished, infer_schema_length=None))
        self._tell(
            Totals(
                accepted=totals.accepted,
                duplicate=totals.duplicate,
                too_late=totals.too_late,
                conflicts=totals.conflicts,
            )
        )
        return totals


def intake_of(
    store: Store,
    archive: Archive,
    commit: int | None,
    stem: Iterator[str],
    live_since: datetime | None,
) -> Intake:
    """How what was read is taken into an archive; see ``Intake``."""

    def files(from_ts: datetime, to_ts: datetime) -> Sequence[ArchiveFile]:
        return shelf.named(store, archive, from_ts, to_ts)

    return Intake(archive, files, commit, lambda: next(stem), live_since)


def record(commit: Commit, archive: Archive, taken: Taken, conflicts: pl.DataFrame) -> None:
    """Note in a commit what an intake did: files, conflicts, events that came too late."""
    shelf.add(commit, archive, taken.files)
    commit.append_conflicts(conflicts)
    commit.append_late(taken.late)


def counts_of(source: str, totals: Totals) -> Counts:
    """The store's counts of one source."""
    return Counts(
        source=source,
        records=totals.records,
        events=totals.events,
        rejected=totals.rejected,
        too_late=totals.too_late,
        duplicate=totals.duplicate,
        accepted=totals.accepted,
    )


def forget(store: Store, archive: Archive, name: str) -> int:
    """Take a file that cannot be read out of the archive; how many events it held.

    Importing the input of its hour again brings them back.

    Raises:
        DataError: the archive has no such file.
    """
    held = [f.rows for f in shelf.named(store, archive) if f.name == name]
    if not held:
        raise DataError(
            f"the archive {archive.root} has no file {name}; `labeling sql 'from archive_files'` "
            "lists those of events, 'from feature_files' those of features"
        )
    with store.commit(f"archive file {name} forgotten") as commit:
        shelf.remove(commit, archive, [name])
    archive.remove([name])
    return held[0]


def stems(store: Store) -> Iterator[str]:
    """Names for archive files that no run of any store has used before."""
    number = 0
    while True:
        number += 1
        yield f"import-{store.store_id}-{store.run:06d}-{number:06d}"


def _refuse_foreign(store: Store, archive: Archive) -> None:
    """A new store beside a full archive: the store was lost, or the folder is another's.

    Raises:
        StoreError: says so, and what to do.
    """
    if shelf.named(store, archive):
        return
    foreign = [f for f in lying(archive.root) if f.store_id != store.store_id]
    if foreign:
        raise StoreError(
            f"the store {store.path} names no archive file, but {archive.root} holds "
            f"{len(foreign)} of another store: restore that store, or name "
            "another folder in `archive =`, or delete the folder and import its input again"
        )


def _finished(plan: Plan, path: Path, file: Totals, size: int) -> dict[str, object]:
    """A row of ``imports``."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "blake2b").hexdigest()[:32]
    return {
        "source": plan.source.name,
        "file": str(path),
        "digest": digest,
        "bytes": size,
        "records": file.records,
        "events": file.events,
        "until_ts": plan.until_ts,
    }
