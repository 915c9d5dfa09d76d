"""Rows of a label rule: measures, dwell and label expressions (clauses 11 to 16), in plain Python.

Always holds: ``rows`` is a function of a rule and a set of events; their order does not matter.

Not promised: rows for events of one identity twice; keep the first (``stream`` does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from labeling.model.expr import AnchorColumn, LabelRef, Lit, Node, Op
from labeling.model.rule import LabelRule
from labeling.model.vocabulary import (
    Active,
    Aggregate,
    Count,
    CountDistinct,
    Dwell,
    FirstValue,
    Happened,
    LastValue,
    MaxOf,
    Measure,
    MinOf,
    OfColumn,
    ReportedDwell,
    SumOf,
    TimeTo,
)
from tests.model.assign import (
    AsOf,
    Fact,
    Twins,
    alike,
    identity,
    inside,
    operate,
    points,
    selects,
    standing,
)

Row = dict[str, Any]
Asked = Callable[[Fact, int], bool]


def rows(
    rule: LabelRule,
    events: Iterable[Fact],
    asked: Asked | None = None,
    twins: Twins | None = None,
) -> list[Row]:
    """The row of every candidate at each of its points, in the order (point, anchor, id, user).

    Args:
        rule: any label rule.
        events: facts of different identities, in any order.
        asked: which (candidate, point) to give; all unless given.
        twins: plain functions for Polars expressions in the rule, by the expression's text. For a
            ``where`` it takes the event, for an ``aggregate`` the list of events with ``delay_ms``.

    Returns:
        Dicts with ``point_ts``, ``present`` (False: a repeat, its values null), ``user_id``,
        ``anchor_ts``, ``anchor_id``, carried columns, labels. Times are ms.
    """
    facts = list(events)
    wanted: dict[int, list[Fact]] = {}
    for e in facts:
        if selects(rule.anchor_event, e, twins or {}):
            for p in points(rule, e["event_ts"]):
                if asked is None or asked(e, p):
                    wanted.setdefault(p, []).append(e)
    found = []
    for p, candidates in wanted.items():
        as_of = AsOf(rule, facts, p, twins)
        found += [row(as_of, c, p) for c in candidates]
    return sorted(
        found, key=lambda r: (r["point_ts"], r["anchor_ts"], r["anchor_id"], r["user_id"])
    )


def final_rows(rule: LabelRule, events: Iterable[Fact], twins: Twins | None = None) -> list[Row]:
    """The present rows at the end of each anchor's window."""
    last = rows(rule, events, lambda e, p: p == points(rule, e["event_ts"])[-1], twins)
    return [r for r in last if r["present"]]


def row(as_of: AsOf, c: Fact, point: int) -> Row:
    """The row of one candidate as of a point."""
    rule = as_of.rule
    present = as_of.is_there(c)
    key = {"user_id": c["user_id"], "anchor_ts": c["event_ts"], "anchor_id": c["event_id"]}
    carried = {name: c[name] if present else None for name in rule.carry}
    labels = {n: value(as_of, c, root) if present else None for n, root in rule.labels.items()}
    return {"point_ts": point, "present": present} | key | carried | labels


def value(as_of: AsOf, a: Fact, n: Node) -> Any:
    """The value of a label's expression for an anchor."""
    if isinstance(n, Lit):
        return n.value
    if isinstance(n, AnchorColumn):
        return a[n.name]
    if isinstance(n, LabelRef):
        return value(as_of, a, as_of.rule.labels[n.name])
    if isinstance(n, Op):
        return operate(n.name, [value(as_of, a, arg) for arg in n.args])
    if isinstance(n, Measure):
        return measure(as_of, a, n)
    raise TypeError(f"{type(n).__name__} cannot stand in a label")


def measure(as_of: AsOf, a: Fact, m: Measure) -> Any:
    """The table of measures, one line per word."""
    if isinstance(m, Dwell):
        return dwell(as_of, a, m)
    seen = as_of.read(a, m.event)
    if isinstance(m, Happened):
        return len(seen) > 0
    if isinstance(m, Count):
        return len(seen)
    if isinstance(m, TimeTo):
        return seen[0]["event_ts"] - a["event_ts"] if seen else None
    if isinstance(m, Active):
        undone = [identity(e) for e in as_of.read(a, m.undone_by)]
        both = sorted([*seen, *as_of.read(a, m.undone_by)], key=standing)
        return len(both) > 0 and identity(both[-1]) not in undone
    if isinstance(m, Aggregate):
        if not seen:
            return False if str(m.dtype) == "Boolean" else None
        return as_of.twins[str(m.expr)](
            [e | {"delay_ms": e["event_ts"] - a["event_ts"]} for e in seen]
        )
    if isinstance(m, OfColumn):
        return of_column(m, seen)
    raise TypeError(f"no plain twin for {type(m).__name__}")


def of_column(m: OfColumn, seen: list[Fact]) -> Any:
    """Measures of one column of the events, nulls in it skipped."""
    read = [e["said"] if m.column in e.get("said", {}) else e for e in seen]
    values = [e[m.column] for e in read if e[m.column] is not None]
    if isinstance(m, CountDistinct):
        return len({tuple(v) if isinstance(v, list) else v for v in values})
    if isinstance(m, SumOf):
        return sum(values)
    if isinstance(m, ReportedDwell):
        reports = [(e["event_ts"], e[m.column]) for e in seen if e[m.column] is not None]
        covered = [(ts - ms, ts) for ts, ms in reports if ms >= 0]
        return union(covered, m.cap_ms) if covered else None
    if not values:
        return None
    if isinstance(m, FirstValue):
        return values[0]
    if isinstance(m, LastValue):
        return values[-1]
    if isinstance(m, MinOf):
        return min(values)
    if isinstance(m, MaxOf):
        return max(values)
    raise TypeError(f"no plain twin for {type(m).__name__}")


def union(stretches: list[tuple[int, int]], cap: int | None) -> int:
    """The length that at least one stretch covers: every piece between two bounds is looked at."""
    bounds = sorted({t for stretch in stretches for t in stretch})
    length = 0
    for left, right in pairwise(bounds):
        if any(start <= left and right <= end for start, end in stretches):
            length += right - left
    return length if cap is None else min(length, cap)


def dwell(as_of: AsOf, a: Fact, d: Dwell) -> int | None:
    """Clauses 11 and 15: the union over the views of an anchor; null without a view."""
    views = as_of.read(a, d.event)
    if not views:
        return None
    return union([s for view in views for s in stretches(as_of, a, d, view)], d.cap_ms)


def is_start(as_of: AsOf, d: Dwell, e: Fact) -> bool:
    """Clause 12: whatever the start selects is a start, also where others select it too."""
    return selects(d.event, e, as_of.twins)


def is_end(as_of: AsOf, d: Dwell, e: Fact) -> bool:
    """Clause 12: an end that is no start."""
    return d.end is not None and not is_start(as_of, d, e) and selects(d.end, e, as_of.twins)


def is_heartbeat(as_of: AsOf, d: Dwell, e: Fact) -> bool:
    """Clause 12: a heartbeat that is neither start nor end."""
    if d.heartbeat is None or is_start(as_of, d, e) or is_end(as_of, d, e):
        return False
    return selects(d.heartbeat, e, as_of.twins)


def joined(as_of: AsOf, d: Dwell, e: Fact) -> Fact | None:
    """Clause 12: the latest start at or before a continuation, of its ``view_id`` if it has one."""
    lane = as_of.rule.lane(d.event)
    found = [
        s
        for s in as_of.events
        if is_start(as_of, d, s)
        and alike(s, e, lane)
        and s["event_ts"] <= e["event_ts"]
        and (e["view_id"] is None or e["view_id"] == s["view_id"])
    ]
    return max(found, key=standing) if found else None


def stretches(as_of: AsOf, a: Fact, d: Dwell, view: Fact) -> list[tuple[int, int]]:
    """Clauses 13 and 14: the stretches of one view that count."""
    mine = [e for e in as_of.events if joined(as_of, d, e) is view]
    ends = [e["event_ts"] for e in mine if is_end(as_of, d, e) and d.end and inside(d.end, a, e)]
    beats = [
        e["event_ts"]
        for e in mine
        if is_heartbeat(as_of, d, e) and d.heartbeat and inside(d.heartbeat, a, e)
    ]
    close = max(ends) if ends else None
    if close is None and view["view_id"] is None:
        later = [
            s["event_ts"]
            for s in as_of.events
            if is_start(as_of, d, s)
            and alike(s, view, as_of.rule.lane(d.event))
            and standing(s) > standing(view)
        ]
        close = min(later) if later else None
    if close is not None:
        beats = [b for b in beats if b <= close]
    instants = sorted([view["event_ts"], *beats, *([] if close is None else [close])])
    return [
        (left, right) for left, right in pairwise(instants) if not beats or right - left <= d.gap_ms
    ]
