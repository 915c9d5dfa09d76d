"""The stream driver: a batch in, out the rows of points just passed and of what late events reach.

Always holds: how often ``step`` runs changes no value; every event of the batch comes out as
exactly one of accepted, duplicate, too late; work follows what closes or is corrected, not what is
held.

Not promised: that a row returned differs from what was published. ``changes`` finds that out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from labeling.engine.evaluate import evaluate, row_schema
from labeling.engine.keys import user_key
from labeling.engine.points import point_times, points
from labeling.engine.state import State, held, restore, settled, start
from labeling.engine.watermark import FOREVER, NEVER, Watermarks
from labeling.model.event import TS
from labeling.model.rule import LabelRule

__all__ = ["Out", "State", "restore", "start", "step"]


@dataclass(frozen=True)
class Out:
    """What one step made.

    ``rows``: by rule key, what ``evaluate`` returns with ``reason`` (``point`` or ``late``), in the
    order (point, anchor time, id). ``accepted``, ``too_late`` and ``duplicates``: the batch's
    events, in its order, the last with ``conflict`` (Boolean: other content under a known
    identity).
    """

    rows: Mapping[str, pl.DataFrame]
    accepted: pl.DataFrame
    too_late: pl.DataFrame
    duplicates: pl.DataFrame


def step(
    rules: Sequence[LabelRule], state: State, batch: pl.DataFrame, watermarks: Watermarks
) -> tuple[State, Out]:
    """Take in a batch and return what it makes known.

    Args:
        rules: those of the state.
        state: what ``start``, ``restore`` or the last step returned.
        batch: judged events (``Watermarks.judge``), one item after the other as they came.
        watermarks: those after the batch.

    Returns:
        The next state, and what came out.
    """
    too_late = pl.col("arrival") == "too_late"
    timely = batch.filter(~too_late).with_columns(user_key())
    seen, told = state.seen.add(timely)
    accepted = timely.filter(~told["repeat"])
    out_of = timely.with_columns(told["conflict"]).filter(told["repeat"]).drop("user_key")
    now = held(rules, state, accepted, seen)
    rows = {r.key: _rows(r, now, accepted, watermarks.of_rule(r)) for r in rules}
    out = Out(rows, accepted.drop("user_key"), batch.filter(too_late), out_of)
    return settled(now, rules, watermarks), out


def _rows(rule: LabelRule, state: State, accepted: pl.DataFrame, mark: int) -> pl.DataFrame:
    """The rows of one rule: those of points passed now, and those that late events reach."""
    before = state.marks[rule.key]
    since = state.since_ms.get(rule.key, NEVER)
    made = []
    if mark > before:
        made = [_due(rule, state, k, before, mark, since) for k in range(len(rule.early_ms) + 1)]
    read = pl.col("event_type").is_in(sorted(rule.event_types))
    late = accepted.filter(pl.col("event_ts") < _instant(before), read)
    if late.height:
        made.append(_late(rule, state, late, before, mark, since))
    if not any(frame.height for frame in made):
        return _nothing(rule)
    columns = _nothing(rule).columns
    rows = pl.concat([frame.select(columns) for frame in made if frame.height])
    return rows.sort("point_ts", "anchor_ts", "anchor_id", "user_id")


def _due(
    rule: LabelRule, state: State, point: int, before: int, mark: int, since: int
) -> pl.DataFrame:
    """Rows of anchors whose point of that number lies in ``[before, mark)``."""
    passed = pl.col("point_ts").is_between(_instant(before), _instant(mark), closed="left")
    owned = pl.col("event_ts") >= _instant(since)
    at = point_times(rule, pl.col("event_ts"))[point]
    longest = rule.bound.longest_ms
    runs = state.anchors[rule.key].runs
    pending = [r.rows for r in runs if r.high_ms >= before - longest and r.low_ms < mark]
    due = [rows.with_columns(point_ts=at).filter(passed, owned) for rows in pending]
    anchors = pl.concat(due) if due else pl.DataFrame()
    if anchors.is_empty():
        return _nothing(rule)
    low = _ms(anchors["event_ts"].min()) - rule.repeat_ms
    high = _ms(anchors["point_ts"].max())
    events = _take(state, rule, anchors["user_key"], low, high)
    asked = points(rule, events).filter(pl.col("point") == point, passed, owned)
    return evaluate(rule, events, asked).with_columns(reason=pl.lit("point"))


def _late(
    rule: LabelRule, state: State, late: pl.DataFrame, before: int, mark: int, since: int
) -> pl.DataFrame:
    """Rows of anchors that late events reach, at the latest point, where none is passed now."""
    low = _ms(late["event_ts"].min()) - rule.reach_ms
    events = _take(state, rule, late["user_key"], low - rule.repeat_ms, mark)
    window = pl.duration(milliseconds=rule.bound.longest_ms)
    repeat = pl.duration(milliseconds=rule.repeat_ms)
    spans = late.group_by("user_id").agg(
        low=pl.col("event_ts").min() - window, high=pl.col("event_ts").max() + repeat
    )
    all_points = points(rule, events).filter(pl.col("event_ts") >= _instant(since))
    passed = all_points.filter(pl.col("point_ts") < _instant(mark)).sort("row", "point")
    latest = passed.filter(pl.col("row").ne_missing(pl.col("row").shift(-1)))
    # A point passed in this very step was evaluated with the late event in it.
    old = latest.filter(pl.col("point_ts") < _instant(before))
    asked = old.join(spans, on="user_id", how="inner").filter(
        pl.col("event_ts").is_between("low", "high")
    )
    return evaluate(rule, events, asked).with_columns(reason=pl.lit("late"))


def _take(
    state: State, rule: LabelRule, keys: pl.Series, low_ms: int, high_ms: int
) -> pl.DataFrame:
    """Held events of the users in a span of time, of the types that the rule reads."""
    found = state.events.find(np.unique(keys.to_numpy()), low_ms, high_ms)
    return found.filter(pl.col("event_type").is_in(sorted(rule.event_types)))


def _nothing(rule: LabelRule) -> pl.DataFrame:
    return pl.DataFrame(schema={"reason": pl.String(), **row_schema(rule)})


def _instant(ms: int) -> pl.Expr:
    """Epoch milliseconds as an instant; ``NEVER`` and ``FOREVER`` lie beyond all others."""
    return pl.lit(min(max(ms, NEVER), FOREVER), dtype=pl.Int64).cast(TS)


def _ms(instant: object) -> int:
    """Epoch milliseconds of a datetime."""
    return int(pl.Series([instant], dtype=TS).dt.epoch("ms").item())
