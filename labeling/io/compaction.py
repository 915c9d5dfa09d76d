"""A stream's tail into hours: files as they came become sorted files of one hour each.

Always holds: the archive has exactly the same events before and after, with their origin and every
column that a file had, declared or not; ``archived`` is filled with the commit that named the tail
file. The swap of names is one commit per batch; memory is that of one batch. Run again it finds
nothing to do; of two at once one does nothing; after a crash at any instant the next one goes on
(see ``labeling.io.swapping`` for when a file is deleted).

Not promised: one file per hour. What comes late is a further file, merged when there are ``FEW``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Final

from labeling.engine.watermark import NEVER
from labeling.io import leases, shelf
from labeling.io.archive import SORTED_BY, Archive, ArchiveFile, hour_of, hour_start
from labeling.io.merging import batches, merge_alone
from labeling.io.store import Store
from labeling.io.store.ownership import streams_of
from labeling.io.swapping import Swept, swap, sweep_alone

#: About so many events are in memory at once, at about 1.2 kB each: a flow runs beside.
BATCH: Final = 1_000_000
#: So many small files of an hour are merged: a few late events do not rewrite their hour each time.
FEW: Final = 4
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True)
class Compacted:
    """What a compaction did.

    Attributes:
        tails: tail files that were replaced.
        events: in them.
        hours: starts of the hours that they were of, sorted.
        merged: small files of those hours that were merged.
        swept: files deleted, those of earlier runs included, and files that wait for readers.
        busy: another one was at it, and nothing was done.
    """

    tails: int = 0
    events: int = 0
    hours: tuple[datetime, ...] = ()
    merged: int = 0
    swept: Swept = field(default_factory=Swept)
    busy: bool = False

    def __add__(self, other: Compacted) -> Compacted:
        """Both together, of one archive and another."""
        return Compacted(
            self.tails + other.tails,
            self.events + other.events,
            tuple(sorted({*self.hours, *other.hours})),
            self.merged + other.merged,
            self.swept + other.swept,
            self.busy or other.busy,
        )


def complete_before(store: Store, lateness_ms: int) -> datetime | None:
    """Start of the first hour that a stream may still add to on time: ``F - lateness``, rounded.

    ``F`` is the lowest of all sources and shards. None: no stream has read anything.
    """
    lowest = streams_of(store.query).lowest_ms
    if lowest <= NEVER:
        return None
    try:
        return hour_start((lowest - lateness_ms) // _HOUR_MS)
    except (OverflowError, ValueError):  # at the end of all input
        return datetime.max.replace(tzinfo=UTC)


def compact(
    store: Store,
    archive: Archive,
    before_ts: datetime,
    stem: Callable[[], str],
    *,
    batch_rows: int = BATCH,
) -> Compacted:
    """Move tail files whose events all lie before ``before_ts`` into files of their hours.

    Args:
        store: open for writing, or another process's; of a flow's own process, ``Store.beside``.
        archive: where the files lie.
        before_ts: exclusive; see ``complete_before``. What lies later waits in the tail, where
            readers find it just as well.
        stem: names for the files, such as ``stems(store).__next__``.
        batch_rows: about so many events are in memory at once.

    Raises:
        DataError: a file is missing or damaged, or the disk refuses; batches swapped before stay.
        StoreError: the commit is refused, or a file was compacted by somebody else meanwhile.
    """
    with leases.alone(store.path) as mine:
        if not mine:
            return Compacted(busy=True)
        done = Compacted(swept=sweep_alone(store, archive))
        reached = shelf.named(store, archive, to_ts=before_ts)
        tails = [f for f in reached if f.hour is None and f.max_ts < before_ts]
        tails.sort(key=lambda f: (f.min_ts, f.name))  # few hours in each batch
        hours = set[datetime]()
        for batch in batches(tails, batch_rows):
            new = list(_hours(archive, batch, stem))
            old = [f.name for f in batch]
            swept = swap(store, archive, f"compaction of {len(old)} tail files", new, old)
            hours.update(f.hour for f in new if f.hour is not None)
            done = replace(
                done,
                tails=done.tails + len(old),
                events=done.events + sum(f.rows for f in batch),
                swept=done.swept + swept,
            )
        merged, swept = merge_alone(store, archive, sorted(hours), stem, FEW, batch_rows)
        return replace(done, hours=tuple(sorted(hours)), merged=merged, swept=done.swept + swept)


def stems(store: Store) -> Iterator[str]:
    """Names for a compaction's files that nobody has used: of the store, the run, and a token."""
    token = secrets.token_hex(4)
    for number in count(1):
        yield f"hour-{store.store_id}-{store.run:06d}-{token}-{number:06d}"


def _hours(
    archive: Archive, files: Sequence[ArchiveFile], stem: Callable[[], str]
) -> Iterator[ArchiveFile]:
    """Write the events of files, one sorted file for each of their hours."""
    events = archive.read_whole(files).sort(hour_of(), *SORTED_BY)
    runs = events.select(hour=hour_of())["hour"].rle().struct.unnest()
    offset = 0
    for length, hour in runs.select("len", "value").iter_rows():
        part = events.slice(offset, length)
        offset += length
        sources = part["source"].unique()
        source = sources.item() if sources.len() == 1 else None
        yield archive.write(part, hour_start(hour), stem(), kind="hour", source=source)
