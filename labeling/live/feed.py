"""One source of a process: its partitions, read and decoded into batches.

Always holds: every record polled is in exactly one batch; a batch covers its partition's records
without a hole; a partition is idle only once the broker said that nothing is left and then stayed
silent for ``idle_after``. When the schema registry does not answer, the records wait.

Not promised: batches of like size, or one for every partition: where nothing was read and nothing
changed there is none.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import polars as pl

from labeling.config.source import SourceConfig
from labeling.engine.watermark import NEVER
from labeling.io.decode import Decoded, Decoder
from labeling.io.kafka import Gap, PartitionId, Polled, Progress, Reader
from labeling.live.items import Batch, Place

_LOG: Final = logging.getLogger("labeling")
#: About so many records of a batch tell how large its records are.
_SAMPLED: Final = 100


@dataclass
class _Seen:
    """What a feed remembers of a partition: its mark, and since when it has been silent (s)."""

    mark_ms: int
    idle: bool
    silent_since: float | None = None


@dataclass
class Feed:
    """A source as one process reads it.

    Args:
        source: from the configuration.
        cluster: its cluster's name.
        reader: of the process's partitions.
        decoder: of the source.
        marks: partition to its mark and idleness, as committed.
        clock: seconds, for idleness.
        now: the clock against which a time counts as in the future.
        hurried: whether a partition that has never had a record is idle as soon as its end is
            known: nobody waits for what may still come.
        record_bytes: how large records are, by the last that were read.
    """

    source: SourceConfig
    cluster: str
    reader: Reader
    decoder: Decoder
    marks: Mapping[PartitionId, tuple[int, bool]]
    clock: Callable[[], float]
    now: Callable[[], datetime]
    hurried: bool = False
    record_bytes: float = 1_000.0
    waiting: Polled | None = None
    problems: dict[PartitionId, str] = field(default_factory=dict)
    progress: dict[PartitionId, Progress] = field(default_factory=dict)
    _seen: dict[PartitionId, _Seen] = field(default_factory=dict)
    _gaps: dict[PartitionId, Gap] = field(default_factory=dict)

    def poll(self, max_records: int, timeout_s: float) -> list[Batch]:
        """Batches of what has come.

        Raises:
            RegistryUnavailable: the records wait in here; call again.
            DataError: a topic was deleted and made again.
        """
        with _no_collection():
            if self.waiting is None:
                self.waiting = self.reader.poll(max_records, timeout_s)
            polled = self.waiting
            self.record_bytes = _mean_bytes(polled.batch.payloads) or self.record_bytes
            decoded = self.decoder.decode(polled.batch, self.now())
            self.waiting = None
        self.problems = {p.partition: f"{p.code}: {p.message}" for p in polled.problems}
        for warning in polled.warnings:
            _LOG.warning("%s", warning)
        self.progress = {p.partition: p for p in polled.progress}
        return list(self._batches(polled, decoded))

    def has_reached(self, partition: PartitionId, end: int) -> bool:
        """Whether a partition has been read up to an end; of an empty one the broker says so."""
        at, seen = self.progress.get(partition), self._seen.get(partition)
        if at is None or seen is None or at.next_offset < end:
            return False
        return at.at_end or seen.mark_ms > NEVER

    def lowest_mark(self) -> int | None:
        """The lowest mark of the partitions that are neither idle nor unread, epoch ms."""
        marks = [s.mark_ms for s in self._seen.values() if not s.idle and s.mark_ms > NEVER]
        return min(marks, default=None)

    def positions(self) -> dict[PartitionId, int]:
        """The next offset of each partition."""
        return {p: at.next_offset for p, at in self.progress.items()}

    def pace(self, limit_ms: int) -> None:
        """Read no further in partitions whose mark lies beyond the limit."""
        ahead = {p for p, seen in self._seen.items() if seen.mark_ms > limit_ms}
        self.reader.pause(ahead)
        self.reader.resume(set(self._seen) - ahead)

    def partitions(self) -> list[dict[str, Any]]:
        """What can be told of each partition: mark, lag, idleness, and what is wrong with it."""
        told = []
        for partition, seen in sorted(self._seen.items()):
            at = self.progress.get(partition)
            end = at.end_offset if at else None
            told.append(
                {
                    "source": self.source.name,
                    "topic": partition.topic,
                    "partition": partition.partition,
                    "mark_ms": seen.mark_ms if seen.mark_ms > NEVER else None,
                    "idle": seen.idle,
                    "next_offset": at.next_offset if at else None,
                    "lag": max(0, end - at.next_offset) if at and end is not None else None,
                    "problem": self.problems.get(partition),
                }
            )
        return told

    def _batches(self, polled: Polled, decoded: Decoded) -> Iterator[Batch]:
        names = tuple(
            f"{topic}/{number}"
            for topic, info in sorted(self.reader.topics.items())
            for number in sorted(info.partitions)
        )
        events, rejects = (_by_partition(f) for f in (decoded.events, decoded.rejects))
        records = _by_partition(polled.batch.positions)
        for new in polled.gaps:
            before = self._gaps.get(new.partition, new)
            self._gaps[new.partition] = Gap(new.partition, before.from_offset, new.to_offset)
        for at in polled.progress:
            gap = self._gaps.get(at.partition)
            if gap is not None and not at.records and not at.at_end:
                # It is told with what lies behind it, whose time says where it ends.
                del self.progress[at.partition]
                continue
            self._gaps.pop(at.partition, None)
            fresh = at.partition not in self._seen
            seen = self._seen.setdefault(at.partition, self._known(at.partition))
            was_idle = seen.idle
            mine = events.get(at.partition, decoded.events.clear())
            low, high = _span(mine)
            self._follow(seen, at, high)
            moved = at.next_offset != at.from_offset or gap is not None
            if moved or fresh or was_idle != seen.idle:
                read = records.get(at.partition, polled.batch.positions.clear())
                yield Batch(
                    Place(self.source.name, self.cluster, *at.partition),
                    at.from_offset if gap is None else gap.from_offset,
                    at.next_offset,
                    mine,
                    rejects.get(at.partition, decoded.rejects.clear()),
                    read["offset"],
                    low,
                    high,
                    seen.idle,
                    names,
                    self.reader.topics[at.partition.topic].topic_id,
                    _oldest(read),
                    gap,
                )

    def _known(self, partition: PartitionId) -> _Seen:
        mark, idle = self.marks.get(partition, (NEVER, False))
        return _Seen(mark, idle)

    def _follow(self, seen: _Seen, at: Progress, high: int | None) -> None:
        """Take in how far a partition has come: its mark, and whether it is idle."""
        if high is not None:
            seen.mark_ms = max(seen.mark_ms, high - self.source.max_disorder_ms)
        if at.records or not at.at_end:
            seen.silent_since, seen.idle = None, seen.idle and not at.records
            return
        if self.hurried and seen.mark_ms == NEVER:
            seen.idle = True
        now = self.clock()
        seen.silent_since = now if seen.silent_since is None else seen.silent_since
        seen.idle = seen.idle or now - seen.silent_since >= self.source.idle_after_ms / 1000


def _mean_bytes(payloads: Sequence[bytes | None]) -> float:
    """The mean size of some of the records, at least 1; 0 of none."""
    some = payloads[:: max(1, len(payloads) // _SAMPLED)]
    return max(1.0, sum(len(p or b"") for p in some) / len(some)) if some else 0.0


def _by_partition(frame: pl.DataFrame) -> dict[PartitionId, pl.DataFrame]:
    parts = frame.partition_by("topic", "partition", as_dict=True, maintain_order=True)
    return {PartitionId(topic, partition): part for (topic, partition), part in parts.items()}


def _span(events: pl.DataFrame) -> tuple[int | None, int | None]:
    """The lowest and the highest event time, epoch ms."""
    if events.is_empty():
        return None, None
    at = pl.col("event_ts").dt.epoch("ms")
    low, high = events.select(low=at.min(), high=at.max()).row(0)
    return low, high


def _oldest(records: pl.DataFrame) -> int | None:
    at = records["broker_ts"].dt.epoch("ms").min() if records.height else None
    return at if isinstance(at, int) else None


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector: it would walk long lists of messages again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
