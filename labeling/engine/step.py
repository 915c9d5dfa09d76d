"""The stream driver: a batch in, out the rows of points just passed and of what late events reach.

Always holds: how often ``step`` runs changes no value; every event of the batch comes out as
exactly one of accepted, duplicate, too late; work follows what closes or is corrected, not what is
held. A row that equals its value at the point before is left out (``asking``).

Not promised: that a row returned differs from what was published. ``changes`` finds that out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from labeling.engine.asking import Span, asked, instant, lane_keys
from labeling.engine.evaluate import anchor_columns, label_columns, labels_at, untouched
from labeling.engine.grouped import no_rows, rows_by_group
from labeling.engine.holding import ANCHOR, by_lane, places_of
from labeling.engine.identity import told_apart
from labeling.engine.log import Numbers
from labeling.engine.runs import distinct
from labeling.engine.state import State, held, restore, settled, start
from labeling.engine.watermark import NEVER, Watermarks
from labeling.model.kinds import Rule
from labeling.model.rule import KEY_SCHEMA, LabelRule

__all__ = ["Out", "State", "restore", "start", "step"]


@dataclass(frozen=True)
class Out:
    """What one step made.

    ``rows``: by rule key, what ``evaluate`` returns with ``reason`` (``point``, ``late``, and
    ``undo`` of an attribution) and ``fresh`` (Boolean: nothing of the anchor can have been
    published before this row), in the order (point, anchor time, id, user), then by touch; the
    rows of an action at a point are a set returned whole. ``accepted``, ``too_late`` and
    ``duplicates``: the batch's events, in its order, the last with ``conflict`` (Boolean: other
    content under a known identity).
    """

    rows: Mapping[str, pl.DataFrame]
    accepted: pl.DataFrame
    too_late: pl.DataFrame
    duplicates: pl.DataFrame


def step(
    rules: Sequence[Rule], state: State, batch: pl.DataFrame, watermarks: Watermarks
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
    seen, came = told_apart(state.seen, batch)
    now = held(state, came.accepted, seen)
    first = state.anchors.end
    rows = {r.key: _rows(r, now, came.accepted, watermarks.of_rule(r), first) for r in rules}
    out = Out(rows, came.accepted, came.too_late, came.duplicates)
    return settled(now, rules, watermarks), out


def _rows(
    rule: Rule, state: State, accepted: pl.DataFrame, mark: int, first_new: int
) -> pl.DataFrame:
    """The rows of one rule: those of points passed now, and those that late events reach."""
    before = state.marks[rule.key]
    span = Span(before, mark, state.since_ms.get(rule.key, NEVER), first_new)
    late = accepted.filter(pl.col("event_ts") < instant(before))
    late = late.filter(pl.col("event_type").is_in(sorted(rule.event_types)))
    if late.is_empty() and mark == before:
        return no_rows(rule)
    if by_lane(rule):
        return _rows_by_lane(rule, state, late, span)
    return rows_by_group(rule, state, late, span)


def _rows_by_lane(rule: LabelRule, state: State, late: pl.DataFrame, span: Span) -> pl.DataFrame:
    """The rows of a rule of labels, evaluated only where they may have moved."""
    pairs = asked(rule, state, late, span)
    if pairs.is_empty():
        return no_rows(rule)
    pairs = _ordered(state, pairs).with_row_index("row")
    moved, still = pairs.filter("moved"), pairs.filter(~pl.col("moved"))
    carried = [c for c in rule.carry if c not in KEY_SCHEMA]
    read = list(dict.fromkeys(("user_id", *carried, *anchor_columns(rule))))
    anchors = state.anchors.take(pairs["number"].to_numpy(), read)
    labels = pl.concat(
        [_labels(rule, state, moved), untouched(rule, anchors, still).drop("row", "point_ts")]
    )
    back = np.argsort(np.append(moved["row"].to_numpy(), still["row"].to_numpy()))
    rows = pl.concat([pairs, labels[back], anchors.select(carried)], how="horizontal")
    if not rows["present"].all():
        rows = rows.with_columns(pl.when("present").then(pl.col(c)).alias(c) for c in carried)
    return rows.select(no_rows(rule).columns)


def _ordered(state: State, pairs: pl.DataFrame) -> pl.DataFrame:
    """The rows asked for with their keys, in the order (point, anchor time, id, user)."""
    keys = state.anchors.take(pairs["number"].to_numpy(), ("event_id", "user_id"))
    named = pairs.rename({"event_ts": "anchor_ts"}).hstack(keys.rename({"event_id": "anchor_id"}))
    return named.sort("point_ts", "anchor_ts", "anchor_id", "user_id")


def _labels(rule: LabelRule, state: State, moved: pl.DataFrame) -> pl.DataFrame:
    """``present`` and labels of rows that must be evaluated."""
    places = [places_of(moved["number"].to_numpy(), ANCHOR)]
    for _, some in moved.group_by("point", maintain_order=True):
        places += _places(rule, state, some)
    columns = label_columns(rule)
    numbers, events = state.events(np.concatenate(places), columns)
    row = np.searchsorted(numbers, moved["number"].to_numpy()).astype(np.uint32)
    pairs = moved.select(pl.Series("row", row), "point", "point_ts")
    return labels_at(rule, events, pairs).drop("row", "point_ts")


def _places(rule: LabelRule, state: State, some: pl.DataFrame) -> list[Numbers]:
    """Where all events stand that share an anchor's columns in a lane, within its reach."""
    low, high = some.select(
        low=pl.col("anchor_ts").min().dt.epoch("ms"), high=pl.col("point_ts").max().dt.epoch("ms")
    ).row(0)
    found: list[Numbers] = []
    for column, lane in lane_keys(rule).items():
        keys = distinct(some[column].drop_nulls().to_numpy())
        alone = rule.repeat_within is not None and lane == rule.match
        found += state.lanes[lane].places(keys, low - rule.repeat_ms, high, alone=alone)
    return found
