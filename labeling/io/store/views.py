"""What people read of a rule: its current rows, and those of them that are final.

Always holds: ``<rule>`` shows the current rows of one version, the newest unless
``active_versions`` names another; ``<rule>_final`` shows those whose last point has been
published: every row of a complete hour, and in other hours the rows whose window ended before
``hours.through_ts``, or before the watermark of the stream that owns them. Money is shown in whole
units as DOUBLE; the tables keep micro-units.

Not promised: that a rule with a calendar window shows final rows before their hour is complete.
"""

from __future__ import annotations

from labeling.errors import StoreError
from labeling.io.store.database import Database
from labeling.io.store.lookup import known
from labeling.io.store.schema import create_table
from labeling.io.store.tables import BOOK_SCHEMA, COUNTS_TOTAL, TABLES
from labeling.model.table import ROW_KEY, RuleTable

_RESERVED = {t.name for t in TABLES} | {"counts_total"}
#: Views work on whole milliseconds: arithmetic on TIMESTAMPTZ itself needs the ICU extension.
_HOUR_JOIN = "epoch_ms(r.anchor_ts) // 3600000 = epoch_ms(h.hour) // 3600000"


def create_all(db: Database) -> None:
    """Make every fixed table and view in a new file."""
    for table in TABLES:
        db.run(table.ddl)
    db.run(COUNTS_TOTAL)


def register(db: Database, table: RuleTable, commit: int) -> None:
    """Make the table of a rule's version and turn its views to it, unless that is done.

    Raises:
        StoreError: the version is known with another digest, or a name is taken.
    """
    if known(db, table):
        return
    _refuse_taken_names(db, table)
    schema = {**table.schema, **BOOK_SCHEMA}
    db.run(create_table(table.table, schema, {*ROW_KEY, *BOOK_SCHEMA}))
    db.run(
        "INSERT INTO rules VALUES (?, ?, ?, ?, ?, ?)",
        [table.name, table.version, table.digest, sorted(table.money), table.window_ms, commit],
    )
    refresh(db, table.name)


def _refuse_taken_names(db: Database, table: RuleTable) -> None:
    mine = {table.name, f"{table.name}_final", table.table}
    taken = _RESERVED | {
        name
        for rule, version in db.frame("SELECT rule, version FROM rules").iter_rows()
        for name in (f"{rule}_v{version}", *((rule, f"{rule}_final") if rule != table.name else ()))
    }
    if mine & taken:
        raise StoreError(
            f"rule {table.name}: the store already has a table or view named "
            f"{', '.join(sorted(mine & taken))}; give the rule another name"
        )


def require(db: Database, rule: str, version: int) -> None:
    """Refuse a version that has no table.

    Raises:
        StoreError: names the versions that there are.
    """
    known = db.frame("SELECT version FROM rules WHERE rule = ? ORDER BY version", [rule])
    versions = known["version"].to_list()
    if version not in versions:
        there = ", ".join(map(str, versions)) or "none"
        raise StoreError(f"rule {rule} has no version {version} in this store; it has {there}")


def active_version(db: Database, rule: str) -> int | None:
    """The version that a rule's views follow; None for a rule without a table."""
    chosen = db.value("SELECT version FROM active_versions WHERE rule = ?", [rule])
    newest = db.value("SELECT max(version) FROM rules WHERE rule = ?", [rule])
    return int(chosen) if chosen is not None else newest


def refresh(db: Database, rule: str) -> None:
    """Point a rule's views at its active version."""
    version = active_version(db, rule)
    money, window_ms = db.frame(
        "SELECT money, window_ms FROM rules WHERE rule = ? AND version = ?", [rule, version]
    ).row(0)
    columns = db.frame(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = 'store' "
        "AND table_name = ? ORDER BY column_index",
        [f"{rule}_v{version}"],
    )["column_name"]
    shown = ", ".join(f'r."{c}" / 1e6 AS "{c}"' if c in money else f'r."{c}"' for c in columns)
    db.run(f'CREATE OR REPLACE VIEW "{rule}" AS SELECT {shown} FROM "{rule}_v{version}" r')
    passed = "h.complete"
    if window_ms is not None:
        passed += (
            f" OR epoch_ms(r.anchor_ts) + {window_ms} < epoch_ms(h.through_ts)"
            f" OR (epoch_ms(r.anchor_ts) + {window_ms} < (SELECT min(f_ms) FROM watermarks"
            f" WHERE kind = 'rule' AND name = '{rule}@{version}') AND epoch_ms(r.anchor_ts) >="
            f" (SELECT coalesce(epoch_ms(since_ts), 0) FROM streams"
            f" WHERE rule = '{rule}' AND version = {version}))"
        )
    db.run(
        f'CREATE OR REPLACE VIEW "{rule}_final" AS SELECT {shown} FROM "{rule}_v{version}" r '
        f"LEFT JOIN hours h ON h.rule = '{rule}' AND h.version = {version} AND {_HOUR_JOIN} "
        f"WHERE {passed}"
    )
