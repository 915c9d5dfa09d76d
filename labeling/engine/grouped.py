"""Rows of rules that are evaluated group by group: of points just passed, and of late events.

Always holds: what is evaluated is every held event that matters to the rows asked for, and a group
without a point passed now or a late event costs nothing. Of a candidate that a late event reaches
and that has a point passed now, the latter is made: the rows of a point are whole.

Not promised: that a row differs from what was published. ``changes`` finds that out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from labeling.engine.asking import Span, instant
from labeling.engine.compile import selects
from labeling.engine.evaluate import evaluate, row_schema
from labeling.engine.holding import place_of, row_types
from labeling.engine.keys import match_key
from labeling.engine.points import point_times, points
from labeling.engine.state import State
from labeling.model.attribution import AttributionRule
from labeling.model.event import IDENTITY, TS
from labeling.model.kinds import Rule
from labeling.model.selector import Event

_ORDER: Final = ("point_ts", "anchor_ts", "anchor_id", "user_id", "touch_ts", "touch_id")


def rows_by_group(rule: Rule, state: State, late: pl.DataFrame, span: Span) -> pl.DataFrame:
    """The rows of a rule that a step makes known.

    Args:
        rule: whose rows.
        state: with the batch in it.
        late: the accepted events of the batch below ``span.before``, of types that the rule reads.
        span: of the step.

    Returns:
        What ``evaluate`` returns, with ``reason`` (``point``, ``undo`` or ``late``) and ``fresh``
        (nothing of the anchor can have been published before), by point, anchor and touch.
    """
    events = _events(rule, state, late, span)
    if events.is_empty():
        return no_rows(rule)
    found = points(rule, events).filter(pl.col("event_ts") >= instant(span.since))
    asked = found.filter(_passed_now(pl.col("point_ts"), span))
    if late.height:
        passed = found.filter(pl.col("point_ts") < instant(span.before))
        others = passed.join(asked.select("row"), on="row", how="anti")
        asked = pl.concat([asked, _latest(others.filter(_reached(rule, events, late, others)))])
    if asked.is_empty():
        return no_rows(rule)
    return _told(rule, evaluate(rule, events, asked), span).select(no_rows(rule).columns)


def no_rows(rule: Rule) -> pl.DataFrame:
    """What a step makes known of a rule where there is nothing to be known."""
    schema = {"reason": pl.String(), "fresh": pl.Boolean(), **row_schema(rule)}
    return pl.DataFrame(schema=schema)


def _told(rule: Rule, rows: pl.DataFrame, span: Span) -> pl.DataFrame:
    """Rows with why they are made, in their order."""
    was_passed = pl.col("point_ts") < instant(span.before)
    first = pl.col("point_ts") == pl.coalesce(_own_points(rule, pl.col("anchor_ts")))
    undo = pl.lit("undo" if isinstance(rule, AttributionRule) else "point")
    on_time = pl.when(first).then(pl.lit("point")).otherwise(undo)
    told = rows.with_columns(
        reason=pl.when(was_passed).then(pl.lit("late")).otherwise(on_time),
        fresh=first & ~was_passed,
    )
    return told.sort([c for c in _ORDER if c in told.columns])


def _events(rule: Rule, state: State, late: pl.DataFrame, span: Span) -> pl.DataFrame:
    """Every event that the rows to be made depend on."""
    none = pl.DataFrame(schema={"key": pl.UInt64(), "low": TS, "place": pl.Int64()})
    closing = pl.concat([none, *_closing(rule, state, span)])
    reached = late.select(key=match_key(rule.group), low=pl.col("event_ts") - _ms(rule.reach_ms))
    lows = pl.concat([closing.select("key", "low"), reached]).drop_nulls("key")
    groups = lows.group_by("key").agg(pl.col("low").min()).sort("key")
    low_ms = groups["low"].dt.epoch("ms").to_numpy()
    places = state.groups[rule.group].places(groups["key"].to_numpy(), low_ms, span.mark - 1)
    # What has a null among its group's columns is in no index, and nothing else matters to it.
    alone = closing.filter(pl.col("key").is_null())["place"].to_numpy()
    columns = sorted(rule.event_columns)
    _, events = state.events(np.concatenate([places, alone]), columns)
    late_alone = late.filter(match_key(rule.group).is_null()).select(columns).cast(events.schema)
    if late_alone.height:  # of labels one may be closing too
        late_alone = late_alone.join(events, on=IDENTITY, how="anti")
    whole = pl.concat([events, late_alone])
    return whole.filter(pl.col("event_type").is_in(sorted(rule.event_types)))


def _closing(rule: Rule, state: State, span: Span) -> Iterator[pl.DataFrame]:
    """Events that have, or make, a point passed now.

    Returns:
        Frames of ``key`` of the group, ``low`` (before which nothing matters) and ``place``.
    """
    ts = pl.col("event_ts")
    own = pl.any_horizontal(_passed_now(at, span) for at in _own_points(rule, ts))
    has = selects(_row_event(rule)) & own.fill_null(value=False)
    taking = _taking_back(rule)
    takes = pl.any_horizontal(pl.lit(value=False), *map(selects, taking)) & _passed_now(ts, span)
    types = row_types(rule).union(*(e.types for e in taking))
    read = sorted({"event_ts"}.union(rule.group))
    for kind, log in enumerate(state.logs):
        if not types & state.types[kind]:
            continue
        for chunk in log.between(span.before - rule.window_ms, span.mark - 1):
            told = chunk.select(has=has, takes=takes)
            where = (told["has"] | told["takes"]).arg_true()
            back = pl.when(told["takes"].gather(where)).then(_ms(rule.reach_ms))
            yield chunk.take(where.to_numpy(), read).select(
                key=match_key(rule.group),
                low=ts - back.otherwise(_ms(rule.looks_back_ms)),
                place=place_of(pl.lit(where.cast(pl.Int64) + chunk.first), kind),
            )


def _reached(
    rule: Rule, events: pl.DataFrame, late: pl.DataFrame, found: pl.DataFrame
) -> pl.Series:
    """Whether a late event reaches each of the points' candidates (clauses 19 and A20)."""
    spans = (
        late.select("event_ts", key=match_key(rule.group))
        .group_by("key")
        .agg(
            low=pl.col("event_ts").min() - _ms(rule.looks_ahead_ms),
            high=pl.col("event_ts").max() + _ms(rule.looks_back_ms),
        )
    )
    keys = events.select(rule.group)[found["row"]].select(key=match_key(rule.group))
    there = found.select("event_ts").hstack(keys)
    there = there.join(spans, on="key", how="left", maintain_order="left")
    inside = pl.col("event_ts").is_between("low", "high").fill_null(value=False)
    # Nobody but itself reaches a candidate without a key, and it is here because it is late.
    return there.select(inside | pl.col("key").is_null()).to_series()


def _latest(found: pl.DataFrame) -> pl.DataFrame:
    """The last point of each candidate."""
    ordered = found.sort("row", "point_ts")
    return ordered.filter(pl.col("row").ne_missing(pl.col("row").shift(-1)))


def _own_points(rule: Rule, ts: pl.Expr) -> list[pl.Expr]:
    """The times of the points that follow from an anchor's time alone."""
    return [ts] if isinstance(rule, AttributionRule) else point_times(rule, ts)


def _row_event(rule: Rule) -> Event:
    """What selects the events that may have rows."""
    return rule.action if isinstance(rule, AttributionRule) else rule.anchor_event


def _taking_back(rule: Rule) -> list[Event]:
    """What makes points by itself: undos and refunds."""
    both = (rule.undone_by, rule.refunded_by) if isinstance(rule, AttributionRule) else ()
    return [e for e in both if e is not None]


def _passed_now(at: pl.Expr, span: Span) -> pl.Expr:
    return at.is_between(instant(span.before), instant(span.mark), closed="left")


def _ms(length: int) -> pl.Expr:
    return pl.duration(milliseconds=length, time_unit="ms")
