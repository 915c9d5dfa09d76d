"""What a replay will read and publish, decided before it starts.

Always holds: a plan is a function of what the store says and of the range; every hour of the range
is in exactly one of its lists; a block reads no more than the memory allows, as far as file sizes
tell.

Not promised: how many events of the hours around the range lie within reach. They are estimated
by their share of the hour.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from typing import Final

from labeling.engine.watermark import FOREVER, NEVER
from labeling.errors import DataError
from labeling.io.archive import ArchiveFile
from labeling.io.store import Store
from labeling.model.rule import LabelRule
from labeling.model.table import RuleTable, table_of

HOUR: Final = timedelta(hours=1)
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


@dataclass(frozen=True)
class Plan:
    """What will be done for one rule.

    ``done``: hours published already from all that is archived. ``waiting``: hours that are not
    complete, which only ``immature`` publishes.
    """

    rule: LabelRule
    table: RuleTable
    mark: int
    blocks: tuple[Block, ...]
    done: tuple[datetime, ...]
    waiting: tuple[datetime, ...]

    @property
    def files(self) -> int:
        """How many files will be opened, each counted once."""
        return len({f.name for b in self.blocks for f in b.files})

    @property
    def file_bytes(self) -> int:
        """The size of those files."""
        return sum(size for _, size in {(f.name, f.bytes) for b in self.blocks for f in b.files})

    @property
    def hours(self) -> int:
        """How many hours will be published."""
        return sum(len(b.hours) for b in self.blocks)

    @property
    def events(self) -> int:
        """Estimated events to be read, those around the blocks counted with each."""
        return sum(b.events for b in self.blocks)


def hours_of(from_ts: datetime, to_ts: datetime) -> tuple[datetime, ...]:
    """The hours of ``[from_ts, to_ts)``; both at full hours, UTC.

    Raises:
        DataError: not full hours, or nothing between them.
    """
    for at in (from_ts, to_ts):
        if at != at.replace(minute=0, second=0, microsecond=0):
            raise DataError(f"{at:%Y-%m-%dT%H:%M}: hours are published whole; name a full hour")
    count = (to_ts - from_ts) // HOUR
    if count <= 0:
        raise DataError(
            f"nothing lies from {from_ts:%Y-%m-%dT%H} to {to_ts:%Y-%m-%dT%H}: --to is exclusive"
        )
    return tuple(from_ts + i * HOUR for i in range(count))


def mark_of(ends: Mapping[str, datetime | None], sources: Iterable[str]) -> int:
    """``F`` of every rule over an archive that no stream feeds: the lowest declared end, epoch ms.

    Every source counts as one that can feed a rule.

    Args:
        ends: source to its declared end, None for all there is.
        sources: those that the configuration names: one without an end has not been read.
    """
    marks = [FOREVER if end is None else _ms(end) for end in ends.values()]
    marks += [NEVER for source in sources if source not in ends]
    return min(marks, default=NEVER)


def plan(
    store: Store,
    rule: LabelRule,
    from_ts: datetime,
    to_ts: datetime,
    *,
    sources: Sequence[str],
    memory_bytes: int,
    immature: bool = False,
    force: bool = False,
) -> Plan:
    """Lay out a replay.

    Args:
        store: open.
        rule: what to evaluate.
        from_ts: first hour.
        to_ts: end, exclusive.
        sources: names of the configured sources, all of which must have been imported to their end.
        memory_bytes: what one part of a block may need.
        immature: also hours that are not complete, as far as their points have passed.
        force: also hours that are published from all that is archived.

    Raises:
        DataError: the range is empty or not of full hours.
    """
    mark = mark_of(store.source_ends(), sources)
    back, ahead = _reach(rule)
    files = _Files(store.files(from_ts - back, to_ts + ahead))
    table = table_of(rule)
    known = {row["hour"]: row for row in store.hours(table).iter_rows(named=True)}
    todo, done, waiting = [], [], []
    for hour in hours_of(from_ts, to_ts):
        complete = is_complete(rule, hour, mark)
        newest = max(
            (f.max_archived for f in files.near(hour - back, hour + HOUR + ahead)), default=0
        )
        before = known.get(hour)
        fresh = before is not None and before["complete"] and before["archive_commit"] >= newest
        if fresh and not force:
            done.append(hour)
        elif complete or immature:
            todo.append(hour)
        else:
            waiting.append(hour)
    blocks = tuple(_blocks(todo, files, (back, ahead), memory_bytes // EVENT_BYTES))
    return Plan(rule, table, mark, blocks, tuple(done), tuple(waiting))


def is_complete(rule: LabelRule, hour: datetime, mark: int) -> bool:
    """Whether every window of the hour's anchors has passed: ``F > end + window``."""
    return mark > _ms(hour + HOUR) + rule.bound.longest_ms


def _reach(rule: LabelRule) -> tuple[timedelta, timedelta]:
    """How far around its anchors a rule reads: back and ahead."""
    ahead = timedelta(milliseconds=rule.bound.longest_ms + 1)
    return timedelta(milliseconds=rule.repeat_ms), ahead


class _Files:
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


def _blocks(
    hours: Sequence[datetime],
    files: _Files,
    reach: tuple[timedelta, timedelta],
    limit: int,
) -> Iterator[Block]:
    """Neighbouring hours together while they fit; an hour that does not is cut by users."""
    for run in _runs(hours):
        done = 0
        while done < len(run):
            block = _longest(run[done:], files, reach, limit)
            yield block
            done += len(block.hours)


def _runs(hours: Sequence[datetime]) -> Iterator[Sequence[datetime]]:
    """The hours, cut where one does not follow the one before."""
    cuts = [i for i in range(1, len(hours)) if hours[i] != hours[i - 1] + HOUR]
    for low, high in pairwise((0, *cuts, len(hours))):
        yield hours[low:high]


def _longest(
    run: Sequence[datetime],
    files: _Files,
    reach: tuple[timedelta, timedelta],
    limit: int,
) -> Block:
    """The first hour of a run, with as many of the next as fit beside it.

    More hours are never fewer events: the step doubles until they do not fit, then halves.
    """
    block, step, growing = _block(run[:1], files, reach, limit), 1, True
    while step and block.buckets == 1:
        count = len(block.hours) + step
        longer = _block(run[:count], files, reach, limit) if count <= len(run) else None
        if longer is not None and longer.buckets == 1:
            block, step = longer, step * 2 if growing else step // 2
        else:
            step, growing = step // 2, False
    return block


def _block(
    hours: Sequence[datetime],
    files: _Files,
    reach: tuple[timedelta, timedelta],
    limit: int,
) -> Block:
    low, high = hours[0] - reach[0], hours[-1] + HOUR + reach[1]
    near = files.near(low, high)
    events = sum(round(f.rows * _share(f, low, high)) for f in near)
    return Block(tuple(hours), low, high, tuple(near), events, max(1, -(-events // max(1, limit))))


def _share(file: ArchiveFile, low: datetime, high: datetime) -> float:
    """The part of a file's time span that lies in the range."""
    span = (file.max_ts - file.min_ts).total_seconds()
    inside = (min(file.max_ts, high) - max(file.min_ts, low)).total_seconds()
    return 1.0 if span <= 0 else max(0.0, min(1.0, inside / span))


def _ms(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp() * 1000)
