"""What is to be explained, and what takes it back: clauses A1 to A4 of docs/attribution.md.

Always holds: a candidate counts for exactly one action, itself unless it is a repeat; an event
meets at most one candidate as an undo, and one as a refund; none of it depends on the point at
which anybody asks.

Not promised: any order of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from labeling.engine.attribution.repeats import kept_of
from labeling.engine.compile import selects
from labeling.engine.keys import with_hashes
from labeling.engine.nearest import nearest
from labeling.model.attribution import AttributionRule
from labeling.model.event import TS
from labeling.model.selector import Event


@dataclass(frozen=True)
class Actions:
    """The candidates of a frame of events, by their row in it (UInt32).

    ``found``: ``row``, ``event_ts``, ``event_id``, ``action`` (the row of the action that it counts
    for) and ``kept`` (Boolean: that is itself). ``undone``: ``action`` and ``undone_ts``, its first
    undo, where it has one. ``refunds``: ``action``, ``refund_ts`` and ``refund`` (Int64, null where
    the column is), one row for each.
    """

    found: pl.DataFrame
    undone: pl.DataFrame
    refunds: pl.DataFrame


def find_actions(rule: AttributionRule, events: pl.DataFrame) -> Actions:
    """The candidates among the events, which of them are actions, and what meets them."""
    wide = _candidates(rule, events)
    undos = _meeting(rule, events, wide, rule.undone_by)
    action = kept_of(rule, wide, undos.select(row="found", undo_ts="event_ts"))
    found = wide.select("row", "event_ts", "event_id", action, kept=wide["row"] == action)
    counts_for = found.select("action", found="row")
    undone = undos.join(counts_for, on="found").group_by("action").agg(undone_ts=pl.min("event_ts"))
    refunds = _meeting(rule, events, wide, rule.refunded_by)
    refunds = refunds.join(counts_for, on="found").select("action", "row", refund_ts="event_ts")
    amounts = events[rule.value].gather(refunds["row"]) if rule.value else pl.Series(dtype=pl.Int64)
    refund = amounts.cast(pl.Int64).alias("refund")
    return Actions(found, undone, refunds.select("action", "refund_ts", refund))


def _candidates(rule: AttributionRule, events: pl.DataFrame) -> pl.DataFrame:
    """The events that the rule's action selects, with all that they are matched by."""
    rows = events.select(selects(rule.action).arg_true().cast(pl.UInt32).alias("row"))["row"]
    lanes = [rule.lane(e) for e in (rule.undone_by, rule.refunded_by) if e is not None]
    columns = dict.fromkeys(c for lane in (rule.repeat_columns, *lanes) for c in lane)
    read = dict.fromkeys(("event_ts", "event_id", "event_type", *columns))
    return events.select(*read)[rows].with_columns(rows)


def _meeting(
    rule: AttributionRule, events: pl.DataFrame, found: pl.DataFrame, by: Event | None
) -> pl.DataFrame:
    """The events that undo or refund: ``row``, ``event_ts`` and the candidate ``found``."""
    if by is None:
        schema = {"row": pl.UInt32(), "event_ts": TS, "found": pl.UInt32()}
        return pl.DataFrame(schema=schema)
    lane = rule.lane(by)
    rows = events.select(selects(by).arg_true().cast(pl.UInt32).alias("row"))["row"]
    read = dict.fromkeys(("event_ts", "event_id", *lane))
    meets = with_hashes(events.select(*read)[rows].with_columns(rows), lane)
    end = pl.col("event_ts") + pl.duration(milliseconds=rule.undone_ms)
    heads = with_hashes(found, lane).with_columns(end_ts=end, kept=pl.lit(value=True))
    met = nearest(heads, meets, lane)
    return met.drop_nulls("found").select("row", "event_ts", "found")
