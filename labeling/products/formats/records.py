"""What a topic of samples is told: the differences of a format, as frames.

Always holds: a row is told of when it comes, when it is another than before, and when it goes; the
last that was told of a key is its state, and ``retract`` means that it has none. A sample without
features is not there, for whoever is told.

Not promised: each of several changes of one commit, but in format ``changes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from labeling.model.sample import JOINED, SampleRule
from labeling.model.table import ROW_KEY

_WAS: Final = "@before"
#: Of one commit and key the negative is told before the positive.
_ORDER: Final = ("anchor_ts", "anchor_id", "user_id")


def of_changes(sample: SampleRule, changes: pl.DataFrame) -> pl.DataFrame:
    """Format ``changes``: each change of samples that have, or had, features.

    Args:
        sample: the rule.
        changes: as ``labeling.engine.changes`` makes them.

    Returns:
        Key, ``revision``, ``kind``, ``reason``, the values in the units of views (of a retraction
        those that went), ``matured_ms`` and ``final``; in the order of ``changes``.
    """
    there = {side: pl.col(side).struct.field("status").eq(JOINED) for side in ("old", "new")}
    was, now = (
        (pl.col(side).is_not_null() & joined).fill_null(value=False)
        for side, joined in there.items()
    )
    kind = (
        pl.when(now & ~was).then(pl.lit("insert"))
        .when(now & was).then(pl.lit("update"))
        .when(was).then(pl.lit("retract"))
    )  # fmt: skip
    told = changes.with_columns(kind=kind).filter(pl.col("kind").is_not_null())
    side = pl.when(pl.col("kind") == "retract").then("old").otherwise("new")
    last = sample.labels.bound.end(pl.col("anchor_ts"))
    return told.select(
        *ROW_KEY,
        "revision",
        "kind",
        "reason",
        *(_in_units(sample, side.struct.field(c)).alias(c) for c in sample.value_schema),
        matured_ms=(pl.col("point_ts") - pl.col("anchor_ts")).dt.total_milliseconds(),
        final=(pl.col("point_ts") >= last).fill_null(value=False),
    )


def _in_units(sample: SampleRule, value: pl.Expr) -> pl.Expr:
    """A value as views show it."""
    name = value.meta.output_name()
    for columns, unit in ((sample.table.money, 1e6), (sample.table.parts, 1e9)):
        if name in columns:
            return value / unit
    return value


def of_states(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Formats with one row for a key: how the rows after a commit differ from those before.

    Args:
        before: rows of the format's view.
        after: likewise, the same columns.

    Returns:
        The columns of ``after`` and ``kind``: ``insert``, ``update`` or ``retract`` (whose values
        are those that went).
    """
    before, after = _joined(before), _joined(after)
    came = _other(before, after, ROW_KEY)
    came = came.with_columns(
        kind=pl.when("known").then(pl.lit("update")).otherwise(pl.lit("insert"))
    )
    return pl.concat([came.drop("known"), _gone(before, after)]).sort(_ORDER)


def of_observations(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Format ``fnw``: rows that say when something was known, several for a key.

    Args:
        before: rows of the format's view, with ``kind``.
        after: likewise.

    Returns:
        The columns of ``after``; ``kind`` is that of the rows, or ``retract``. Where a positive is
        none any more, its negative is told again: what was told last is what holds.
    """
    before, after = _joined(before), _joined(after)
    came = _other(before, after, (*ROW_KEY, "kind")).drop("known")
    undone = before.filter(_positive()).join(after.filter(_positive()), on=ROW_KEY, how="anti")
    again = after.filter(~_positive()).join(undone, on=ROW_KEY, how="semi")
    told = pl.concat([came, again]).unique((*ROW_KEY, "kind"), maintain_order=True)
    # Of the rows of a key that went, the last one told.
    gone = _gone(before.sort(_positive()).unique(ROW_KEY, keep="last", maintain_order=True), after)
    both = pl.concat([told, gone.select(told.columns)])
    return both.sort(*_ORDER, _positive(), maintain_order=True)


def _positive() -> pl.Expr:
    return pl.col("kind") == "duplicate"


def _joined(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("status") == JOINED)


def _gone(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    gone = before.join(after, on=ROW_KEY, how="anti", maintain_order="left")
    return gone.with_columns(kind=pl.lit("retract"))


def _other(before: pl.DataFrame, after: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Rows that were not there before, or not so; ``known``: whether they were there."""
    values = [c for c in after.columns if c not in keys]
    line = after.join(
        before.with_columns(known=pl.lit(value=True)),
        on=list(keys),
        how="left",
        suffix=_WAS,
        maintain_order="left",
    )
    same = pl.all_horizontal(pl.col(c).eq_missing(pl.col(f"{c}{_WAS}")) for c in values)
    fresh = line.filter(pl.col("known").is_null() | ~same)
    return fresh.select(*after.columns, pl.col("known").fill_null(value=False))
