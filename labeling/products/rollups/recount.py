"""A rollup held against a count of the rows there are: clause U6 of docs/rollups.md.

Always holds: an hour's sums and rows are read as of one commit, so that what differs differs in the
store, also while a flow writes to it.

Not promised: memory for more than an hour's rows, or that two hours are of the same commit.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from labeling.io.store.database import Database
from labeling.io.store.schema import conform
from labeling.model.event import TS
from labeling.model.rollup import Rollup
from labeling.products.rollups.sums import columns_read, sums_of
from labeling.products.rollups.tables import hours_of_rows

_HOUR: Final = timedelta(hours=1)
#: What ``differences`` returns.
DIFFERENCE: Final[dict[str, pl.DataType]] = {
    "product": pl.String(),
    "hour": TS,
    "group": pl.String(),
    "what": pl.String(),
    "kept": pl.Int64(),
    "counted": pl.Int64(),
}


def hours(db: Database, rollup: Rollup) -> list[datetime]:
    """The hours that have sums or rows, in order."""
    summed = db.frame(f'SELECT DISTINCT hour FROM "{rollup.table}"')["hour"]
    return sorted({*summed, *hours_of_rows(db, rollup.of_table.table)})


def differences(db: Database, rollup: Rollup, hour: datetime) -> pl.DataFrame:
    """Where an hour's sums are not those of its current rows.

    Args:
        db: the store, of this process or another's.
        rollup: which is kept in it.
        hour: its start, UTC.

    Returns:
        ``DIFFERENCE``: a row for each group and sum that differs, by group; a sum or a group that
        is not there counts as 0.
    """
    keys, names = list(rollup.group_schema), list(rollup.sums)
    kept, rows = _both(db, rollup, hour)
    counted = sums_of(rollup, rows).group_by(keys).agg(pl.col(names).sum())
    both = pl.concat(
        [
            side.unpivot(names, index=keys, variable_name="what", value_name="value").with_columns(
                side=pl.lit(name)
            )
            for name, side in (("kept", kept), ("counted", counted))
        ]
    )
    of = {
        name: pl.col("value").filter(pl.col("side") == name).sum() for name in ("kept", "counted")
    }
    found = both.group_by(*keys, "what").agg(**of).filter(pl.col("kept") != pl.col("counted"))
    dimensions = keys[1:]
    text = pl.struct(dimensions).struct.json_encode() if dimensions else pl.lit("{}")
    told = found.with_columns(product=pl.lit(rollup.key), group=text)
    return told.select(pl.col(c).cast(kind) for c, kind in DIFFERENCE.items()).sort("group", "what")


def _both(db: Database, rollup: Rollup, hour: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """An hour's sums and rows, by one question: nothing can be committed between the two."""
    group = {**rollup.group_schema, **dict.fromkeys(rollup.sums, pl.Int64())}
    schema = {c: rollup.of_table.schema[c] for c in columns_read(rollup)}
    packed = ", ".join(f'"{c}" := "{c}"' for c in group)
    columns = ", ".join(f'"{c}"' for c in schema)
    told = db.frame(
        f'SELECT {columns}, FALSE AS is_sum FROM "{rollup.of_table.table}" '
        "WHERE anchor_ts >= ? AND anchor_ts < ? UNION ALL BY NAME "
        f'SELECT TRUE AS is_sum, struct_pack({packed}) AS sums FROM "{rollup.table}" '
        "WHERE hour = ?",
        [hour, hour + _HOUR, hour],
    )
    sums = told.filter("is_sum").select("sums").unnest("sums")
    sums = sums.with_columns(pl.col("hour").cast(TS))
    return conform(sums, group), conform(told.filter(~pl.col("is_sum")), schema)
