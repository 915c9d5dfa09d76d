"""Neighbouring hours that are read and evaluated at once.

Always holds: a part of a block reads no more than the memory allows, as far as file sizes tell; the
hours that are asked for are each in one block, in order.

Not promised: how many events of the hours around a block lie within reach. They are estimated
by their share of the hour. Nor that a block whose hours have rows already holds no more of them
than of an hour: what is stored is compared whole.

Around every block its reach is read once more. Where that is long, cutting by hours would read the
same days again for each hour, and cutting by users reads nothing twice: a block is as long as the
reach, up to a day, and has as many parts as it takes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from typing import Final

from labeling.io.archive import ArchiveFile
from labeling.model.kinds import Rule

HOUR: Final = timedelta(hours=1)
_DAY: Final = 24
#: Peak memory of evaluating one event with the rows made of it, measured (benchmarks/replay.py).
EVENT_BYTES: Final = 1_500


@dataclass(frozen=True)
class Block:
    """Neighbouring hours, read and evaluated at once for each of ``buckets`` parts of the users.

    ``read_from`` and ``read_to`` (exclusive) are the range with the rule's reach around it.
    """

    hours: tuple[datetime, ...]
    read_from: datetime
    read_to: datetime
    files: tuple[ArchiveFile, ...]
    events: int
    buckets: int

    @property
    def from_ts(self) -> datetime:
        """Start of the first hour."""
        return self.hours[0]

    @property
    def to_ts(self) -> datetime:
        """End of the last hour, exclusive."""
        return self.hours[-1] + HOUR

    @property
    def bytes(self) -> int:
        """Estimated peak memory of one part."""
        return self.events * EVENT_BYTES // self.buckets


def reach(rule: Rule) -> tuple[timedelta, timedelta]:
    """How far around its anchors a rule reads: back and ahead."""
    ahead = timedelta(milliseconds=rule.looks_ahead_ms + 1)
    return timedelta(milliseconds=rule.looks_back_ms), ahead


class FilesByTime:
    """Files by time, so that those near some hours are found without a look at all."""

    def __init__(self, files: Sequence[ArchiveFile]) -> None:
        self._files = sorted(files, key=lambda f: (f.min_ts, f.max_ts, f.name))
        self._starts = [f.min_ts for f in self._files]
        #: The highest ``max_ts`` up to each file: it never falls.
        self._ends = list(accumulate((f.max_ts for f in self._files), max))

    def near(self, from_ts: datetime, to_ts: datetime) -> list[ArchiveFile]:
        """Those that can hold an event of ``[from_ts, to_ts)``, by their first event's time."""
        first = bisect_left(self._ends, from_ts)
        last = bisect_left(self._starts, to_ts)
        return [f for f in self._files[first:last] if f.touches(from_ts, to_ts, None)]


def blocks_of(
    rule: Rule, hours: Sequence[datetime], files: FilesByTime, memory_bytes: int
) -> Iterator[Block]:
    """Neighbouring hours together while they fit; those that do not are cut by users.

    Args:
        rule: whose anchors' hours they are.
        hours: increasing.
        files: every file that can hold an event within reach of them.
        memory_bytes: what one part of a block may need.
    """
    limit = memory_bytes // EVENT_BYTES
    for run in runs(hours):
        done = 0
        while done < len(run):
            block = _longest(run[done:], files, reach(rule), limit)
            yield block
            done += len(block.hours)


def runs(hours: Sequence[datetime]) -> Iterator[Sequence[datetime]]:
    """The hours, cut where one does not follow the one before."""
    cuts = [i for i in range(1, len(hours)) if hours[i] != hours[i - 1] + HOUR]
    for low, high in pairwise((0, *cuts, len(hours))):
        yield hours[low:high]


def _longest(
    run: Sequence[datetime],
    files: FilesByTime,
    around: tuple[timedelta, timedelta],
    limit: int,
) -> Block:
    """The first hours of a run, as long as the reach, with as many of the next as fit beside them.

    More hours are never fewer events: the step doubles until they do not fit, then halves.
    """
    least = min(max(sum(around, timedelta()) // HOUR, 1), _DAY)
    block, step, growing = _block(run[:least], files, around, limit), 1, True
    while step and block.buckets == 1:
        count = len(block.hours) + step
        longer = _block(run[:count], files, around, limit) if count <= len(run) else None
        if longer is not None and longer.buckets == 1:
            block, step = longer, step * 2 if growing else step // 2
        else:
            step, growing = step // 2, False
    return block


def _block(
    hours: Sequence[datetime],
    files: FilesByTime,
    around: tuple[timedelta, timedelta],
    limit: int,
) -> Block:
    low, high = hours[0] - around[0], hours[-1] + HOUR + around[1]
    near = files.near(low, high)
    events = sum(round(f.rows * _share(f, low, high)) for f in near)
    return Block(tuple(hours), low, high, tuple(near), events, max(1, -(-events // max(1, limit))))


def _share(file: ArchiveFile, low: datetime, high: datetime) -> float:
    """The part of a file's time span that lies in the range."""
    span = (file.max_ts - file.min_ts).total_seconds()
    inside = (min(file.max_ts, high) - max(file.min_ts, low)).total_seconds()
    return 1.0 if span <= 0 else max(0.0, min(1.0, inside / span))
