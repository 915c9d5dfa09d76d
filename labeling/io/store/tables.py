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

from labeling.io.store.columns import (
    BOOL,
    COMMIT,
    I32,
    I64,
    IDENTITY,
    KEY,
    RULE,
    STR,
    TOUCH_KEY,
    U64,
    position,
)
from labeling.io.store.live_tables import LIVE_TABLES
from labeling.io.store.product_tables import PRODUCT_TABLES
from labeling.io.store.repairs import REPAIRS
from labeling.io.store.schema import Column, Table
from labeling.model.event import TS

#: Of the tables below; see ``labeling.io.store.migration`` for stores of another version.
SCHEMA_VERSION: Final = 4

META: Final = Table(
    "meta",
    "Facts about the file itself.",
    (
        Column("key", STR, "`schema_version`, `store_id` (in the names of archive files that this store wrote), `run` (times a writer opened it)", required=True),  # noqa: E501 - one text
        Column("value", STR, "the fact", required=True),
    ),
)  # fmt: skip
COMMITS: Final = Table(
    "commits",
    "One row per transaction, numbered from 1 without gaps.",
    (
        Column("commit", I64, "the number", required=True),
        Column("run", I64, "the writer's run", required=True),
        Column("what", STR, "what the transaction was for, in words", required=True),
        Column("events", I64, "events read", required=True),
        Column("archived", I64, "events added to the archive", required=True),
        Column("changes", I64, "inserts, updates and retractions published", required=True),
        Column("newest_ts", TS, "highest event time archived up to this commit; the day by which retention counts a row without an event time of its own"),  # noqa: E501 - one text
    ),
)  # fmt: skip
ARCHIVE_FILES: Final = Table(
    "archive_files",
    "The files of the archive. A file that is not named here is not part of it.",
    (
        Column("name", STR, "path relative to the archive's folder", required=True),
        Column("kind", STR, "`import`, `tail` (written by a stream) or `hour` (merged)", required=True),  # noqa: E501 - one text
        Column("hour", TS, "start of the hour of event time that the file lies in; null for `tail`"),  # noqa: E501 - one text
        Column("source", STR, "the source; null where events of several were merged"),
        Column("min_ts", TS, "lowest event time", required=True),
        Column("max_ts", TS, "highest event time, inclusive", required=True),
        Column("min_user_key", U64, "lowest `xxh3_64(user_id)`", required=True),
        Column("max_user_key", U64, "highest `xxh3_64(user_id)`, inclusive", required=True),
        Column("rows", I64, "events", required=True),
        Column("bytes", I64, "size of the file", required=True),
        Column("max_archived", I64, "highest commit that archived an event of the file; merging does not change it", required=True),  # noqa: E501 - one text
        Column("schema_digest", STR, "fingerprint of the file's columns", required=True),
        COMMIT,
    ),
)  # fmt: skip
IMPORTS: Final = Table(
    "imports",
    "One row per file and run of `labeling import` that finished the file.",
    (
        Column("source", STR, "source whose mapping read the file", required=True),
        Column("file", STR, "the file's name as it was given", required=True),
        Column("digest", STR, "blake2b of its bytes", required=True),
        Column("bytes", I64, "its size", required=True),
        Column("records", I64, "records in it", required=True),
        Column("events", I64, "events read from it, rejects included", required=True),
        Column("until_ts", TS, "the declared end of the import; null: all there is"),
        COMMIT,
    ),
)
COUNTS: Final = Table(
    "counts",
    "What became of what was read: `events = rejected + too_late + duplicate + accepted`. View "
    "`counts_total` sums by source.",
    (
        COMMIT,
        Column("source", STR, "name of the source", required=True),
        Column("records", I64, "records read", required=True),
        Column("events", I64, "events in them; a record that cannot be opened counts one", required=True),  # noqa: E501 - one text
        Column("rejected", I64, "listed in `rejects`", required=True),
        Column("too_late", I64, "archived, listed in `late_events` when a stream judged them, healed by replay", required=True),  # noqa: E501 - one text
        Column("duplicate", I64, "of an identity that the archive has; not archived", required=True),  # noqa: E501 - one text
        Column("accepted", I64, "archived", required=True),
    ),
)  # fmt: skip
REJECTS: Final = Table(
    "rejects",
    "Records, or elements of records, that could not become an event.",
    (
        COMMIT,
        *position(),
        Column("broker_ts", TS, "the broker's time of the record"),
        Column("reason", STR, "reason code", required=True),
        Column("detail", STR, "the field and what was wrong with it", required=True),
        Column("raw", pl.Binary(), "the record's bytes, capped"),
        Column("truncated", BOOL, "whether `raw` was capped; such a record cannot be fed again"),
        Column("retried_commit", I64, "commit at which `labeling rejects retry` took it in; null while it is rejected"),  # noqa: E501 - one text
    ),
    dated="commit",
)  # fmt: skip
LATE_EVENTS: Final = Table(
    "late_events",
    "Events that came after the watermark of their source had passed them.",
    (
        COMMIT,
        *IDENTITY,
        Column("event_type", STR, "its type"),
        *position(),
        Column("arrival", STR, "`late` or `too_late`", required=True),
        Column("watermark_ts", TS, "the source's watermark when the event was judged"),
    ),
    dated="commit",
)
CONFLICTS: Final = Table(
    "conflicts",
    "Events of one identity and different content: the first archived stays, the other was counted as a duplicate.",  # noqa: E501 - one text
    (
        COMMIT,
        *IDENTITY,
        *position("kept_", " (of the event that stays)"),
        *position("dropped_", " (of the event that was not archived)"),
    ),
    dated="commit",
)  # fmt: skip
SOURCE_ENDS: Final = Table(
    "source_ends",
    "How far each imported source is complete; one row per source.",
    (
        Column("source", STR, "name of the source", required=True),
        Column(
            "end_ts", TS, "every event before this has been read; null: all there is (+infinity)"
        ),
        COMMIT,
    ),
)
RULES: Final = Table(
    "rules",
    "The versions of rules that have a table here.",
    (
        *RULE,
        Column("digest", STR, "of the rule's definition", required=True),
        Column("money", pl.List(STR), "columns in micro-units that views show as doubles"),
        Column("window_ms", I64, "length of the window in ms; null for a calendar window"),
        COMMIT,
        Column("parts", pl.List(STR), "columns in parts per 10^9 that views show as doubles"),
        Column("action_only", pl.List(STR), "columns that say something of actions alone"),
        Column("touch_only", pl.List(STR), "columns that say something of touches alone; null: the rule makes labels"),  # noqa: E501 - one text
        Column("sample_of", STR, "`name@version` of the label rule that these are samples of; null: no samples"),  # noqa: E501 - one text
        Column("sample_label", STR, "the column that tells a positive sample from a negative"),
        Column("sample_delays", pl.List(I64), "how long after the anchor the early points lie, in ms"),  # noqa: E501 - one text
        Column("sample_carried", pl.List(STR), "columns of a sample that say the same at every point"),  # noqa: E501 - one text
    ),
)  # fmt: skip
ACTIVE_VERSIONS: Final = Table(
    "active_versions",
    "Which versions a rule's views show, where it is not the newest alone.",
    (
        *RULE,
        Column("from_ts", TS, "the version is shown for anchors from here on, up to the next row's; null: from the beginning"),  # noqa: E501 - one text
        COMMIT,
    ),
)  # fmt: skip
HOURS: Final = Table(
    "hours",
    "What has been published of each hour of anchor time (UTC).",
    (
        *RULE,
        Column("hour", TS, "start of the hour", required=True),
        Column("rows", I64, "rows of the hour when it was noted; undos of actions may take some away later", required=True),  # noqa: E501 - one text
        Column("complete", BOOL, "every row of the hour has passed its last point", required=True),
        Column("through_ts", TS, "points before this time are published (exclusive); null: all. Where a replay published an attribution a complete hour has it too, until nothing can undo its actions"),  # noqa: E501 - one text
        Column("archive_commit", I64, "events archived up to this commit have been read", required=True),  # noqa: E501 - one text
        Column("published_by", STR, "`stream` (without the events too late for it) or `replay` (with them)", required=True),  # noqa: E501 - one text
        COMMIT,
    ),
)  # fmt: skip
RETRACTED: Final = Table(
    "retracted",
    "Keys whose row was retracted and has not returned, so that its return continues the sequence.",
    (
        *RULE,
        *KEY,
        Column("revision", I32, "revision of the retraction", required=True),
        Column("first_commit", I64, "commit of the row's first publication", required=True),
        COMMIT,
        *TOUCH_KEY,
    ),
)
LABEL_CHANGES: Final = Table(
    "label_changes",
    "Updates and retractions, append-only. Inserts are not in it: a row's first value is the `old` "
    "of its first update, or the row itself.",
    (
        *RULE,
        *KEY,
        Column("revision", I32, "revision that the change made", required=True),
        Column("kind", STR, "`update` or `retract`", required=True),
        Column("reason", STR, "`point`, `late`, `undo` or `replay`", required=True),
        Column("point_ts", TS, "the point at which the row was evaluated"),
        Column(
            "old",
            STR,
            "JSON: the values before of the columns that differ; for a retraction, of all",
            required=True,
        ),
        Column(
            "new", STR, "JSON: the values after of the columns that differ; null for a retraction"
        ),
        COMMIT,
        *TOUCH_KEY,
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
    *LIVE_TABLES,
    REPAIRS,
    *PRODUCT_TABLES,
)

COUNTS_TOTAL: Final = """CREATE VIEW counts_total AS
SELECT source, CAST(sum(records) AS BIGINT) AS records, CAST(sum(events) AS BIGINT) AS events,
  CAST(sum(rejected) AS BIGINT) AS rejected, CAST(sum(too_late) AS BIGINT) AS too_late,
  CAST(sum(duplicate) AS BIGINT) AS duplicate, CAST(sum(accepted) AS BIGINT) AS accepted,
  sum(events) = sum(rejected + too_late + duplicate + accepted) AS adds_up
FROM counts GROUP BY source ORDER BY source"""

#: What a label row holds beside key and values.
BOOK_SCHEMA: Final[dict[str, pl.DataType]] = {
    "rule_version": I32,
    "rule_digest": STR,
    "revision": I32,
    "first_commit": I64,
    "commit": I64,
}
