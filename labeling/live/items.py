"""What moves between the stages of the live flow.

Always holds: an item says by itself which records it covers, so that exactness never rests on how
items are grouped; every batch of a partition reaches every shard, also where it holds nothing for
it; what is counted once (records, rejects) travels with one shard, the partition's number modulo
the shards.

Not promised: that an item is of this run. ``run`` tells, and the writer refuses others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from labeling.io.archive import ArchiveFile
from labeling.io.kafka import Gap
from labeling.io.store import Counts


class Place(NamedTuple):
    """A partition of a topic, as one source reads it."""

    source: str
    cluster: str
    topic: str
    partition: int

    @property
    def name(self) -> str:
        """The partition within its source, as watermarks name it."""
        return f"{self.topic}/{self.partition}"


@dataclass(frozen=True)
class Batch:
    """One batch of one partition: records ``[from_offset, next_offset)``.

    ``events``: what the decoder gave, in the partition's order; ``rejects`` likewise; ``offsets``:
    of the records read (Int64). ``min_ts_ms`` and ``max_ts_ms``: the lowest and highest event time.
    ``idle``: read to the broker's end and silent since. ``partitions``: those of the source that
    are known. ``oldest_ms``: the lowest of the broker's times of the records.
    """

    place: Place
    from_offset: int
    next_offset: int
    events: pl.DataFrame
    rejects: pl.DataFrame
    offsets: pl.Series
    min_ts_ms: int | None
    max_ts_ms: int | None
    idle: bool = False
    partitions: tuple[str, ...] = ()
    topic_id: str | None = None
    oldest_ms: int | None = None
    gap: Gap | None = None


@dataclass(frozen=True)
class Part:
    """What a batch holds for one shard: its users' events, and what is counted once.

    ``batch`` is the batch without its events, and but in the part that counts without what is
    counted once.
    """

    shard: int
    batch: Batch
    events: pl.DataFrame


@dataclass(frozen=True)
class Position:
    """How far a shard has come in a partition, and what its mark is there."""

    next_offset: int
    mark_ms: int
    idle: bool
    topic_id: str | None


class Missed(NamedTuple):
    """A gap with the partition's mark before it and the lowest event time after it, epoch ms."""

    place: Place
    gap: Gap
    mark_ms: int | None
    next_ms: int | None


@dataclass(frozen=True)
class Result:
    """What one step of one shard made of its parts, to be committed whole.

    ``rows``: by rule key, as ``step`` returns them. ``archived``: accepted and too late events, in
    the archive's columns. ``features``: by source the same of features; behind the archiver only
    those of arrival ``late``. ``late``: rows of ``late_events``; ``conflicts``: of ``conflicts``;
    ``rejects``: of ``rejects``; ``gaps``: of ``gaps``, each but ``commit``. ``passed``: ``F`` by
    (kind, name), epoch ms. ``oldest_ms``: the lowest of the broker's times of the records.
    """

    run: int
    shard: int
    rows: Mapping[str, pl.DataFrame]
    archived: pl.DataFrame
    late: pl.DataFrame
    conflicts: pl.DataFrame
    rejects: pl.DataFrame
    counts: tuple[Counts, ...]
    positions: Mapping[Place, Position]
    passed: Mapping[tuple[str, str], int]
    features: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    gaps: tuple[Missed, ...] = ()
    held: int = 0
    held_bytes: int = 0
    oldest_ms: int | None = None


@dataclass(frozen=True)
class Bundle:
    """Results of one process, with the files that hold their events and, by source, features."""

    results: tuple[Result, ...]
    file: ArchiveFile | None
    features: Mapping[str, ArchiveFile] = field(default_factory=dict)
