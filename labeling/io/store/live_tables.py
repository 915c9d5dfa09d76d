"""The store's tables about a live flow: positions, watermarks, what is owned, missed and sent.

Always holds: they are written in the transaction that holds the effect of what they speak of.

Not promised: rows in a store that no flow has written to.
"""

from __future__ import annotations

from typing import Final

from labeling.io.store.columns import BOOL, COMMIT, I32, I64, RULE, STR
from labeling.io.store.schema import Column, Table
from labeling.model.event import TS

_SHARD: Final = Column("shard", I32, "the shard, from 0", required=True)
_PARTITION: Final = (
    Column("source", STR, "name of the source", required=True),
    Column("cluster", STR, "Kafka cluster", required=True),
    Column("topic", STR, "topic", required=True),
    Column("partition", I32, "partition", required=True),
)
POSITIONS: Final = Table(
    "positions",
    "How far each shard has come in each Kafka partition: where a restart goes on.",
    (
        *_PARTITION,
        _SHARD,
        Column("next_offset", I64, "every record before it is in the store", required=True),
        Column("mark_ms", I64, "highest event time seen less `max_disorder`, epoch ms; -2^62: none yet", required=True),  # noqa: E501 - one text
        Column("idle", BOOL, "read to the broker's end, and silent since", required=True),
        Column("topic_id", STR, "the broker's id of the topic; another one is another topic"),
        COMMIT,
    ),
)  # fmt: skip
WATERMARKS: Final = Table(
    "watermarks",
    "`F` by shard, of sources and of rules: every event before it has been read. That of the store "
    "is the lowest of all shards.",
    (
        _SHARD,
        Column("kind", STR, "`source` or `rule`", required=True),
        Column("name", STR, "name of the source, or name@version of the rule", required=True),
        Column("f_ms", I64, "epoch ms; -2^62: nothing read yet", required=True),
        COMMIT,
    ),
)
STREAMS: Final = Table(
    "streams",
    "From which hour of anchor time on the stream owns a rule's rows.",
    (
        *RULE,
        Column("since_ts", TS, "the hour; null: from the beginning"),
        Column("settle_ms", I64, "an hour is the stream's until `F` is this far past its end: longest window, undo window, lateness; null: for good"),  # noqa: E501 - one text
        COMMIT,
    ),
)  # fmt: skip
GAPS: Final = Table(
    "gaps",
    "Records that had expired at the broker before they were read. Importing their hours heals it.",
    (
        *_PARTITION,
        Column("from_offset", I64, "first record missed", required=True),
        Column("to_offset", I64, "first record read again (exclusive)", required=True),
        Column("from_ts", TS, "the partition's mark before the gap; null: nothing was read"),
        Column("to_ts", TS, "lowest event time read right after it; null: none yet"),
        COMMIT,
    ),
)
DELIVERIES: Final = Table(
    "deliveries",
    "How far the topics written after each commit are acknowledged by their brokers.",
    (
        Column("topic", STR, "the topic", required=True),
        Column("through_commit", I64, "records of commits up to this one are delivered", required=True),  # noqa: E501 - one text
        COMMIT,
    ),
)  # fmt: skip
OUTBOX: Final = Table(
    "outbox",
    "Files of records to be sent to topics, until they are delivered.",
    (
        Column("name", STR, "file beside the archive", required=True),
        Column("topic", STR, "where its records go", required=True),
        Column("records", I64, "how many", required=True),
        COMMIT,
    ),
)

LIVE_TABLES: Final = (POSITIONS, WATERMARKS, STREAMS, GAPS, DELIVERIES, OUTBOX)
