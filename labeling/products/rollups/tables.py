"""The tables and views of rollups, and what rows in the store sum up to.

Always holds: a version of a rollup has one table, made with the digest of its definition; the view
named by the rollup shows its newest version: money in whole units and credit as a part of 1, as
DOUBLE, every other sum as BIGINT.

Not promised: memory for more than an hour. Rows are counted hour by hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from labeling.errors import StoreError
from labeling.io.store.commit import Commit
from labeling.io.store.database import Database
from labeling.io.store.product_tables import ROLLUPS
from labeling.io.store.schema import conform, create_table
from labeling.io.store.sums import add_sums
from labeling.model.event import TS
from labeling.model.rollup import Rollup
from labeling.products.rollups.sums import columns_read, sums_of

_HOUR: Final = timedelta(hours=1)


def known(db: Database, rollup: Rollup) -> bool:
    """Whether the rollup's version has a table.

    Raises:
        StoreError: it has, with another digest.
    """
    found = db.frame("SELECT version, digest FROM rollups WHERE rollup = ?", [rollup.name])
    digests = dict(found.iter_rows())
    if rollup.version not in digests:
        return False
    if digests[rollup.version] != rollup.digest:
        raise StoreError(
            f"rollup {rollup.key} has changed since it was first kept (digest "
            f"{digests[rollup.version]}, now {rollup.digest}; a change of its rule is one too); "
            f"give the changed rollup version {max(digests) + 1}"
        )
    return True


def register(commit: Commit, rollup: Rollup) -> None:
    """Make the table of a rollup's version, turn the view to the newest, count the rows there are.

    Raises:
        StoreError: a name is taken.
    """
    db = commit.database
    _refuse_taken_names(db, rollup)
    schema = {**rollup.group_schema, **dict.fromkeys(rollup.sums, pl.Int64())}
    db.run(create_table(rollup.table, schema, {"hour", *rollup.sums}))
    row = {
        "rollup": rollup.name,
        "version": rollup.version,
        "digest": rollup.digest,
        "rule": rollup.of.name,
        "rule_version": rollup.of.version,
    }
    commit.append(ROLLUPS, pl.DataFrame([row]))
    newest = db.value("SELECT max(version) FROM rollups WHERE rollup = ?", [rollup.name])
    if newest == rollup.version:
        db.run(f'CREATE OR REPLACE VIEW "{rollup.name}" AS {_shown(rollup)}')
    for hour in hours_of_rows(db, rollup.of_table.table):
        counted = sums_of(rollup, rows_of_hour(db, rollup, hour))
        add_sums(db, rollup.table, counted, list(rollup.group_schema))


def hours_of_rows(db: Database, table: str) -> Iterator[datetime]:
    """The hours that have rows in a table of rows, in order."""
    number = "SELECT DISTINCT epoch_ms(anchor_ts) // 3600000 AS hour"
    found = db.frame(f'{number} FROM "{table}" ORDER BY hour')["hour"]
    hours = (found.cast(pl.Int64) * 3_600_000).cast(TS)
    yield from hours


def rows_of_hour(db: Database, rollup: Rollup, hour: datetime) -> pl.DataFrame:
    """The current rows of an hour; of each what the rollup reads."""
    schema = {c: rollup.of_table.schema[c] for c in columns_read(rollup)}
    columns = ", ".join(f'"{c}"' for c in schema)
    sql = f'SELECT {columns} FROM "{rollup.of_table.table}" WHERE anchor_ts >= ? AND anchor_ts < ?'
    return conform(db.frame(sql, [hour, hour + _HOUR]), schema)


def _refuse_taken_names(db: Database, rollup: Rollup) -> None:
    """Refuse names of tables and views that are not those of the rollup's own versions."""
    own = db.frame("SELECT version FROM rollups WHERE rollup = ?", [rollup.name])
    there = db.frame(
        "SELECT table_name AS name FROM duckdb_tables() WHERE database_name = 'store' "
        "UNION SELECT view_name FROM duckdb_views() WHERE database_name = 'store'"
    )["name"]
    mine = {rollup.table} if own.height else {rollup.table, rollup.name}
    taken = sorted(mine & {*there})
    if taken:
        raise StoreError(
            f"rollup {rollup.name}: the store already has a table or view named "
            f"{', '.join(taken)}; give the rollup another name"
        )


def _shown(rollup: Rollup) -> str:
    """The view's SELECT."""
    of = rollup.of_table
    units = {**dict.fromkeys(of.money, "1e6"), **dict.fromkeys(of.parts, "1e9")}
    sums = (
        f'"{name}" / {units[total.column]} AS "{name}"' if total.column in units else f'"{name}"'
        for name, total in rollup.sums.items()
    )
    dimensions = (f'"{c}"' for c in rollup.group_schema)
    columns = ", ".join((*dimensions, *sums))
    return (
        f"SELECT '{of.name}' AS rule, {of.version} AS rule_version, {columns} "
        f'FROM "{rollup.table}"'
    )
