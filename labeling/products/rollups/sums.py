"""What rows sum up to: the sums of a rollup by hour and dimensions, whole numbers all.

Always holds: the sums of two frames together are those of the one plus those of the other; so the
sums of what came less those of what went are by how much a rollup moves. Of a list column a row
counts once for each of its distinct values, and once for null where it has none.

Not promised: groups in any order, or that a group stands there once.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from labeling.model.event import TS
from labeling.model.rollup import Rollup
from labeling.products.moved import Moved

_HOUR_MS: Final = 3_600_000


def columns_read(rollup: Rollup) -> tuple[str, ...]:
    """The columns of a row that a rollup reads, ``anchor_ts`` among them."""
    summed = {c for total in rollup.sums.values() for c in total.columns()}
    return tuple(sorted({"anchor_ts", *rollup.by, *summed}))


def sums_of(rollup: Rollup, rows: pl.DataFrame, sign: int = 1) -> pl.DataFrame:
    """The sums of rows.

    Args:
        rollup: which sums, by which dimensions.
        rows: with ``columns_read``, of the types of the rule's table.
        sign: -1 for rows that are taken out.

    Returns:
        ``rollup.group_schema`` and the sums (Int64).
    """
    names = list(rollup.sums)
    # Hours as numbers, and lists as they are: of 100,000 rows only some hundred groups are left.
    each = rows.select(
        (pl.col("anchor_ts").dt.epoch("ms") // _HOUR_MS).alias("hour"),
        *rollup.by,
        *(total.value().alias(name) for name, total in rollup.sums.items()),
    )
    grouped = each.group_by("hour", *rollup.by).agg(pl.col(names).sum() * sign)
    for column in rollup.by:
        if isinstance(rollup.of_table.schema[column], pl.List):
            grouped = _one_by_one(grouped, column)
    return grouped.select(
        (pl.col("hour") * _HOUR_MS).cast(TS).alias("hour"),
        *(pl.col(c).cast(kind) for c, kind in rollup.group_schema.items() if c != "hour"),
        *names,
    )


def moved_by(rollup: Rollup, moved: Moved) -> pl.DataFrame:
    """By how much published changes move the sums; as ``sums_of`` returns them."""
    came = sums_of(rollup, moved.came)
    return pl.concat([came, sums_of(rollup, moved.went, -1)]) if moved.went.height else came


def _one_by_one(grouped: pl.DataFrame, column: str) -> pl.DataFrame:
    """A group for each distinct value of a list column; null for an empty list, or none."""
    distinct = pl.col(column).list.unique()
    filled = pl.when(distinct.list.len() > 0).then(distinct)
    return grouped.with_columns(filled).explode(column)
