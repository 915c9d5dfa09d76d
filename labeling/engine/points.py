"""At which times the rows of a rule are published: clause 4 of semantics.md, A5 of attribution.md.

Always holds: the points of an anchor increase; the last of a label rule is the end of its window.

Not promised: that a candidate has a row: one that repeats another has points all the same, at which
it is found absent.
"""

from __future__ import annotations

import polars as pl

from labeling.engine.attribution.points import action_points
from labeling.engine.compile import selects
from labeling.model.attribution import AttributionRule
from labeling.model.kinds import Rule
from labeling.model.rule import LabelRule


def point_times(rule: LabelRule, ts: pl.Expr) -> list[pl.Expr]:
    """For each point of the rule its time for an anchor at ``ts``; null where there is none.

    An early point at or past the end of a calendar window does not exist.
    """
    end = rule.bound.end(ts)
    early = [ts + pl.duration(milliseconds=delay) for delay in rule.early_ms]
    return [*(pl.when(at < end).then(at) for at in early), end]


def points(rule: Rule, events: pl.DataFrame) -> pl.DataFrame:
    """Every point of every candidate among the events.

    Args:
        rule: of any kind.
        events: any frame with the columns that the rule reads.

    Returns:
        ``row`` (UInt32, index into ``events``), ``user_id``, ``event_ts``, ``event_id``, ``point``
        (from 0; UInt8, of an attribution rule UInt32), ``point_ts`` and ``final`` (Boolean: the end
        of the window; of an action the last point that these events know).
    """
    if isinstance(rule, AttributionRule):
        return action_points(rule, events)
    anchors = events.select(selects(rule.anchor_event).arg_true().cast(pl.UInt32)).to_series()
    ids = events.select("user_id", "event_ts", "event_id")[anchors]
    found = ids.select(anchors.alias("row"), pl.all())
    times = point_times(rule, pl.col("event_ts"))
    last = len(times) - 1
    each = [
        found.with_columns(point=pl.lit(k, pl.UInt8), point_ts=at, final=pl.lit(value=k == last))
        for k, at in enumerate(times)
    ]
    return pl.concat(each).drop_nulls("point_ts")
