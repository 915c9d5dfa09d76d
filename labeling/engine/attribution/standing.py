"""How an action stands at a point: clause A6 of docs/attribution.md.

Always holds: it is a function of what met the action, or a repeat of it, at or before the point.

Not promised: a value beyond 64 bits. It stops at the greatest and the least that there are.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from labeling.engine.attribution.actions import Actions
from labeling.engine.dense import positions
from labeling.model.attribution import AttributionRule

_LEAST: Final = pl.lit(-(2**63), pl.Int128)
_MOST: Final = pl.lit(2**63 - 1, pl.Int128)


def standing(
    rule: AttributionRule, events: pl.DataFrame, actions: Actions, asked: pl.DataFrame
) -> pl.DataFrame:
    """Candidates at the points asked for.

    Args:
        rule: whose ``value`` applies.
        events: the whole frame.
        actions: of these events.
        asked: ``row`` of a candidate, and ``point_ts``.

    Returns:
        ``row``, ``point_ts``, ``present`` (Boolean: it is no repeat), ``undone`` (Boolean) and, of
        a rule with one, ``value`` (Int64), in the order of ``asked``.
    """
    found = positions(actions.found["row"], events.height)
    kept = actions.found["kept"].gather(found.gather(asked["row"]))
    undoing = positions(actions.undone["action"], events.height)
    undone_ts = actions.undone["undone_ts"].gather(undoing.gather(asked["row"]))
    undone = (undone_ts <= asked["point_ts"]).fill_null(value=False)
    at = asked.select("row", "point_ts", kept.alias("present"), undone.alias("undone"))
    if rule.value is None:
        return at
    own = events[rule.value].gather(at["row"]).cast(pl.Int128)
    left = own - _refunded(actions.refunds, at)
    value = left.to_frame("value").select(pl.col("value").clip(_LEAST, _MOST).cast(pl.Int64))
    return at.with_columns(value.to_series())


def _refunded(refunds: pl.DataFrame, at: pl.DataFrame) -> pl.Series:
    """The sum of what was refunded by each point, Int128."""
    asks = at.select("row", "point_ts").with_row_index("ask")
    met = refunds.join(asks, left_on="action", right_on="row", how="inner")
    met = met.filter(pl.col("refund_ts") <= pl.col("point_ts"))
    sums = met.group_by("ask").agg(pl.col("refund").cast(pl.Int128).sum())
    of_each = asks.join(sums, on="ask", how="left", maintain_order="left")
    return of_each["refund"].fill_null(0)
