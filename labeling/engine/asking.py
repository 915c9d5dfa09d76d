"""Which rows a step must make: those of points just passed, and those that late events reach.

Always holds: a row is left out only where it equals the row at the point before, which has been
published or is made in the same step. That is so where no event that labels read, of the anchor's
columns in any lane, lies between the two points and none of them came late: events are assigned
by what stands at or before them, hence nothing else can move.

Not promised: that a row which is asked for differs from the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from labeling.engine.compile import selects
from labeling.engine.evaluate import label_columns
from labeling.engine.holding import ANCHOR, numbers_of
from labeling.engine.index import Lane
from labeling.engine.keys import match_key, with_hashes
from labeling.engine.log import Chunk, Numbers
from labeling.engine.points import point_times
from labeling.engine.runs import Keys, Mask, distinct
from labeling.engine.state import State, label_types
from labeling.engine.watermark import FOREVER, NEVER
from labeling.model.event import TS
from labeling.model.rule import LabelRule
from labeling.model.window import Duration

SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "number": pl.Int64(),
    "event_ts": TS,
    "point": pl.UInt8(),
    "point_ts": TS,
    "reason": pl.String(),
    "fresh": pl.Boolean(),
    "moved": pl.Boolean(),
}


@dataclass(frozen=True)
class Span:
    """A step of one rule: its ``F`` before and after, and where the anchors of the batch begin.

    ``since`` is the first anchor time that the stream owns; all in epoch ms.
    """

    before: int
    mark: int
    since: int
    first_new: int


@dataclass(frozen=True)
class Late:
    """Late events of the batch in one lane: by ``key``, the span of anchor times they reach."""

    spans: pl.DataFrame

    @property
    def keys(self) -> Keys:
        """Their keys, sorted and distinct."""
        return self.spans["key"].to_numpy()


def late_in(rule: LabelRule, late: pl.DataFrame) -> Mapping[Lane, Late]:
    """By lane, what the late events of a batch reach (clause 19 of docs/semantics.md)."""
    window = pl.duration(milliseconds=rule.bound.longest_ms)
    repeat = pl.duration(milliseconds=rule.repeat_ms)
    found = {}
    for lane in rule.lanes:
        types = sorted(label_types(rule, lane) | {*rule.anchor.types})
        keyed = late.filter(pl.col("event_type").is_in(types)).select(
            "event_ts", key=match_key(lane)
        )
        spans = (
            keyed.drop_nulls("key")
            .group_by("key")
            .agg(low=pl.col("event_ts").min() - window, high=pl.col("event_ts").max() + repeat)
        )
        found[lane] = Late(spans.sort("key"))
    return found


def asked(rule: LabelRule, state: State, late: pl.DataFrame, span: Span) -> pl.DataFrame:
    """The rows to make, once each.

    Args:
        rule: whose rows.
        state: with the batch in it.
        late: the accepted events of the batch below ``span.before``.
        span: of the step.

    Returns:
        The columns of ``SCHEMA``: ``number`` and ``event_ts`` are the anchor's in
        ``state.anchors``; ``fresh`` where nothing of the key can have been published before;
        ``moved`` where events may be assigned to the anchor, or it may be a repeat. Then, as
        ``key:0`` and on, its key in each lane of the rule; null where it takes no part.
    """
    reached = late_in(rule, late) if late.height else {}
    made = []
    if span.mark > span.before:
        made = [
            _due(rule, state, reached, span, k, chunk)
            for k in range(len(rule.early_ms) + 1)
            for chunk in _with_point(rule, state, span, k)
        ]
    if late.height:
        made.append(_reached(rule, state, late, reached, span))
    keys = {key: pl.UInt64() for key in lane_keys(rule)}
    shape = pl.DataFrame(schema={**SCHEMA, **keys})
    return pl.concat([shape, *(m.select(shape.columns) for m in made)], rechunk=True)


def lane_keys(rule: LabelRule) -> dict[str, Lane]:
    """The columns with the keys of anchors, by lane."""
    return {f"key:{i}": lane for i, lane in enumerate(rule.lanes)}


def _with_point(rule: LabelRule, state: State, span: Span, k: int) -> Iterator[Chunk]:
    """The chunks that can hold anchors whose point of that number is passed now."""
    longest = rule.bound.longest_ms
    if k < len(rule.early_ms):
        low = high = rule.early_ms[k]
    else:
        low, high = (longest if isinstance(rule.bound, Duration) else 0), longest
    return state.anchors.between(span.before - high, span.mark - low)


def _due(
    rule: LabelRule,
    state: State,
    reached: Mapping[Lane, Late],
    span: Span,
    k: int,
    chunk: Chunk,
) -> pl.DataFrame:
    """Rows of the anchors of a chunk whose point of that number lies in ``[before, mark)``."""
    ts = pl.col("event_ts")
    times = point_times(rule, ts)
    passed = times[k].is_between(instant(span.before), instant(span.mark), closed="left")
    owned = ts >= instant(span.since)
    where = chunk.select((passed & owned & selects(rule.anchor)).arg_true()).to_series()
    found = _keyed(rule, chunk.take(where.to_numpy(), _needed(rule))).with_columns(
        number=where.cast(pl.Int64) + chunk.first,
        point=pl.lit(k, pl.UInt8),
        point_ts=times[k],
        reason=pl.lit("point"),
        before_ts=pl.max_horizontal(times[:k]) if k else pl.lit(None, TS),
    )
    before = _epoch(found, pl.col("before_ts").fill_null(instant(NEVER)))
    first, over = before == NEVER, before < span.before
    # Of an anchor that came after the points before had passed, nothing was published.
    unseen = ~first & over & (found["number"].to_numpy() >= span.first_new)
    fresh = first | unseen
    # What was published of the points before did not know the late events of this batch.
    late = ~first & over & _shares(rule, reached, found)
    moved = unseen | late | _moved(rule, state, found, before)
    if rule.repeat_within is not None:
        moved |= fresh
    found = found.with_columns(fresh=pl.Series(fresh), moved=pl.Series(moved))
    return found.filter(pl.col("fresh") | pl.col("moved"))


def _moved(rule: LabelRule, state: State, found: pl.DataFrame, before: Numbers) -> Mask:
    """Whether an event that labels read may have been assigned since the point before."""
    moved = np.zeros(found.height, np.bool_)
    after = np.maximum(before, _epoch(found, pl.col("event_ts")) - 1)
    until = _epoch(found, pl.col("point_ts"))
    for column, lane in lane_keys(rule).items():
        known = np.flatnonzero(found[column].is_not_null().to_numpy())
        keys = found[column].drop_nulls().to_numpy()
        moved[known] |= state.lanes[lane].labels.any_in(keys, after[known], until[known])
    return moved


def _shares(rule: LabelRule, reached: Mapping[Lane, Late], found: pl.DataFrame) -> Mask:
    """Whether a late event has an anchor's columns in a lane."""
    shares = np.zeros(found.height, np.bool_)
    for column, lane in lane_keys(rule).items():
        if lane in reached:
            same = found[column].is_in(reached[lane].spans["key"].implode())
            shares |= same.fill_null(value=False).to_numpy()
    return shares


def _needed(rule: LabelRule) -> list[str]:
    """What keys are made of."""
    return list(dict.fromkeys(("event_ts", *(c for lane in rule.lanes for c in lane))))


def _keyed(rule: LabelRule, found: pl.DataFrame) -> pl.DataFrame:
    """The anchors' times and keys, from the columns that are needed for them."""
    columns = [c for c in _needed(rule) if c != "event_ts"]
    return with_hashes(found, columns).select(
        "event_ts",
        *(match_key(lane, hashed=True).alias(key) for key, lane in lane_keys(rule).items()),
    )


def _reached(
    rule: LabelRule,
    state: State,
    late: pl.DataFrame,
    reached: Mapping[Lane, Late],
    span: Span,
) -> pl.DataFrame:
    """Rows of anchors that late events reach, at the latest point, where none is passed now."""
    numbers = [
        _in_reach(state, lane, spans) for lane, spans in reached.items() if spans.spans.height
    ]
    low = _epoch(late, pl.col("event_ts").min())[0]
    new = [
        _late_anchors(chunk, span, low)
        for chunk in state.anchors.between(low, span.before)
        if chunk.end > span.first_new
    ]
    once = distinct(np.concatenate([np.empty(0, np.int64), *numbers, *new]))
    kept = state.anchors.held(once)
    found = state.anchors.take(kept, label_columns(rule))
    times = point_times(rule, pl.col("event_ts"))
    found = found.with_columns(pl.Series("number", kept)).filter(
        selects(rule.anchor), pl.col("event_ts") >= instant(span.since)
    )
    found = _keyed(rule, found).with_columns(found["number"])
    each = pl.concat(
        found.with_columns(point=pl.lit(k, pl.UInt8), point_ts=at) for k, at in enumerate(times)
    )
    passed = each.filter(pl.col("point_ts") < instant(span.mark)).sort("number", "point")
    latest = passed.filter(pl.col("number").ne_missing(pl.col("number").shift(-1)))
    # A point passed in this very step is made with the late event in it.
    old = latest.filter(pl.col("point_ts") < instant(span.before))
    return old.with_columns(
        reason=pl.lit("late"), fresh=pl.lit(value=False), moved=pl.lit(value=True)
    )


def _in_reach(state: State, lane: Lane, late: Late) -> Numbers:
    """The numbers of the anchors with a late event's columns in the span of times it reaches."""
    low, high = (_epoch(late.spans, pl.col(c)) for c in ("low", "high"))
    entries = state.lanes[lane].anchors.find(late.keys, int(low.min()), int(high.max()))
    at = np.searchsorted(late.keys, entries.keys)
    inside = (entries.times >= low[at]) & (entries.times <= high[at])
    return numbers_of(entries.rows[inside], ANCHOR)


def _late_anchors(chunk: Chunk, span: Span, low_ms: int) -> Numbers:
    """The numbers of the batch's own late events that may be anchors, with or without columns."""
    start = max(span.first_new - chunk.first, 0)
    late = pl.col("event_ts").is_between(instant(low_ms), instant(span.before), closed="left")
    where = chunk.select(late.arg_true().cast(pl.Int64)).to_series().to_numpy()
    numbers: Numbers = where[where >= start] + chunk.first
    return numbers


def instant(ms: int) -> pl.Expr:
    """Epoch milliseconds as an instant; ``NEVER`` and ``FOREVER`` lie beyond all others."""
    return pl.lit(min(max(ms, NEVER), FOREVER), dtype=pl.Int64).cast(TS)


def _epoch(frame: pl.DataFrame, ts: pl.Expr) -> npt.NDArray[Any]:
    return frame.select(ts.dt.epoch("ms")).to_series().to_numpy()
