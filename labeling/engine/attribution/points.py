"""The points of actions: clause A5 of docs/attribution.md.

Always holds: a candidate's points increase, the first is its own time; what takes nothing back has
no point.

Not promised: that the last point stays the last. More can be taken back later.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from labeling.engine.attribution.actions import find_actions
from labeling.engine.attribution.ranges import changed, lengths, starts
from labeling.model.attribution import AttributionRule


def action_points(rule: AttributionRule, events: pl.DataFrame) -> pl.DataFrame:
    """Every point of every candidate among the events, repeats too.

    Args:
        rule: an attribution rule.
        events: any frame with the columns that the rule reads.

    Returns:
        ``row`` (UInt32, index into ``events``), ``user_id``, ``event_ts``, ``event_id``, ``point``
        (UInt32, from 0), ``point_ts`` and ``final`` (Boolean: the last that these events know),
        sorted by ``row`` and ``point``.
    """
    actions = find_actions(rule, events)
    times = [
        actions.found.select("row", point_ts="event_ts"),
        actions.undone.select(row="action", point_ts="undone_ts"),
        actions.refunds.select(row="action", point_ts="refund_ts"),
    ]
    each = pl.concat(times).unique().sort("row", "point_ts")
    first = changed(each["row"].to_numpy())
    begins = starts(first)
    place = np.arange(each.height) - np.repeat(begins, lengths(begins, each.height))
    ids = events.select("user_id", "event_ts", "event_id")[each["row"]]
    return ids.select(
        each["row"],
        pl.all(),
        pl.Series("point", place, dtype=pl.UInt32),
        each["point_ts"],
        pl.Series("final", np.append(first, True)[1:]),
    )


def takes_back(points: pl.DataFrame) -> pl.Series:
    """Whether each point is the time of an undo or a refund, not the candidate's own.

    Args:
        points: with ``event_ts`` (the candidate's) and ``point_ts``.

    Returns:
        ``takes_back`` (Boolean), in the order of ``points``.
    """
    return (points["point_ts"] > points["event_ts"]).alias("takes_back")
