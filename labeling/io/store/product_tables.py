"""The store's tables about what is made of rows: features, rollups, digests, markers, health.

Always holds: what is counted here is counted by adding differences, in the transaction that
publishes the rows.

Not promised: a table of a rollup. Those are made when the rollup is first kept (see ``rollups``).
"""

from __future__ import annotations

from typing import Final

from labeling.io.store.columns import BOOL, COMMIT, I32, I64, RULE, STR, U64
from labeling.io.store.schema import Column, Table
from labeling.model.event import TS

_HOUR: Final = Column("hour", TS, "start of the hour of anchor time", required=True)

FEATURE_FILES: Final = Table(
    "feature_files",
    "The files of features, as `archive_files` lists those of events. What is said of users there is said of requests here.",  # noqa: E501 - one text
    (
        Column("name", STR, "path relative to the source's folder, `features/<source>` in the archive", required=True),  # noqa: E501 - one text
        Column("kind", STR, "`import`, `tail` (written by a stream) or `hour` (merged)", required=True),  # noqa: E501 - one text
        Column("hour", TS, "start of the hour of served time that the file lies in; null for `tail`"),  # noqa: E501 - one text
        Column("source", STR, "the source", required=True),
        Column("min_ts", TS, "lowest served time", required=True),
        Column("max_ts", TS, "highest served time, inclusive", required=True),
        Column("min_user_key", U64, "lowest `xxh3_64(request_id)`", required=True),
        Column("max_user_key", U64, "highest `xxh3_64(request_id)`, inclusive", required=True),
        Column("rows", I64, "records", required=True),
        Column("bytes", I64, "size of the file", required=True),
        Column("max_archived", I64, "highest commit that archived a record of the file", required=True),  # noqa: E501 - one text
        Column("schema_digest", STR, "fingerprint of the file's columns", required=True),
        COMMIT,
    ),
)  # fmt: skip
ROLLUPS: Final = Table(
    "rollups",
    "The versions of rollups that have a table here, `<rollup>_v<version>`.",
    (
        Column("rollup", STR, "name of the rollup", required=True),
        Column("version", I32, "version of the rollup", required=True),
        Column("digest", STR, "of the rollup's definition", required=True),
        Column("rule", STR, "name of the rule whose rows it sums", required=True),
        Column("rule_version", I32, "version of that rule", required=True),
        COMMIT,
    ),
)  # fmt: skip
DIGESTS: Final = Table(
    "digests",
    "What the current rows of an hour sum up to. A row's hash is a stable 64-bit one of all its columns; its halves are summed apart.",  # noqa: E501 - one text
    (
        *RULE,
        _HOUR,
        Column("rows", I64, "current rows", required=True),
        Column("digest_hi", I64, "sum of the upper 32 bits of the rows' hashes", required=True),
        Column("digest_lo", I64, "sum of the lower 32 bits", required=True),
    ),
)
MARKERS: Final = Table(
    "markers",
    "What schedulers wait for: an hour of a rule is complete, is settled, or was published anew.",
    (
        *RULE,
        _HOUR,
        Column("revision", I32, "from 1, of the hour's markers", required=True),
        Column("state", STR, "`complete`, `settled` (the stream changes it no more) or `republished`", required=True),  # noqa: E501 - one text
        Column("held", BOOL, "whether the brake of `[health]` is on", required=True),
        Column("held_reason", STR, "why it is"),
        Column("rows", I64, "current rows of the hour", required=True),
        Column("digest_hi", I64, "as in `digests`", required=True),
        Column("digest_lo", I64, "as in `digests`", required=True),
        Column("delta_rows", I64, "rows less those of the marker before", required=True),
        Column("delta_hi", I64, "`digest_hi` less that of the marker before", required=True),
        Column("delta_lo", I64, "`digest_lo` less that of the marker before", required=True),
        Column("late", I64, "late events of the hour so far, of all types", required=True),
        Column("too_late", I64, "events of the hour that were too late for the stream", required=True),  # noqa: E501 - one text
        Column("positions", STR, "JSON: topic/partition to the lowest next offset of any shard"),
        COMMIT,
    ),
)  # fmt: skip
HEALTH_COUNTS: Final = Table(
    "health_counts",
    "What was known of each Boolean label after each delay: the view `health` tells rates of it.",
    (
        *RULE,
        _HOUR,
        Column("label", STR, "a Boolean column of the rule", required=True),
        Column("delay_ms", I64, "what was known so long after the anchor; null: all that is known"),
        Column("rows", I64, "rows", required=True),
        Column("positives", I64, "rows whose label was true then", required=True),
    ),
)

PRODUCT_TABLES: Final = (FEATURE_FILES, ROLLUPS, DIGESTS, MARKERS, HEALTH_COUNTS)
