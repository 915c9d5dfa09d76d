"""Published changes as rows that went and rows that came.

Always holds: of every key the rows that came less those that went are the difference between what
was stored and what is; so whatever is summed over rows moves by ``came`` less ``went``.

Not promised: what lies between. Several changes of a key in one publication cancel out.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from labeling.model.table import RuleTable


@dataclass(frozen=True)
class Moved:
    """Frames of key and values (``table.schema``), in no promised order."""

    went: pl.DataFrame
    came: pl.DataFrame


def of_changes(table: RuleTable, changes: pl.DataFrame) -> Moved:
    """The rows that changes replaced, and those that they made.

    Args:
        table: the rule's version.
        changes: as for ``Commit.publish``.
    """
    return Moved(_side(table, changes, "old"), _side(table, changes, "new"))


def of_first(table: RuleTable, rows: pl.DataFrame) -> Moved:
    """The same of a first publication: rows as for ``Commit.publish_first``; nothing went."""
    came = rows.select(list(table.schema))
    return Moved(came.clear(), came)


def _side(table: RuleTable, changes: pl.DataFrame, side: str) -> pl.DataFrame:
    if changes.is_empty():
        return pl.DataFrame(schema=dict(table.schema))
    told = changes.filter(pl.col(side).is_not_null())
    # Typed by the table: a struct of changes may hold other widths.
    return told.select(
        *table.keys,
        *(pl.col(side).struct.field(c).cast(kind).alias(c) for c, kind in table.values.items()),
    )
