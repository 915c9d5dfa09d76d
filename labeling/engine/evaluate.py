"""What a rule means: rows of anchors at points, from a frame of events. The only place that knows.

Always holds: the result is a function of the set of events and of the pairs asked for; not of the
order of either, nor of events that share no group with them or lie out of reach. Rows come sorted
by ``(point_ts, anchor_ts, anchor_id, user_id)``, those of one action by ``(touch_ts, touch_id)``.
No events give no rows, of the same columns.

Not promised: that the events suffice. Whoever asks gives every event with the group's columns
within the rule's reach, each identity once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import polars as pl

from labeling.engine.assign import assign, candidates
from labeling.engine.attribution.points import action_points
from labeling.engine.attribution.rows import attributed
from labeling.engine.compile import compile_node
from labeling.engine.dense import positions
from labeling.engine.dwell import dwell, reported, view_events
from labeling.engine.keys import match_key, with_hashes
from labeling.engine.measures import NOTHING, measured, taken_by
from labeling.engine.rows import BOOK, as_of, assignable, plain, said_at, true_of, with_rows
from labeling.model.attribution import AttributionRule
from labeling.model.event import TS
from labeling.model.expr import AnchorColumn
from labeling.model.kinds import Rule
from labeling.model.label_types import infer, label_order
from labeling.model.rows_of import RowsOf
from labeling.model.rule import KEY_SCHEMA, LabelRule, columns_of, conditioned
from labeling.model.vocabulary import Aggregate, Dwell, Measure, ReportedDwell

_ORDER = ("point_ts", "anchor_ts", "anchor_id", "user_id")


def row_schema(rule: Rule) -> dict[str, pl.DataType]:
    """The columns of what ``evaluate`` returns."""
    return {"point_ts": TS, "present": pl.Boolean(), **rule.row_schema}


def evaluate(rule: Rule, events: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    """The rows of a rule at the points asked for.

    Args:
        rule: of any kind.
        events: the columns that the rule reads (``rule.event_columns``), any order, no identity
            twice.
        asked: rows of ``points(rule, events)``, none twice; ``row``, ``point`` and ``point_ts`` are
            read. Of an action any other time from its own on may be asked for.

    Returns:
        ``point_ts``, ``present`` (``False``: a repeat, which has no row: its values are null), the
        key ``rule.row_keys``, carried columns and values. Of an action, its own row and those of
        all its touches.

    >>> from labeling import Event, LabelRule, happened
    >>> from labeling.engine.points import points
    >>> rule = LabelRule(name="r", anchor=Event("show"), match=("user_id",), window="1m",
    ...                  labels={"clicked": happened("click")})
    >>> none = pl.DataFrame(schema={c: rule.event_schema[c] for c in rule.event_columns})
    >>> evaluate(rule, none, points(rule, none)).height
    0
    """
    if isinstance(rule, AttributionRule):
        made = attributed(rule, events, asked, labels_at)
        return made.sort(*_ORDER, "touch_ts", "touch_id")
    rows = widened(rule, events, labels_at(rule, events, asked))
    return rows.select(row_schema(rule).keys()).sort(_ORDER)


def labels_at(rule: LabelRule, events: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    """What ``evaluate`` finds, before keys and carried columns are put beside it.

    Returns:
        ``row`` (UInt32, the anchor's index in ``events``), ``point_ts``, ``present`` and labels, in
        the order of ``asked``.
    """
    if asked.is_empty():
        schema = {"row": pl.UInt32(), "point_ts": TS, "present": pl.Boolean(), **rule.label_schema}
        return pl.DataFrame(schema=schema)
    numbered = events.select(label_columns(rule)).with_row_index("row")
    found = candidates(rule, numbered)
    known = with_rows(rule, numbered, every_row) if rule.sources else numbered
    pairs = asked.select("row", "point", "point_ts")
    at = positions(found["row"], events.height).gather(pairs["row"])
    anchors = found.select(anchor_ts="event_ts", present="kept")
    pairs = pl.concat([pairs, anchors[at]], how="horizontal").with_row_index("ask")
    pairs = pairs.with_columns(pl.col("present") & _so_then(rule, numbered, pairs))
    present = pairs.filter("present")
    values = [
        frame
        for lane in rule.lanes
        for frame in _lane_values(rule, lane, (numbered, known), found, present)
    ]
    return _labelled(rule, numbered, pairs, values)


def untouched(rule: LabelRule, events: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    """What ``labels_at`` finds where no event is assigned to the anchor, which repeats none.

    Args:
        rule: a label rule.
        events: what ``row`` counts in, with the columns that labels are made of.
        asked: ``row`` and ``point_ts``.

    Returns:
        As ``labels_at``, in the order of ``asked``.
    """
    pairs = asked.select("row", "point_ts", present=pl.lit(value=True))
    nothing = [
        pl.DataFrame(schema={"ask": pl.UInt32(), f"m{i}": _measure_type(rule, m)})
        for i, m in enumerate(rule.measures)
    ]
    return _labelled(rule, events, pairs, nothing)


def label_columns(rule: LabelRule) -> tuple[str, ...]:
    """The columns of events that labels are made of; what rows only carry is not among them."""
    read = {"event_ts", "event_id", "event_type"}.union(*rule.lanes)
    if rule.reference:
        read.add(rule.reference)
    read.update(*(source.event_columns for source in rule.sources))
    read.update(conditioned(rule.anchor))
    return tuple(sorted(read.union(*map(columns_of, rule.labels.values()))))


def anchor_columns(rule: LabelRule) -> tuple[str, ...]:
    """The columns of the anchor that its labels read."""
    nodes = [n for e in rule.labels.values() for n in e.walk()]
    return tuple(sorted({n.name for n in nodes if isinstance(n, AnchorColumn)}))


def widened(rule: LabelRule, events: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that carry ``row`` with their keys and carried columns beside them.

    Args:
        rule: whose rows they are.
        events: what ``row`` counts in.
        rows: with ``row`` and ``present``; where that is false, what is carried is null.
    """
    carried = [c for c in rule.carry if c not in KEY_SCHEMA]
    anchors = events.select("user_id", *carried, anchor_ts="event_ts", anchor_id="event_id")[
        rows["row"]
    ]
    wide = pl.concat([rows, anchors], how="horizontal")
    if rows["present"].all():
        return wide
    return wide.with_columns(pl.when("present").then(pl.col(c)).alias(c) for c in carried)


def _lane_values(
    rule: LabelRule,
    lane: Sequence[str],
    events: tuple[pl.DataFrame, pl.DataFrame],
    found: pl.DataFrame,
    pairs: pl.DataFrame,
) -> list[pl.DataFrame]:
    """Frames of ``ask`` and measures named ``m{index}``, for the measures of one lane.

    ``events``: without, and with the rows of other rules that labels read.
    """
    numbered, known = events
    mine = {i: plain(m) for i, m in enumerate(rule.measures) if rule.lane(m.event) == lane}
    if not mine:
        return []
    types = sorted({t for m in mine.values() for e in m.events() for t in e.types})
    hashed = dict.fromkeys((*lane, *((rule.reference,) if rule.reference else ())))
    if any(isinstance(m, Dwell) for m in mine.values()):
        hashed["view_id"] = None
    columns = {"row", "event_ts", "event_id", "event_type"}.union(*map(columns_of, mine.values()))
    columns = {c for c in columns | {*BOOK} if c in known.columns}
    slim = known.select(sorted(columns.union(hashed)))
    wanted = with_hashes(slim.filter(slim["event_type"].is_in(types)), tuple(hashed))
    wanted = _of_asked(wanted, found, lane, pairs)
    # Heartbeats and ends follow their start, and are not assigned by themselves.
    own = pl.any_horizontal(assignable(e) for m in mine.values() for e in m.assigned())
    assigned = assign(rule, lane, found, wanted.filter(own)).drop_nulls("found")
    seen = _seen(known.select(sorted(columns)), assigned, pairs)
    read = [e for e in rule.selectors if rule.lane(e) == lane]
    seen = as_of(read, numbered, seen, labels_at)
    others = {f"m{i}": m for i, m in mine.items() if not isinstance(m, Dwell | ReportedDwell)}
    frames = measured(seen, others)
    for i, measure in mine.items():
        if isinstance(measure, ReportedDwell):
            frames.append(reported(measure, seen).rename({"dwell_ms": f"m{i}"}))
        if isinstance(measure, Dwell):
            starts = seen.filter(taken_by(measure.event))
            took = dwell(measure, starts, view_events(measure, lane, wanted))
            frames.append(took.rename({"dwell_ms": f"m{i}"}))
    return frames


def _so_then(rule: LabelRule, numbered: pl.DataFrame, pairs: pl.DataFrame) -> pl.Expr:
    """Whether anchors that are rows are there at each point (R6)."""
    rows = rule.anchor
    if not isinstance(rows, RowsOf):
        return pl.lit(value=True)
    source = cast("LabelRule", rows.source)
    said = said_at(source, numbered, pairs["row"], pairs["point_ts"], labels_at)
    return pl.lit(true_of(rows, numbered[pairs["row"]].hstack(said)))


def every_row(rule: AttributionRule, events: pl.DataFrame) -> pl.DataFrame:
    """The rows of an attribution rule at all points of some events."""
    return evaluate(rule, events, action_points(rule, events))


def _of_asked(
    wanted: pl.DataFrame, found: pl.DataFrame, lane: Sequence[str], pairs: pl.DataFrame
) -> pl.DataFrame:
    """The events whose lane columns, by hash, are those of an anchor asked for.

    All where most anchors are asked for: looking would cost more than it saves.
    """
    asked = found["row"].is_in(pairs["row"].unique().implode())
    if asked.sum() * 2 > found.height:
        return wanted
    keys = found.filter(asked).select(match_key(lane, hashed=True)).to_series().unique()
    return wanted.filter(match_key(lane, hashed=True).is_in(keys.implode()))


def _seen(events: pl.DataFrame, assigned: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Assigned events, once for each pair that sees them.

    Returns:
        The events' columns with ``ask``, ``delay_ms`` (since the anchor) and ``left_ms`` (until
        the point).
    """
    each = []
    for _, part in pairs.group_by("point", maintain_order=True):
        at = positions(part["row"], events.height).gather(assigned["found"])
        sees = pl.concat(
            [assigned.select("row", "event_ts"), part.select("ask", "anchor_ts", "point_ts")[at]],
            how="horizontal",
        )
        each.append(sees.filter(pl.col("event_ts") <= pl.col("point_ts")))
    ends = pairs.select("ask", "anchor_ts", "point_ts").clear()
    nobody = pl.concat([assigned.select("row", "event_ts").clear(), ends], how="horizontal")
    sees = pl.concat([nobody, *each])
    since = (pl.col("event_ts") - pl.col("anchor_ts")).dt.total_milliseconds()
    left = (pl.col("point_ts") - pl.col("event_ts")).dt.total_milliseconds()
    times = sees.select("ask", delay_ms=since, left_ms=left)
    return pl.concat([events[sees["row"]], times], how="horizontal")


def _labelled(
    rule: LabelRule, events: pl.DataFrame, pairs: pl.DataFrame, values: Sequence[pl.DataFrame]
) -> pl.DataFrame:
    """Labels of the pairs, from their measures."""
    anchors = anchor_columns(rule)
    parts = [pairs.select("row", "point_ts", "present")]
    if anchors:
        parts.append(events.select(pl.col(c).alias(f"anchor:{c}") for c in anchors)[pairs["row"]])
    parts += [frame.drop("ask")[positions(frame["ask"], pairs.height)] for frame in values]
    wide = pl.concat(parts, how="horizontal").with_columns(
        _default(i, m) for i, m in enumerate(rule.measures)
    )
    names = {id(m): f"m{i}" for i, m in enumerate(rule.measures)}
    for name in label_order(rule):
        value = compile_node(rule.labels[name], names).cast(rule.label_schema[name])
        wide = wide.with_columns(value.alias(name))
    labels = wide.select("row", "point_ts", "present", *rule.label_schema)
    if labels["present"].all():
        return labels
    return labels.with_columns(
        pl.when("present").then(pl.col(c)).alias(c) for c in rule.label_schema
    )


def _measure_type(rule: LabelRule, measure: Measure) -> pl.DataType:
    """The type of a measure's column."""
    return infer(rule, measure, "a measure", rule.event_schema, {})


def _default(index: int, measure: Measure) -> pl.Expr:
    """The measure's column, with what it is where there were no events."""
    value = pl.col(f"m{index}")
    if isinstance(measure, Aggregate) and measure.dtype == pl.Boolean():
        return value.fill_null(value=False)
    nothing = NOTHING.get(type(measure))
    return value if nothing is None else value.fill_null(nothing)
