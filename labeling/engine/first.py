"""A first publication as the sequence of changes that it is.

Always holds: the changes of a row come in the order of its revisions, without a gap; ``old`` and
``new`` are whole.

Not promised: ``point_ts`` of a first value that was replaced in the commit that brought it. Nothing
keeps it.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from labeling.model.event import TS
from labeling.model.table import RuleTable

_SIDES: Final = ("old", "new")


def first_changes(table: RuleTable, rows: pl.DataFrame, updates: pl.DataFrame) -> pl.DataFrame:
    """All changes of rows that the store has never had, from how they ended.

    Args:
        table: the rule's version.
        rows: key, values and ``revision`` of those that are there in the end; ``point_ts`` and
            ``reason`` of a first publication where they are known.
        updates: their changes but the inserts, and those of rows that went again; may be without
            columns.
    """
    values = list(table.values)
    given = {"point_ts": pl.lit(None, TS), "reason": pl.lit("point")}
    last = rows.with_columns(
        **{name: known for name, known in given.items() if name not in rows.columns},
        kind=pl.lit("insert"),
        old=pl.when(pl.lit(value=False)).then(pl.struct(values)),
        new=pl.struct(values),
    ).select(*table.keys, "revision", "kind", "reason", "point_ts", *_SIDES)
    if updates.is_empty():
        return last
    later = updates.select(last.columns).with_columns(_whole(side, values) for side in _SIDES)
    # What an update or a retraction replaced, and no other of them had made, was inserted.
    before = later.with_columns(
        pl.col("revision") - 1,
        kind=pl.lit("insert"),
        point_ts=pl.lit(None, TS),
        old=pl.lit(None, later.schema["old"]),
        new="old",
    )
    inserted = pl.concat([before, last]).join(later, on=[*table.keys, "revision"], how="anti")
    return pl.concat([inserted, later]).sort(*table.keys, "revision")


def _whole(side: str, values: list[str]) -> pl.Expr:
    """One side of changes with its values in the table's order."""
    ordered = pl.struct(pl.col(side).struct.field(name) for name in values)
    return pl.when(pl.col(side).is_not_null()).then(ordered).alias(side)
