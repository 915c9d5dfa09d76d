"""What a label's measures come to, per anchor and point.

Always holds: a measure reads the assigned events that its selectors take, up to the point, in the
order ``(event_ts, event_id)``; the result has one row for each pair asked for that had such an
event.

Not promised: defaults. Pairs without events are missing here; ``evaluate`` fills them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import polars as pl

from labeling.engine.compile import selects
from labeling.model.selector import Event
from labeling.model.vocabulary import (
    Active,
    Aggregate,
    Count,
    CountDistinct,
    FirstValue,
    Happened,
    LastValue,
    MaxOf,
    Measure,
    MinOf,
    OfColumn,
    SumOf,
    TimeTo,
)

#: Measures whose value does not depend on the order of events: one pass for all of them.
_TOGETHER: Final[Mapping[type[Measure], Callable[[pl.Expr, pl.Expr], pl.Expr]]] = {
    Happened: lambda _, taken: taken.any(),
    Count: lambda _, taken: taken.sum().cast(pl.Int64),
    TimeTo: lambda value, taken: value.filter(taken).min(),
    CountDistinct: lambda value, taken: value.filter(taken).drop_nulls().n_unique().cast(pl.Int64),
    SumOf: lambda value, taken: value.filter(taken).cast(pl.Int64).sum(),
    MinOf: lambda value, taken: value.filter(taken).min(),
    MaxOf: lambda value, taken: value.filter(taken).max(),
}
#: What a measure is where no event was assigned; null for the others.
NOTHING: Final[Mapping[type[Measure], bool | int]] = {
    Happened: False,
    Active: False,
    Count: 0,
    CountDistinct: 0,
    SumOf: 0,
}


def taken_by(selector: Event) -> pl.Expr:
    """Whether the selector takes an assigned event: type, ``where`` and ``within``."""
    taken = selects(selector)
    if selector.within_ms is not None:
        taken = taken & (pl.col("delay_ms") <= selector.within_ms)
    return taken


def measured(seen: pl.DataFrame, measures: Mapping[str, Measure]) -> list[pl.DataFrame]:
    """Frames of ``ask`` and one or more named measures.

    Args:
        seen: events by the pair that sees them: ``ask`` (UInt32), ``delay_ms`` (Int64 since the
            anchor), ``event_ts``, ``event_id``, ``event_type`` and whatever the measures read.
        measures: column name to measure, dwells left out.
    """
    together = {n: m for n, m in measures.items() if type(m) in _TOGETHER}
    ordered = {n: m for n, m in measures.items() if type(m) not in _TOGETHER}
    frames = []
    if together:
        values = [
            _TOGETHER[type(m)](_value(m), pl.col(f"taken:{n}")).alias(n)
            for n, m in together.items()
        ]
        marked = seen.with_columns(
            taken_by(m.event).alias(f"taken:{n}") for n, m in together.items()
        )
        frames.append(marked.group_by("ask").agg(values))
    return [*frames, *(_in_order(seen, name, m) for name, m in ordered.items())]


def _value(measure: Measure) -> pl.Expr:
    return pl.col(measure.column) if isinstance(measure, OfColumn) else pl.col("delay_ms")


def _in_order(seen: pl.DataFrame, name: str, measure: Measure) -> pl.DataFrame:
    """A measure for which the order of events counts."""
    if isinstance(measure, Active):
        undone = taken_by(measure.undone_by)
        marked = seen.with_columns(undone.alias("undone")).filter(
            taken_by(measure.event) | pl.col("undone")
        )
        return _edge(marked, "last").select("ask", (~pl.col("undone")).alias(name))
    taken = seen.filter(taken_by(measure.event))
    if isinstance(measure, Aggregate):
        by_order = taken.sort("ask", "event_ts", "event_id").lazy()
        value = measure.expr.cast(measure.dtype).alias(name)
        return by_order.group_by("ask", maintain_order=True).agg(value).collect(engine="in-memory")
    if isinstance(measure, FirstValue | LastValue):
        known = taken.filter(pl.col(measure.column).is_not_null())
        edge = _edge(known, "first" if isinstance(measure, FirstValue) else "last")
        return edge.select("ask", pl.col(measure.column).alias(name))
    raise TypeError(f"{type(measure).__name__} is not a measure that the engine knows")


def _edge(frame: pl.DataFrame, keep: str) -> pl.DataFrame:
    """The first or last row of each pair by ``(event_ts, event_id)``."""
    ordered = frame.sort("ask", "event_ts", "event_id")
    neighbour = pl.col("ask").shift(1 if keep == "first" else -1)
    return ordered.filter(pl.col("ask").ne_missing(neighbour))
