"""Rows of rules as events of their readers: clauses R1 to R3 of docs/rows-of.md.

Always holds: a row that is derived here depends on what its own rule may see alone; what it says
is read as of the point of each reader.

Not promised: a row for a reader that no label of it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final, cast

import polars as pl

from labeling.engine.assign import candidates
from labeling.engine.compile import compile_node, selects
from labeling.model.attribution import AttributionRule
from labeling.model.event import TS
from labeling.model.expr import Column, LabelRef, Node
from labeling.model.kinds import Rule
from labeling.model.rows_of import RowsOf
from labeling.model.rule import LabelRule
from labeling.model.selector import Event
from labeling.model.vocabulary import Measure, OfColumn

_ROWS: Final = "rows of "
#: The event behind a row of a label rule; from when on, and until when, a row of another is so.
BOOK: Final[Mapping[str, pl.DataType]] = {
    "behind": pl.UInt32(),
    "from_ts": TS,
    "until_ts": TS,
}
LabelsAt = Callable[[LabelRule, pl.DataFrame, pl.DataFrame], pl.DataFrame]
EveryRow = Callable[[AttributionRule, pl.DataFrame], pl.DataFrame]


def said_column(source: Rule, name: str) -> str:
    """The column of what a row says, told from its event's and from what other rows say.

    ``present`` is whether the row of a label rule is there at the point; no label is named so.
    """
    return f"said:{source.key}:{name}"


def plain(measure: Measure) -> Measure:
    """The measure over the columns that ``with_rows`` and ``as_of`` give: its rows as events."""
    named = [f.name for f in fields(measure) if isinstance(getattr(measure, f.name), RowsOf)]
    if not named:
        return measure
    changed: dict[str, Any] = {n: _event(getattr(measure, n)) for n in named}
    read = measure.event
    if isinstance(measure, OfColumn) and isinstance(read, RowsOf) and measure.column in read.said:
        changed["column"] = said_column(read.source, measure.column)
    return replace(measure, **changed)


def assignable(selector: Event) -> pl.Expr:
    """Whether an event may be assigned: what a row says is looked at as of each point."""
    if selector.types[0].startswith(_ROWS):
        return pl.col("event_type") == selector.types[0]
    return selects(selector)


def true_of(rows: RowsOf, said: pl.DataFrame) -> pl.Series:
    """Whether rows are there and the condition over them holds; never null.

    Args:
        rows: whose ``where`` applies.
        said: the columns of the rows' events, and those of ``said_at``.
    """
    where = pl.lit(value=True) if rows.where is None else compile_node(_where(rows, rows.where))
    there = pl.col(said_column(rows.source, "present")) & where.fill_null(value=False)
    return said.select(there.alias("true")).to_series()


def with_rows(rule: LabelRule, numbered: pl.DataFrame, every_row: EveryRow) -> pl.DataFrame:
    """The events, and behind them the rows of the rules that the labels read.

    Args:
        rule: the reader.
        numbered: events with ``row`` (UInt32, counting from 0).
        every_row: the rows of an attribution rule at all points of some events.

    Returns:
        The columns of ``numbered``, ``behind`` (of a row of a label rule the event of its anchor),
        ``from_ts`` (inclusive) and ``until_ts`` (exclusive; the span of points at which a row of an
        attribution is so; null for ever), and ``said_column`` of what such rows say.
    """
    if not rule.sources:
        return numbered
    whole = numbered.with_columns(pl.col("event_type").cast(pl.String))
    parts = [whole]
    for source in rule.sources:
        if isinstance(source, AttributionRule):
            made = _of_attribution(source, numbered, every_row)
        else:
            made = _of_labels(source, whole)
        parts.append(made.with_columns(event_type=pl.lit(f"rows of {source.key}")))
    every = pl.concat(parts, how="diagonal").with_columns(
        pl.lit(None, t).alias(c)
        for c, t in BOOK.items()
        if all(c not in part.columns for part in parts)
    )
    return every.with_columns(row=pl.int_range(pl.len(), dtype=pl.UInt32))


def as_of(
    selectors: Sequence[Event], numbered: pl.DataFrame, seen: pl.DataFrame, labels_at: LabelsAt
) -> pl.DataFrame:
    """What each point sees of rows: those that are so then, with what they say then.

    Args:
        selectors: of the reader.
        numbered: the reader's events, without rows.
        seen: events by the point that sees them: ``event_ts``, ``event_type``, ``left_ms`` (until
            the point), and the book columns of ``with_rows`` where there are rows.
        labels_at: as ``labeling.engine.evaluate`` has it.

    Returns:
        ``seen`` without rows that are not so at the point, and with ``said_column``.
    """
    if "behind" not in seen.columns:
        return seen
    point_ts = pl.col("event_ts") + pl.duration(milliseconds=pl.col("left_ms"))
    seen = seen.with_columns(point_ts.alias("point_ts"))
    began = pl.col("from_ts") <= pl.col("point_ts")
    over = pl.col("until_ts") <= pl.col("point_ts")
    seen = seen.filter(began.fill_null(value=True), ~over.fill_null(value=False))
    for rows in {e.source.key: e for e in selectors if isinstance(e, RowsOf)}.values():
        if isinstance(rows.source, LabelRule):
            seen = _told(rows, numbered, seen, labels_at)
    return seen


def said_at(
    source: LabelRule, events: pl.DataFrame, rows: pl.Series, point_ts: pl.Series, at: LabelsAt
) -> pl.DataFrame:
    """What rows of a label rule say at points of any time.

    Args:
        source: whose rows they are.
        events: what ``rows`` counts in, with the columns that the rule reads.
        rows: of each row its anchor; may repeat.
        point_ts: of each row the point.
        at: ``labels_at``.

    Returns:
        ``said_column`` of ``present`` and each label, in their order.
    """
    asked = pl.DataFrame({"row": rows, "point_ts": point_ts}).with_columns(
        point=pl.int_range(pl.len(), dtype=pl.UInt32).over("row")
    )
    return at(source, events, asked).select(
        pl.col(name).alias(said_column(source, name)) for name in ("present", *source.label_schema)
    )


def _told(
    rows: RowsOf, numbered: pl.DataFrame, seen: pl.DataFrame, labels_at: LabelsAt
) -> pl.DataFrame:
    mine = pl.col("event_type") == rows.types[0]
    marked = seen.with_row_index("at")
    asked = marked.filter(mine)
    source = cast("LabelRule", rows.source)
    said = said_at(source, numbered, asked["behind"], asked["point_ts"], labels_at)
    found = pl.concat([asked.select("at"), said], how="horizontal")
    wide = marked.join(found, on="at", how="left", maintain_order="left")
    there = pl.col(said_column(source, "present")).fill_null(value=True)
    return wide.filter(there).drop("at")


def _of_labels(source: LabelRule, numbered: pl.DataFrame) -> pl.DataFrame:
    """Rows of a label rule: its anchors, repeats left out."""
    kept = candidates(source, numbered).filter("kept")["row"]
    return numbered[kept].with_columns(behind=kept)


def _of_attribution(
    source: AttributionRule, numbered: pl.DataFrame, every_row: EveryRow
) -> pl.DataFrame:
    """Rows of an attribution: each touch of each action, for as long as it stays so."""
    made = every_row(source, numbered.drop("row"))
    anchor = ("user_id", "anchor_ts", "anchor_id")
    ends = made.select(*anchor, "point_ts").unique().sort(*anchor, "point_ts")
    same = pl.all_horizontal(pl.col(c) == pl.col(c).shift(-1) for c in anchor)
    ends = ends.with_columns(until_ts=pl.when(same).then(pl.col("point_ts").shift(-1)))
    touched = made.filter(pl.col("touch_id") != "").join(
        ends, on=[*anchor, "point_ts"], how="left", maintain_order="left"
    )
    here = {c: f"touch_{c}" for c in source.touch_carry if c in numbered.columns}
    own = {"user_id", *here}
    told = [c for c in source.value_schema if c not in source.carry]
    return touched.select(
        "user_id",
        pl.col("anchor_ts").alias("event_ts"),
        pl.concat_str("anchor_id", "touch_id", separator=" ").alias("event_id"),
        *(pl.col(name).alias(c) for c, name in here.items()),
        *(
            pl.lit(None, numbered.schema[c]).alias(c)
            for c in numbered.columns
            if c not in own | {"row", "event_ts", "event_id", "event_type"}
        ),
        pl.col("point_ts").alias("from_ts"),
        "until_ts",
        *(pl.col(c).alias(said_column(source, c)) for c in told),
    )


def _event(rows: Event) -> Event:
    """A selector of rows as one of events."""
    if not isinstance(rows, RowsOf):
        return rows
    where = None if rows.where is None else _where(rows, rows.where)
    plainly = Event(*rows.types, where=where, match=rows.match)
    object.__setattr__(plainly, "within_ms", rows.within_ms)
    return plainly


def _where(rows: RowsOf, root: Node) -> Node:
    """A condition with the columns of what rows say in place of their labels."""
    if isinstance(root, LabelRef):
        return Column(said_column(rows.source, root.name))
    changed: dict[str, Any] = {}
    for f in fields(cast("Any", root)):
        value = getattr(root, f.name)
        if isinstance(value, Node):
            changed[f.name] = _where(rows, value)
        elif isinstance(value, tuple):
            changed[f.name] = tuple(_where(rows, v) if isinstance(v, Node) else v for v in value)
    return replace(cast("Any", root), **changed) if changed else root
