"""What a rule can tell apart: the values and the distances in time at which it changes its mind.

Always holds: all is read off the rule; the same rule has the same domain. Each bound of the rule
(window, early delays, repeats, ``within``, gap, cap, and numbers that it compares with) is there
with its neighbours one millisecond off.

Not promised: that what a wrapped Polars expression looks for is among the values. Constants in its
text are; what it computes is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from labeling.model.attribution import AttributionRule
from labeling.model.credit import TimeDecay, Weighted
from labeling.model.event import IDENTITY, TS
from labeling.model.expr import AnchorColumn, Column, Lit, Node, Op, Wrapped
from labeling.model.kinds import Rule
from labeling.model.rows_of import RowsOf
from labeling.model.rule import LabelRule
from labeling.model.selector import Event
from labeling.model.session import SESSION
from labeling.model.vocabulary import Aggregate, Dwell, OfColumn, ReportedDwell
from labeling.model.window import Duration

START: Final = datetime(2026, 11, 20, 10, tzinfo=UTC)
_TEXT: Final = re.compile(r'"([^"]*)"')
_NUMBER: Final = re.compile(r"(?:dyn int: |dyn float: |[(\[ ])(-?\d+(?:\.\d+)?)")
#: Of one size: what compares with an average must come out either way.
_INTS: Final = (None, -1, 0, 1, 2, 3, 5, 8, 13, 20, 30)
_FLOATS: Final = (None, 0.0, 0.1, 0.2, 0.3, 0.7, 1.0, -1.5, 1e16)
_LISTS: Final[tuple[list[str] | None, ...]] = (None, [], ["x"], ["x", "y"])
_HALF: Final = 2**31 - 1


@dataclass(frozen=True)
class Domain:
    """What streams for a rule are drawn from.

    ``deltas_ms``: distances between events. ``starts``, ``ends``: instants to begin at and, of a
    calendar window, to stand around. ``pools``: column to values; often wanted ones stand often.
    ``anchors``, ``types``: event types. ``parts``: types that say something together.
    """

    deltas_ms: tuple[int, ...]
    longest_ms: int
    starts: tuple[datetime, ...]
    ends: tuple[datetime, ...]
    pools: Mapping[str, tuple[Any, ...]]
    anchors: tuple[str, ...]
    types: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...]


def domain(rule: Rule) -> Domain:
    """The domain of a rule."""
    bounds = sorted(set(_bounds(rule)))
    deltas = sorted({0, 1, 2, *(b + d for b in bounds for d in (-1, 0, 1))})
    starts, ends = _instants(rule)
    named = _constants(rule)
    lanes = {c for r in _chain(rule) for lane in _lanes(r) for c in lane} - {SESSION}
    columns = sorted(rule.event_columns - {*IDENTITY, "event_type"})
    for column in _reported(rule):
        named[column] = (*named.get(column, ()), *bounds)
    pools = {c: _pool(c, rule.event_schema[c], named.get(c, ()), lane=c in lanes) for c in columns}
    return Domain(
        tuple(d for d in deltas if d >= 0),
        max(rule.looks_ahead_ms, rule.looks_back_ms),
        starts,
        ends,
        pools,
        _about(rule).types,
        tuple(sorted(rule.event_types)),
        tuple(_parts(rule)),
    )


def _chain(rule: Rule) -> Iterator[Rule]:
    """The rule and those whose rows it reads, and so on."""
    yield rule
    for source in rule.sources:
        yield from _chain(source)


def _about(rule: Rule) -> Event:
    """What rows are about."""
    return rule.action if isinstance(rule, AttributionRule) else rule.anchor_event


def _lanes(rule: Rule) -> Iterable[tuple[str, ...]]:
    """What events are matched by."""
    if isinstance(rule, LabelRule):
        return rule.lanes
    own = [rule.lane(e) for e in rule.selectors]
    return own if rule.repeat_within is None else [*own, rule.repeat_columns]


def _parts(rule: Rule) -> Iterator[tuple[str, ...]]:
    """Of each measure, or each thing that is told of an action, the event types."""
    groups: Iterable[Iterable[Event]] = (
        ((e,) for e in rule.selectors[1:])
        if isinstance(rule, AttributionRule)
        else (m.events() for m in rule.measures)
    )
    for events in groups:
        types = (e.source.event_types if isinstance(e, RowsOf) else e.types for e in events)
        yield tuple(sorted(t for some in types for t in some))


def _reported(rule: Rule) -> set[str]:
    """Columns that are read as durations."""
    labels = (r for r in _chain(rule) if isinstance(r, LabelRule))
    return {m.column for r in labels for m in r.measures if isinstance(m, ReportedDwell)}


def _nodes(rule: Rule) -> Iterator[Node]:
    """Every node of the rule and those that it reads, those of ``where`` among them."""
    for one in _chain(rule):
        roots = one.labels.values() if isinstance(one, LabelRule) else ()
        for root in roots:
            yield from root.walk()
        for selector in (_about(one), *one.selectors):
            if selector.where is not None:
                yield from selector.where.walk()
        if isinstance(one, AttributionRule):
            own = (m.expr for m in one.models.values() if isinstance(m, Weighted))
            yield from map(Wrapped, own)


def _bounds(rule: Rule) -> Iterator[int]:
    """Lengths of time that the rule names, and numbers that may be such."""
    for one in _chain(rule):
        yield from _of_labels(one) if isinstance(one, LabelRule) else _of_actions(one)
        yield from (e.within_ms for e in one.selectors if e.within_ms is not None)
    longest = max(rule.looks_ahead_ms, rule.looks_back_ms)
    numbers = [n.value for n in _nodes(rule) if isinstance(n, Lit)]
    numbers += [n for values in _constants(rule).values() for n in values]
    for n in numbers:
        if isinstance(n, int) and not isinstance(n, bool) and 0 < n <= longest:
            yield n


def _of_labels(rule: LabelRule) -> Iterator[int]:
    if isinstance(rule.bound, Duration):
        yield rule.bound.ms
    yield from rule.early_ms
    if rule.repeat_within is not None:
        yield rule.repeat_ms
    for measure in rule.measures:
        if isinstance(measure, Dwell):
            yield measure.gap_ms
        if isinstance(measure, Dwell | ReportedDwell) and measure.cap_ms is not None:
            yield measure.cap_ms


def _of_actions(rule: AttributionRule) -> Iterator[int]:
    yield from (rule.min_age_ms, rule.undone_ms)
    if rule.repeat_ms is not None:
        yield rule.repeat_ms
    if rule.sessions is not None:
        yield rule.sessions.gap_ms
    yield from (m.half_life_ms for m in rule.models.values() if isinstance(m, TimeDecay))


def _constants(rule: Rule) -> dict[str, tuple[Any, ...]]:
    """Column to the constants that it is compared with, as far as can be seen."""
    found: dict[str, dict[Any, None]] = {}
    for n in _nodes(rule):
        if isinstance(n, Op):
            values: list[Any] = [a.value for a in n.args if isinstance(a, Lit)]
            named = [a.name for a in n.args if isinstance(a, Column | AnchorColumn)]
            named += [a.column for a in n.args if isinstance(a, OfColumn)]
        elif isinstance(n, Wrapped | Aggregate):
            named = list(n.expr.meta.root_names())
            shown = str(n.expr)
            values = [t for t in _TEXT.findall(shown) if t not in named]
            values += [float(v) if "." in v else int(v) for v in _NUMBER.findall(shown)]
        else:
            continue
        for column in named:
            found.setdefault(column, {}).update(dict.fromkeys(values))
    return {column: tuple(values) for column, values in found.items()}


def _pool(
    column: str, dtype: pl.DataType, named: tuple[Any, ...], *, lane: bool
) -> tuple[Any, ...]:
    """Values of a column: constants of the rule, then a few that every rule should bear."""
    if dtype == pl.String():
        texts = tuple(v for v in named if isinstance(v, str))
        one, two = f"{column[0]}1", f"{column[0]}2"
        # Streams are dense when most events are about one thing; a null takes no part.
        if lane:
            return (*[one] * 9, *[two] * 3, *texts * 3, None)
        return (one, one, two, None, *texts * 2)
    if dtype.is_integer():
        numbers = [v for v in named if isinstance(v, int) and not isinstance(v, bool)]
        near = [n + d for n in numbers for d in (-1, 0, 1)]
        most = _HALF if dtype == pl.Int32() else 2**53
        return (*_INTS, *(n for n in near if -most <= n <= most))
    if dtype.is_float():
        return (*_FLOATS, *(float(v) for v in named if isinstance(v, int | float)))
    if dtype == pl.Boolean():
        return (None, True, True, False)
    return (None, START) if dtype == TS else _LISTS


def _instants(rule: Rule) -> tuple[tuple[datetime, ...], tuple[datetime, ...]]:
    """Where to begin, and midnights, or window ends, to stand around, if it knows a calendar."""
    if isinstance(rule, AttributionRule):
        midnights = tuple(dict.fromkeys(_midnight(tz) for tz in _zones(rule)))
        return (START, *(at - timedelta(hours=1) for at in midnights)), midnights
    if isinstance(rule.bound, Duration):
        return (START,), ()
    end = _end(rule, START)
    # The day before an end of day ends near another one: clocks put forward or back aside.
    days = [end - timedelta(days=n) for n in range(rule.bound.days + 1)]
    return (START, *days[1:]), (end, *(_end(rule, at) for at in days[1:]))


def _zones(rule: AttributionRule) -> Iterator[str]:
    """Where it is midnight when the rule starts afresh."""
    if rule.repeat_within is not None or rule.max_actions is not None:
        yield rule.day
    if rule.sessions is not None:
        yield rule.sessions.tz


def _midnight(tz: str) -> datetime:
    """The next one after the start."""
    there = START.astimezone(ZoneInfo(tz))
    return datetime.combine(there + timedelta(days=1), time(), ZoneInfo(tz)).astimezone(UTC)


def _end(rule: LabelRule, at: datetime) -> datetime:
    instant = pl.Series([at], dtype=TS).to_frame("at")
    found = instant.select(rule.bound.end(pl.col("at"))).item()
    return found if isinstance(found, datetime) else at
