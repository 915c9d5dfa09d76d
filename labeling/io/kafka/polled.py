"""What one poll of a reader gives: records as columns, and how far each partition has been read.

Always holds: ``next_offset`` of a partition is where its next record will be read, whatever lies
between (control records, compacted ones); ``at_end`` is the broker's own word, given when a fetch
found nothing after the last record, and is taken back as soon as it can be doubted.

Not promised: an order between partitions. Within one, records are in order of offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from labeling.io.decode import RecordBatch
from labeling.io.kafka.topics import PartitionId
from labeling.model.reject import POSITION_SCHEMA

#: Code of a problem that librdkafka is working on: the brokers are not reached.
WAITING: Final = "waiting"


@dataclass(frozen=True)
class Progress:
    """How far a partition was read by one poll.

    Attributes:
        partition: which.
        from_offset: where this poll began.
        next_offset: where the next one begins; records of this one are in between, ``from_offset``
            included, ``next_offset`` not.
        records: how many there were.
        at_end: the broker had nothing after them, at the last fetch.
        end_offset: the broker's end of the partition as last fetched; None before a first fetch.
    """

    partition: PartitionId
    from_offset: int
    next_offset: int
    records: int
    at_end: bool
    end_offset: int | None


@dataclass(frozen=True)
class Problem:
    """A partition cannot be read at present; it is told at every poll until it can.

    ``code`` is ``waiting`` (no broker is reached), else Kafka's name of the error.
    """

    partition: PartitionId
    code: str
    message: str


@dataclass(frozen=True)
class Gap:
    """Records that were gone before they were read: ``from_offset`` up to, not with, ``to_offset``.

    Told once, by the poll whose progress steps over it.
    """

    partition: PartitionId
    from_offset: int
    to_offset: int


@dataclass(frozen=True)
class Polled:
    """One poll.

    Attributes:
        batch: the records.
        progress: of every partition that the reader has, in order, also without records.
        problems: what cannot be read at present.
        gaps: what was lost to retention.
        warnings: what failed and costs no record, such as telling positions to the group.
    """

    batch: RecordBatch
    progress: list[Progress]
    problems: list[Problem]
    gaps: list[Gap]
    warnings: list[str]


@dataclass(frozen=True)
class Span:
    """The records of one partition in a batch: how many, the first and the last offset."""

    records: int
    first: int
    last: int


def broker_clocked(message: Message) -> bool:
    """Whether a record's time is that of its append."""
    return message.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME


def leading_run(messages: Sequence[Message]) -> int:
    """How many messages from the first on have times of one kind: a batch has one clock."""
    kinds = {kind for kind, _ in map(Message.timestamp, messages)}
    if TIMESTAMP_LOG_APPEND_TIME not in kinds or len(kinds) == 1:
        return len(messages)
    records = [(row, broker_clocked(m)) for row, m in enumerate(messages) if m.error() is None]
    return next((row for row, clock in records if clock != records[0][1]), len(messages))


def columns(cluster: str, messages: Sequence[Message], topics: Sequence[str]) -> RecordBatch:
    """Records, all with times of one kind, as a batch.

    Args:
        cluster: the name that positions carry.
        messages: no errors among them.
        topics: the topics there can be.
    """
    if not messages:
        return RecordBatch([], pl.DataFrame(schema=dict(POSITION_SCHEMA)))
    one = len(topics) == 1
    topic = pl.lit(topics[0]) if one else pl.Series("topic", list(map(Message.topic, messages)))
    # A record without a time has -1, which is no time: it is null.
    times = pl.Series("broker_ts", [ms for _, ms in map(Message.timestamp, messages)], pl.Int64)
    frame = pl.DataFrame(
        {
            "partition": pl.Series(list(map(Message.partition, messages)), dtype=pl.Int32),
            "offset": pl.Series(list(map(Message.offset, messages)), dtype=pl.Int64),
            "broker_ts": times,
        }
    )
    positions = frame.select(
        pl.lit(cluster).alias("cluster"),
        topic.alias("topic"),
        "partition",
        "offset",
        pl.when(pl.col("broker_ts") >= 0).then("broker_ts").cast(POSITION_SCHEMA["broker_ts"]),
    )
    values = list(map(Message.value, messages))
    return RecordBatch(values, positions, broker_clock=broker_clocked(messages[0]))


def unread(batch: RecordBatch, positions: Mapping[PartitionId, int]) -> RecordBatch:
    """The batch without the records below their partition's position."""
    known = pl.DataFrame(
        [(*place, position) for place, position in positions.items()],
        schema={"topic": pl.String, "partition": pl.Int32, "position": pl.Int64},
        orient="row",
    )
    rows = (
        batch.positions.with_row_index("row")
        .join(known, on=("topic", "partition"), maintain_order="left")
        .filter(pl.col("offset") >= pl.col("position"))["row"]
    )
    payloads = [batch.payloads[row] for row in rows.to_list()]
    return RecordBatch(payloads, batch.positions[rows], batch.broker_clock)


def spans(positions: pl.DataFrame) -> dict[PartitionId, Span]:
    """The records of each partition in ``POSITION_SCHEMA`` rows."""
    grouped = positions.group_by("topic", "partition").agg(
        pl.len(), pl.col("offset").min().alias("first"), pl.col("offset").max().alias("last")
    )
    return {
        PartitionId(topic, partition): Span(count, first, last)
        for topic, partition, count, first, last in grouped.iter_rows()
    }
