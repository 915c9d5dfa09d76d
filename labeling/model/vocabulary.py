"""The words that labels are made of: each a function that returns a frozen node.

Always holds: a boolean measure is never null (no event is ``False``), a count and a sum of
nothing are 0, and what was not observed (a first value, a dwell, a time) is null. Every measure
is a function of the events assigned to the anchor up to the point, in the order
``(event_ts, event_id)``, and of nothing else.

Not promised: sums of floats. Their last bits depend on the order of adding; keep money in
integer micro-units.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from labeling.model.expr import Node
from labeling.model.selector import Event, event
from labeling.model.window import duration_ms


@dataclass(frozen=True, eq=False)
class Measure(Node):
    """Base of what is measured over the events that ``event`` selects."""

    event: Event

    def events(self) -> tuple[Event, ...]:
        """All selectors that this measure reads."""
        return (self.event,)

    def assigned(self) -> tuple[Event, ...]:
        """Those of them whose events it reads where they are assigned."""
        return self.events()


@dataclass(frozen=True, eq=False)
class Happened(Measure):
    """Boolean: at least one event."""


@dataclass(frozen=True, eq=False)
class Count(Measure):
    """Int64: how many events."""


@dataclass(frozen=True, eq=False)
class TimeTo(Measure):
    """Int64 milliseconds from the anchor to the first event; null without one."""


@dataclass(frozen=True, eq=False)
class OfColumn(Measure):
    """Base of measures of one column of the events; nulls in it are skipped."""

    column: str


@dataclass(frozen=True, eq=False)
class CountDistinct(OfColumn):
    """Int64: how many different values."""


@dataclass(frozen=True, eq=False)
class SumOf(OfColumn):
    """Int64: the sum of an integer column."""


@dataclass(frozen=True, eq=False)
class FirstValue(OfColumn):
    """The first value that is not null; null without one."""


@dataclass(frozen=True, eq=False)
class LastValue(OfColumn):
    """The last value that is not null; null without one."""


@dataclass(frozen=True, eq=False)
class MinOf(OfColumn):
    """The least value; null without one."""


@dataclass(frozen=True, eq=False)
class MaxOf(OfColumn):
    """The greatest value; null without one."""


@dataclass(frozen=True, eq=False)
class Active(Measure):
    """Boolean: the last of the events and their undoings is not an undoing."""

    undone_by: Event

    def events(self) -> tuple[Event, ...]:
        """The events and their undoings."""
        return (self.event, self.undone_by)


@dataclass(frozen=True, eq=False)
class Dwell(Measure):
    """Int64 milliseconds of viewing; null where no view was seen. ``event`` starts a view."""

    heartbeat: Event | None
    end: Event | None
    gap_ms: int
    cap_ms: int | None

    def events(self) -> tuple[Event, ...]:
        """The starts, then heartbeats and ends where there are any."""
        return tuple(e for e in (self.event, self.heartbeat, self.end) if e is not None)

    def assigned(self) -> tuple[Event, ...]:
        """The starts: what else a view is made of follows them."""
        return (self.event,)


@dataclass(frozen=True, eq=False)
class ReportedDwell(OfColumn):
    """Int64 milliseconds of viewing as clients report it in a column of the view's end."""

    cap_ms: int | None


@dataclass(frozen=True, eq=False)
class Aggregate(Measure):
    """A plain Polars aggregation over the events, of a declared type."""

    expr: pl.Expr
    dtype: pl.DataType


def happened(what: Event | str) -> Happened:
    """Whether any such event was assigned to the anchor. Boolean, never null."""
    return Happened(event(what))


def count(what: Event | str) -> Count:
    """How many such events. Int64, 0 for none."""
    return Count(event(what))


def count_distinct(what: Event | str, column: str) -> CountDistinct:
    """How many different values, nulls not counted, ``column`` has. Int64, 0 for none."""
    return CountDistinct(event(what), column)


def sum_of(what: Event | str, column: str) -> SumOf:
    """The sum of an integer column, nulls skipped. Int64, 0 for none. Floats are refused."""
    return SumOf(event(what), column)


def first_value(what: Event | str, column: str) -> FirstValue:
    """The first non-null value of a column by ``(event_ts, event_id)``; null if there is none."""
    return FirstValue(event(what), column)


def last_value(what: Event | str, column: str) -> LastValue:
    """The last non-null value of a column by ``(event_ts, event_id)``; null if there is none."""
    return LastValue(event(what), column)


def min_of(what: Event | str, column: str) -> MinOf:
    """The least value of a column; null if there is none."""
    return MinOf(event(what), column)


def max_of(what: Event | str, column: str) -> MaxOf:
    """The greatest value of a column; null if there is none."""
    return MaxOf(event(what), column)


def time_to(what: Event | str) -> TimeTo:
    """Milliseconds from the anchor to the first such event. Int64, null if there is none."""
    return TimeTo(event(what))


def active(what: Event | str, *, undone_by: Event | str) -> Active:
    """Whether the last of the events and their undoings, by ``(event_ts, event_id)``, is the event.

    ``like, unlike`` is not active, ``like, like, unlike`` neither, ``like, unlike, like`` is.
    Boolean, never null.
    """
    return Active(event(what), event(undone_by))


def dwell(
    *,
    start: Event | str | None = None,
    heartbeat: Event | str | None = None,
    end: Event | str | None = None,
    duration: str | None = None,
    gap: str = "1m",
    cap: str | None = None,
) -> Dwell | ReportedDwell:
    """How long the anchor was viewed, in milliseconds; null where no view was seen.

    A view belongs to the anchor of its start, its heartbeats and end with it. It is paired by
    ``view_id`` where the start has one: an event with the same match columns and ``view_id``, the
    latest start at or before it. A heartbeat or end without a ``view_id`` goes to the latest start
    at or before it with the same match columns. A start without a ``view_id`` is closed by the
    next start of the same match columns at the latest. A closed view counts from its start to its
    close, an unclosed one to its last heartbeat, and to 0 without one. Where a view has
    heartbeats, a stretch between two of its events longer than ``gap`` is background and not
    counted. Overlapping views count once. Nothing after the point is seen.

    Args:
        start: opens a view. Give this, or ``end`` and ``duration``.
        heartbeat: says that a view is still open.
        end: closes a view. With ``duration``, the event that reports it.
        duration: an integer column of ``end`` with the milliseconds that the client measured. Each
            report covers ``duration`` up to its event's time; overlapping ones count once;
            nulls and negative numbers are no report.
        gap: the longest stretch between heartbeats that counts, inclusive.
        cap: the most that the label can be, applied to the sum.

    Raises:
        ValueError: neither ``start`` nor ``end`` with ``duration``, or both.
    """
    cap_ms = None if cap is None else duration_ms(cap)
    if duration is not None:
        if end is None or start is not None or heartbeat is not None:
            raise ValueError(
                "dwell(duration=...) reads the column from end=...; drop start and heartbeat"
            )
        return ReportedDwell(event(end), duration, cap_ms)
    if start is None:
        raise ValueError("dwell needs start=..., or end=... with duration=...")
    return Dwell(
        event(start),
        None if heartbeat is None else event(heartbeat),
        None if end is None else event(end),
        duration_ms(gap),
        cap_ms,
    )


def aggregate(
    what: Event | str, expr: pl.Expr, dtype: pl.DataType | type[pl.DataType]
) -> Aggregate:
    """A Polars aggregation over the events, where the vocabulary ends.

    Args:
        what: the events.
        expr: an aggregation over the event's columns and ``delay_ms`` (Int64, milliseconds since
            the anchor). Values stand in the order ``(event_ts, event_id)``.
        dtype: the type of the result, to which it is cast. Null without events, except that
            a Boolean is then ``False``.

    >>> aggregate("scroll", pl.col("value").max(), pl.Int64).dtype
    Int64
    """
    return Aggregate(event(what), expr, dtype if isinstance(dtype, pl.DataType) else dtype())
