"""Digests of hours: what the hashes of an hour's current rows sum up to.

Always holds: a digest depends on the rows alone, not on their order or on how they came to be; the
sums move by what came less what went, in the transaction that publishes, and are those of a
recount. They are whole numbers: the upper and the lower halves of the hashes, summed apart.

Not promised: a row of ``digests`` for an hour without rows; its sums are zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from labeling.io.archive import hour_start
from labeling.io.store import Commit
from labeling.io.store.database import Database
from labeling.model.event import TS
from labeling.model.table import RuleTable
from labeling.products.markers.row_hash import row_hashes
from labeling.products.moved import Moved

SUMS: Final = ("rows", "digest_hi", "digest_lo")
_KEYS: Final = ("rule", "version", "hour")
_SCHEMA: Final[dict[str, pl.DataType]] = {"hour": TS, **dict.fromkeys(SUMS, pl.Int64())}
_HALF: Final = pl.lit(1 << 32, pl.UInt64)
_HOUR: Final = timedelta(hours=1)


def digested(table: RuleTable, rows: pl.DataFrame) -> pl.DataFrame:
    """What rows add to the digests of their hours.

    Args:
        table: the rule's version.
        rows: key and values, in any order.

    Returns:
        ``hour`` (its start, UTC), ``rows``, ``digest_hi``, ``digest_lo`` (Int64), sorted by hour.
    """
    if rows.is_empty():
        return pl.DataFrame(schema=_SCHEMA)
    hashed = rows.select(
        hour=pl.col("anchor_ts").cast(TS).dt.truncate("1h"), hash=row_hashes(rows, table.schema)
    )
    halves = hashed.select(
        "hour",
        digest_hi=(pl.col("hash") // _HALF).cast(pl.Int64),
        digest_lo=(pl.col("hash") % _HALF).cast(pl.Int64),
    )
    sums = halves.group_by("hour").agg(
        pl.len().cast(pl.Int64).alias("rows"), pl.col("digest_hi", "digest_lo").sum()
    )
    return sums.select(list(_SCHEMA)).sort("hour")


def differences(table: RuleTable, moved: Moved) -> pl.DataFrame:
    """What a publication adds to digests, as ``digested``; hours that stay as they are left out."""
    came = digested(table, moved.came)
    if moved.went.is_empty():
        return came
    return total([came, digested(table, moved.went).with_columns(-pl.col(SUMS))])


def total(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The sum of several, by hour; hours whose sums are zero left out."""
    given = list(parts)
    if len(given) == 1:
        return given[0]
    told = pl.concat([pl.DataFrame(schema=_SCHEMA), *given])
    sums = told.group_by("hour").agg(pl.col(SUMS).sum()).sort("hour")
    return sums.filter(pl.any_horizontal(pl.col(SUMS) != 0))


def add(commit: Commit, moved: Iterable[tuple[RuleTable, pl.DataFrame]]) -> None:
    """Add to digests, all tables at once: of each what ``differences`` or ``recounted`` gave."""
    named = [
        frame.select(
            pl.lit(table.name).alias("rule"),
            pl.lit(table.version, pl.Int32).alias("version"),
            *_SCHEMA,
        )
        for table, frame in moved
        if frame.height
    ]
    if named:
        commit.add_sums("digests", pl.concat(named), _KEYS)


def counted(db: Database, table: RuleTable) -> bool:
    """Whether the digests of a rule's version are kept; of one without rows they never seem to."""
    known = "SELECT 1 FROM digests WHERE rule = ? AND version = ? LIMIT 1"
    return db.value(known, [table.name, table.version]) is not None


def digests_of(db: Database, table: RuleTable, hours: Iterable[datetime]) -> pl.DataFrame:
    """The digests of hours as they are kept, a row for each hour asked; zeros where none is."""
    asked = pl.DataFrame({"hour": sorted(hours)}, schema={"hour": TS})
    kept = db.frame(
        "SELECT hour, rows, digest_hi, digest_lo FROM digests "
        "WHERE rule = ? AND version = ? AND hour IN (SELECT unnest(?))",
        [table.name, table.version, asked["hour"].to_list()],
    ).cast(_SCHEMA)  # type: ignore[arg-type] # a mapping of types is one
    return asked.join(kept, on="hour", how="left", maintain_order="left").fill_null(0)


def recounted(
    db: Database, table: RuleTable, hours: Iterable[datetime] | None = None
) -> pl.DataFrame:
    """Count the digests of hours anew, from the current rows; one hour is in memory at a time.

    Args:
        db: of the store; may be inside a transaction, or another process's.
        table: the rule's version, whose table exists.
        hours: their starts (UTC); None: all that have rows.

    Returns:
        As ``digested``: an hour without rows is left out, as in ``digests``.
    """
    columns = ", ".join(f'"{c}"' for c in table.schema)
    asked = _hours_with_rows(db, table) if hours is None else sorted(set(hours))
    found = [
        digested(
            table,
            db.frame(
                f'SELECT {columns} FROM "{table.table}" WHERE anchor_ts >= ? AND anchor_ts < ?',
                [hour, hour + _HOUR],
            ),
        )
        for hour in asked
    ]
    return pl.concat([pl.DataFrame(schema=_SCHEMA), *found])


def _hours_with_rows(db: Database, table: RuleTable) -> list[datetime]:
    sql = f'SELECT DISTINCT epoch_ms(anchor_ts) // 3600000 AS hour FROM "{table.table}" ORDER BY 1'
    return [hour_start(hour) for hour in db.frame(sql)["hour"]]
