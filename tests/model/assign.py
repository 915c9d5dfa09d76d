"""Anchors, points and assignment (clauses 1 to 10), one loop per clause.

Always holds: an event is a dict of the contract's columns with ``event_ts`` as whole ms; an
``AsOf`` holds the events up to one point and forgets all others.

Not promised: anything on two events of one identity; the caller keeps the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, cast
from zoneinfo import ZoneInfo

from labeling.model.expr import Column, LabelRef, Lit, Node, Op, Wrapped
from labeling.model.rows_of import RowsOf
from labeling.model.rule import LabelRule
from labeling.model.selector import Event
from labeling.model.window import Duration

Fact = dict[str, Any]
Identity = tuple[str, int, str]
#: The plain twin of a Polars expression, by the expression's text.
Twins = Mapping[str, Callable[..., Any]]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def standing(e: Fact) -> tuple[int, str]:
    """The order of events: by time, ties by id."""
    return (e["event_ts"], e["event_id"])


def identity(e: Fact) -> Identity:
    """What makes two records one event."""
    return (e["user_id"], e["event_ts"], e["event_id"])


def cells(e: Fact, columns: Sequence[str]) -> tuple[Any, ...] | None:
    """The values of match columns, or None where one is null: that equals nothing."""
    values = tuple(e[c] for c in columns)
    return None if None in values else values


def alike(a: Fact, b: Fact, columns: Sequence[str]) -> bool:
    """Whether two events have equal, non-null match columns."""
    mine = cells(a, columns)
    return mine is not None and mine == cells(b, columns)


def operate(name: str, args: Sequence[Any]) -> Any:
    """One operator on values: comparing null is False, arithmetic with null is null."""
    if name == "and":
        return args[0] is True and args[1] is True
    if name == "or":
        return args[0] is True or args[1] is True
    if name == "not":
        return args[0] is not True
    if name == "is_null":
        return args[0] is None
    if name == "fill_null":
        return args[1] if args[0] is None else args[0]
    if name == "is_in":
        return args[0] is not None and args[0] in args[1:]
    left, right = args
    if name in ("add", "sub", "mul", "truediv"):
        if left is None or right is None or (name == "truediv" and right == 0):
            return None
        return {
            "add": lambda: left + right,
            "sub": lambda: left - right,
            "mul": lambda: left * right,
            "truediv": lambda: left / right,
        }[name]()
    if left is None or right is None:
        return False
    return {
        "eq": lambda: left == right,
        "ne": lambda: left != right,
        "lt": lambda: left < right,
        "le": lambda: left <= right,
        "gt": lambda: left > right,
        "ge": lambda: left >= right,
    }[name]()


def where(n: Node, e: Fact, twins: Twins) -> Any:
    """The value of a ``where`` for one event."""
    if isinstance(n, Lit):
        return n.value
    if isinstance(n, Column):
        return e[n.name]
    if isinstance(n, LabelRef):  # of a row: see ``chained``
        return e["said"][n.name]
    if isinstance(n, Op):
        return operate(n.name, [where(a, e, twins) for a in n.args])
    if isinstance(n, Wrapped):
        return twins[str(n.expr)](e)
    raise TypeError(f"{type(n).__name__} cannot stand in a where")


def selects(selector: Event, e: Fact, twins: Twins) -> bool:
    """Clause 1: the type is listed and ``where`` is true; null is not true."""
    if e["event_type"] not in selector.types:
        return False
    return selector.where is None or where(selector.where, e, twins) is True


def next_day(ts: int, days: int, tz: str) -> int:
    """The first instant after ``ts``, in ms, more than ``days`` local days later, by minutes."""
    zone = ZoneInfo(tz)
    at = _EPOCH + timedelta(milliseconds=ts)
    last = at.astimezone(zone).date() + timedelta(days=days)
    at = at.replace(second=0, microsecond=0)
    while at.astimezone(zone).date() <= last:
        at += timedelta(minutes=1)
    return (at - _EPOCH) // timedelta(milliseconds=1)


def window_end(rule: LabelRule, anchor_ts: int) -> int:
    """The last instant of an anchor's window."""
    if isinstance(rule.bound, Duration):
        return anchor_ts + rule.bound.ms
    return _calendar_end(anchor_ts, rule.bound.days, rule.bound.tz)


@lru_cache(maxsize=100_000)
def _calendar_end(anchor_ts: int, days: int, tz: str) -> int:
    return next_day(anchor_ts, days, tz) - 1


def points(rule: LabelRule, anchor_ts: int) -> list[int]:
    """Clause 4: each early point that is below the end, and the end."""
    end = window_end(rule, anchor_ts)
    return [*(anchor_ts + d for d in rule.early_ms if anchor_ts + d < end), end]


class AsOf:
    """What a rule knows of the events with ``event_ts <= point`` (clause 5)."""

    def __init__(
        self, rule: LabelRule, events: Iterable[Fact], point: int, twins: Twins | None = None
    ) -> None:
        self.rule = rule
        self.twins: Twins = twins or {}
        self.events = sorted((e for e in events if e["event_ts"] <= point), key=standing)
        self.candidates = [e for e in self.events if selects(rule.anchor_event, e, self.twins)]
        #: The rule whose rows are anchors, where they are.
        self.behind_anchors: AsOf | None = None
        if rule.sources:
            from tests.model import chained  # noqa: PLC0415 - rules read rules: a circle by nature

            if isinstance(rule.anchor, RowsOf):
                source = cast("LabelRule", rule.anchor.source)
                self.behind_anchors = AsOf(source, self.events, point, self.twins)
                known = {identity(a) for a in self.behind_anchors.anchors}
                self.candidates = [c for c in self.candidates if identity(c) in known]
            rows = [chained.rows_as_of(s, self.events, point, self.twins) for s in rule.sources]
            self.events = sorted([*self.events, *(r for each in rows for r in each)], key=standing)
        self.anchors: list[Fact] = [c for c in self.candidates if not self.is_repeat(c)]
        self._taken: dict[tuple[str, ...], dict[Identity, list[Fact]]] = {}

    def is_repeat(self, c: Fact) -> bool:
        """Clause 2: another candidate with equal match columns stands at most T before it."""
        if self.rule.repeat_within is None:
            return False
        return any(
            alike(c, other, self.rule.match)
            and standing(other) < standing(c)
            and c["event_ts"] - other["event_ts"] <= self.rule.repeat_ms
            for other in self.candidates
        )

    def is_there(self, c: Fact) -> bool:
        """Whether a candidate has a row at the point: R6 where it is a row itself."""
        if all(identity(a) != identity(c) for a in self.anchors):
            return False
        if self.behind_anchors is None:
            return True
        from tests.model import chained  # noqa: PLC0415 - rules read rules: a circle by nature

        if not self.behind_anchors.is_there(c):
            return False
        row = c | {"said": chained.said(self.behind_anchors, c)}
        condition = self.rule.anchor.where
        return condition is None or where(condition, row, self.twins) is True

    def behind(self, e: Fact, lane: Sequence[str]) -> list[Fact]:
        """Anchors with equal lane columns at or before the event, itself never among them."""
        found = []
        for a in self.anchors:
            if not alike(a, e, lane):
                continue
            if selects(self.rule.anchor_event, e, self.twins):
                before = standing(a) < standing(e)
            else:
                before = a["event_ts"] <= e["event_ts"]
            if before:
                found.append(a)
        return found

    def covers(self, a: Fact, e: Fact) -> bool:
        """Whether the event is inside the anchor's window, its end included."""
        return bool(e["event_ts"] <= window_end(self.rule, a["event_ts"]))

    def assigned(self, e: Fact, lane: Sequence[str]) -> list[Fact]:
        """Clauses 6 to 10: the anchors that the event goes to."""
        behind = self.behind(e, lane)
        can_take = [a for a in behind if self.covers(a, e)]
        by = self.rule.reference
        if by is not None and e[by] is not None:
            named = [a for a in can_take if e[by] in (a["event_id"], a[by])]
            return [max(named, key=standing)] if named else []
        if self.rule.assign == "every":
            return can_take
        if not behind:
            return []
        latest = max(behind, key=standing)
        return [latest] if self.covers(latest, e) else []

    def taken(self, a: Fact, lane: tuple[str, ...]) -> list[Fact]:
        """The events assigned to an anchor in a lane, in order."""
        if lane not in self._taken:
            by_anchor: dict[Identity, list[Fact]] = {}
            for e in self.events:
                for to in self.assigned(e, lane):
                    by_anchor.setdefault(identity(to), []).append(e)
            self._taken[lane] = by_anchor
        return self._taken[lane].get(identity(a), [])

    def read(self, a: Fact, selector: Event) -> list[Fact]:
        """The events that a selector reads for an anchor, in order."""
        return [
            e
            for e in self.taken(a, self.rule.lane(selector))
            if selects(selector, e, self.twins) and inside(selector, a, e)
        ]


def inside(selector: Event, a: Fact, e: Fact) -> bool:
    """Whether the event is within the selector's own ``within`` of the anchor, inclusive."""
    after: int = e["event_ts"] - a["event_ts"]
    return selector.within_ms is None or after <= selector.within_ms
