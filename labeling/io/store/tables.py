"""The store's tables: what each one holds, column by column.

Always holds: this tuple is the only place where the tables are defined; the file's tables, the
frames that are written to them and docs/store.md follow it. Times are TIMESTAMPTZ: an instant
means the same in whatever time zone a reader's session stands, which a bare TIMESTAMP does not.
No table has a primary key or an index: an index makes bulk writes many times slower, and the
one writer knows what it has written.

Not promised: a place for rows of labels. Those have a table per version of a rule, made when
its rows are first published (see ``rules``).
"""

from __future__ import annotations

from typing import Final

import polars as pl

from labeling.io.store.schema import Column, Table
from labeling.model.event import TS
from labeling.model.table import ROW_KEY_SCHEMA

#: Of the tables below. A store of another version is refused.
SCHEMA_VERSION: Final = 1

_STR: Final = pl.String()
_I64: Final = pl.Int64()
_I32: Final = pl.Int32()
_BOOL: Final = pl.Boolean()
_U64: Final = pl.UInt64()

_COMMIT: Final = Column("commit", _I64, "the commit that wrote the row", required=True)
_RULE: Final = (
    Column("rule", _STR, "name of the rule", required=True),
    Column("version", _I32, "version of the rule", required=True),
)
_KEY: Final = tuple(
    Column(name, dtype, "key of the row", required=True) for name, dtype in ROW_KEY_SCHEMA.items()
)
_IDENTITY: Final = (
    Column("user_id", _STR, "identity of the event", required=True),
    Column("event_ts", TS, "identity of the event: when it happened", required=True),
    Column("event_id", _STR, "identity of the event", required=True),
)
#: Where a record came from: the columns that make a position.
POSITION: Final[dict[str, pl.DataType]] = {
    "source": _STR,
    "cluster": _STR,
    "topic": _STR,
    "partition": _I32,
    "offset": _I64,
    "index": _I32,
}
_POSITION_TEXT: Final = {
    "source": "name of the source in the configuration",
    "cluster": "Kafka cluster; null for a file",
    "topic": "topic, or the file's name",
    "partition": "partition; null or 0 for a file",
    "offset": "offset, or the line or row of the file, from 1",
    "index": "the event's place in its record, from 0",
}


def _position(prefix: str = "", of: str = "") -> tuple[Column, ...]:
    return tuple(
        Column(prefix + name, dtype, _POSITION_TEXT[name] + of) for name, dtype in POSITION.items()
    )


META: Final = Table(
    "meta",
    "Facts about the file itself.",
    (
        Column("key", _STR, "`schema_version`, `store_id` (in the names of archive files that this store wrote), `run` (times a writer opened it)", required=True),  # noqa: E501 - one text
        Column("value", _STR, "the fact", required=True),
    ),
)  # fmt: skip
COMMITS: Final = Table(
    "commits",
    "One row per transaction, numbered from 1 without gaps.",
    (
        Column("commit", _I64, "the number", required=True),
        Column("run", _I64, "the writer's run", required=True),
        Column("what", _STR, "what the transaction was for, in words", required=True),
        Column("events", _I64, "events read", required=True),
        Column("archived", _I64, "events added to the archive", required=True),
        Column("changes", _I64, "inserts, updates and retractions published", required=True),
        Column("newest_ts", TS, "highest event time archived up to this commit; the day by which retention counts a row without an event time of its own"),  # noqa: E501 - one text
    ),
)  # fmt: skip
ARCHIVE_FILES: Final = Table(
    "archive_files",
    "The files of the archive. A file that is not named here is not part of it.",
    (
        Column("name", _STR, "path relative to the archive's folder", required=True),
        Column("kind", _STR, "`import`, `tail` (written by a stream) or `hour` (merged)", required=True),  # noqa: E501 - one text
        Column("hour", TS, "start of the hour of event time that the file lies in; null for `tail`"),  # noqa: E501 - one text
        Column("source", _STR, "the source; null where events of several were merged"),
        Column("min_ts", TS, "lowest event time", required=True),
        Column("max_ts", TS, "highest event time, inclusive", required=True),
        Column("min_user_key", _U64, "lowest `xxh3_64(user_id)`", required=True),
        Column("max_user_key", _U64, "highest `xxh3_64(user_id)`, inclusive", required=True),
        Column("rows", _I64, "events", required=True),
        Column("bytes", _I64, "size of the file", required=True),
        Column("max_archived", _I64, "highest commit that archived an event of the file; merging does not change it", required=True),  # noqa: E501 - one text
        Column("schema_digest", _STR, "fingerprint of the file's columns", required=True),
        _COMMIT,
    ),
)  # fmt: skip
IMPORTS: Final = Table(
    "imports",
    "One row per file and run of `labeling import` that finished the file.",
    (
        Column("source", _STR, "source whose mapping read the file", required=True),
        Column("file", _STR, "the file's name as it was given", required=True),
        Column("digest", _STR, "blake2b of its bytes", required=True),
        Column("bytes", _I64, "its size", required=True),
        Column("records", _I64, "records in it", required=True),
        Column("events", _I64, "events read from it, rejects included", required=True),
        Column("until_ts", TS, "the declared end of the import; null: all there is"),
        _COMMIT,
    ),
)
COUNTS: Final = Table(
    "counts",
    "What became of what was read: `events = rejected + too_late + duplicate + accepted`. View "
    "`counts_total` sums by source.",
    (
        _COMMIT,
        Column("source", _STR, "name of the source", required=True),
        Column("records", _I64, "records read", required=True),
        Column("events", _I64, "events in them; a record that cannot be opened counts one", required=True),  # noqa: E501 - one text
        Column("rejected", _I64, "listed in `rejects`", required=True),
        Column("too_late", _I64, "archived, listed in `late_events` when a stream judged them, healed by replay", required=True),  # noqa: E501 - one text
        Column("duplicate", _I64, "of an identity that the archive has; not archived", required=True),  # noqa: E501 - one text
        Column("accepted", _I64, "archived", required=True),
    ),
)  # fmt: skip
REJECTS: Final = Table(
    "rejects",
    "Records, or elements of records, that could not become an event.",
    (
        _COMMIT,
        *_position(),
        Column("broker_ts", TS, "the broker's time of the record"),
        Column("reason", _STR, "reason code", required=True),
        Column("detail", _STR, "the field and what was wrong with it", required=True),
        Column("raw", pl.Binary(), "the record's bytes, capped"),
        Column("truncated", _BOOL, "whether `raw` was capped; such a record cannot be fed again"),
        Column("retried_commit", _I64, "commit at which `labeling rejects retry` took it in; null while it is rejected"),  # noqa: E501 - one text
    ),
    dated="commit",
)  # fmt: skip
LATE_EVENTS: Final = Table(
    "late_events",
    "Events that came after the watermark of their source had passed them.",
    (
        _COMMIT,
        *_IDENTITY,
        Column("event_type", _STR, "its type"),
        *_position(),
        Column("arrival", _STR, "`late` or `too_late`", required=True),
        Column("watermark_ts", TS, "the source's watermark when the event was judged"),
    ),
    dated="commit",
)
CONFLICTS: Final = Table(
    "conflicts",
    "Events of one identity and different content: the first archived stays, the other was counted as a duplicate.",  # noqa: E501 - one text
    (
        _COMMIT,
        *_IDENTITY,
        *_position("kept_", " (of the event that stays)"),
        *_position("dropped_", " (of the event that was not archived)"),
    ),
    dated="commit",
)  # fmt: skip
SOURCE_ENDS: Final = Table(
    "source_ends",
    "How far each imported source is complete; one row per source.",
    (
        Column("source", _STR, "name of the source", required=True),
        Column(
            "end_ts", TS, "every event before this has been read; null: all there is (+infinity)"
        ),
        _COMMIT,
    ),
)
RULES: Final = Table(
    "rules",
    "The versions of rules that have a table here.",
    (
        *_RULE,
        Column("digest", _STR, "of the rule's definition", required=True),
        Column("money", pl.List(_STR), "columns in micro-units that views show as doubles"),
        Column("window_ms", _I64, "length of the window in ms; null for a calendar window"),
        _COMMIT,
    ),
)
ACTIVE_VERSIONS: Final = Table(
    "active_versions",
    "Which version a rule's views follow, where it is not the newest.",
    (*_RULE, _COMMIT),
)
HOURS: Final = Table(
    "hours",
    "What has been published of each hour of anchor time (UTC).",
    (
        *_RULE,
        Column("hour", TS, "start of the hour", required=True),
        Column("rows", _I64, "current rows of the hour", required=True),
        Column("complete", _BOOL, "every row of the hour has passed its last point", required=True),
        Column("through_ts", TS, "points before this time are published (exclusive); null: all"),
        Column("archive_commit", _I64, "events archived up to this commit have been read", required=True),  # noqa: E501 - one text
        _COMMIT,
    ),
)  # fmt: skip
RETRACTED: Final = Table(
    "retracted",
    "Keys whose row was retracted and has not returned, so that its return continues the sequence.",
    (
        *_RULE,
        *_KEY,
        Column("revision", _I32, "revision of the retraction", required=True),
        Column("first_commit", _I64, "commit of the row's first publication", required=True),
        _COMMIT,
    ),
)
LABEL_CHANGES: Final = Table(
    "label_changes",
    "Updates and retractions, append-only. Inserts are not in it: a row's first value is the `old` "
    "of its first update, or the row itself.",
    (
        *_RULE,
        *_KEY,
        Column("revision", _I32, "revision that the change made", required=True),
        Column("kind", _STR, "`update` or `retract`", required=True),
        Column("reason", _STR, "`point`, `late`, `undo` or `replay`", required=True),
        Column("point_ts", TS, "the point at which the row was evaluated"),
        Column(
            "old",
            _STR,
            "JSON: the values before of the columns that differ; for a retraction, of all",
            required=True,
        ),
        Column(
            "new", _STR, "JSON: the values after of the columns that differ; null for a retraction"
        ),
        _COMMIT,
    ),
    dated="anchor_ts",
)

TABLES: Final = (
    META,
    COMMITS,
    ARCHIVE_FILES,
    IMPORTS,
    COUNTS,
    REJECTS,
    LATE_EVENTS,
    CONFLICTS,
    SOURCE_ENDS,
    RULES,
    ACTIVE_VERSIONS,
    HOURS,
    RETRACTED,
    LABEL_CHANGES,
)

COUNTS_TOTAL: Final = """CREATE VIEW counts_total AS
SELECT source, CAST(sum(records) AS BIGINT) AS records, CAST(sum(events) AS BIGINT) AS events,
  CAST(sum(rejected) AS BIGINT) AS rejected, CAST(sum(too_late) AS BIGINT) AS too_late,
  CAST(sum(duplicate) AS BIGINT) AS duplicate, CAST(sum(accepted) AS BIGINT) AS accepted,
  sum(events) = sum(rejected + too_late + duplicate + accepted) AS adds_up
FROM counts GROUP BY source ORDER BY source"""

#: What a label row holds beside key and values.
BOOK_SCHEMA: Final[dict[str, pl.DataType]] = {
    "rule_version": _I32,
    "rule_digest": _STR,
    "revision": _I32,
    "first_commit": _I64,
    "commit": _I64,
}
