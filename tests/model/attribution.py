"""Rows of an attribution rule (clauses A16 and A17), in plain Python.

Always holds: ``rows`` is a function of a rule and a set of events; their order does not matter.

Not promised: rows for events of one identity twice; keep the first (``stream`` does).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from labeling.model.attribution import AttributionRule
from tests.model.actions import AsOf, Touch
from tests.model.assign import Fact, Twins, identity
from tests.model.clock import FOREVER
from tests.model.credit import credits_of, values_of
from tests.model.oracle import Asked, Row


def points(
    rule: AttributionRule, events: Iterable[Fact], twins: Twins | None = None
) -> list[tuple[Fact, int]]:
    """A5: every candidate with each of its points, in the order (candidate, point).

    Args:
        rule: any attribution rule.
        events: facts of different identities, in any order.
        twins: as of ``oracle.rows``, for a ``where``.
    """
    known = AsOf(rule, events, FOREVER, twins)
    return [(c, p) for c in known.candidates for p in known.points(c)]


def rows(
    rule: AttributionRule,
    events: Iterable[Fact],
    asked: Asked | None = None,
    twins: Twins | None = None,
) -> list[Row]:
    """The rows of every candidate at each of its points: its own, and one for each touch.

    Args:
        rule: any attribution rule.
        events: facts of different identities, in any order.
        asked: which (candidate, point) to give; all unless given.
        twins: plain functions for Polars expressions in the rule, by the expression's text. For a
            ``where`` it takes the event, for ``weighted`` the touch with ``delay_ms``, ``rank``
            and ``touches``.

    Returns:
        Dicts with ``point_ts``, ``present`` (False: a repeat, its values null) and the columns of
        ``rule.row_schema``, in the order of ``in_order``. Times are ms.
    """
    facts = list(events)
    pairs = [(c, p) for c, p in points(rule, facts, twins) if asked is None or asked(c, p)]
    return rows_at(rule, facts, pairs, twins)


def rows_at(
    rule: AttributionRule,
    events: Iterable[Fact],
    pairs: Iterable[tuple[Fact, int]],
    twins: Twins | None = None,
) -> list[Row]:
    """The same of candidates at any times from their own on."""
    facts = list(events)
    as_of: dict[int, AsOf] = {}
    found = []
    for c, p in pairs:
        if p not in as_of:
            as_of[p] = AsOf(rule, facts, p, twins)
        found += set_of(as_of[p], c)
    return sorted(found, key=in_order)


def in_order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """By point and action, its own row first, then its touches in the order of the path."""
    action = tuple(row[k] for k in ("point_ts", "anchor_ts", "anchor_id", "user_id"))
    return (*action, row["touch_id"] != "", row["touch_ts"], row["touch_id"])


def final_rows(
    rule: AttributionRule, events: Iterable[Fact], twins: Twins | None = None
) -> list[Row]:
    """The present rows at the last point of each action."""
    facts = list(events)
    last = {identity(c): p for c, p in points(rule, facts, twins)}
    found = rows(rule, facts, lambda c, p: p == last[identity(c)], twins)
    return [r for r in found if r["present"]]


def set_of(as_of: AsOf, c: Fact) -> list[Row]:
    """All rows of one candidate as of a point; of a repeat one that is not present."""
    blank = dict.fromkeys(("point_ts", "present", *as_of.rule.row_schema))
    named = blank | {"point_ts": as_of.point, "present": True, "user_id": c["user_id"]}
    named |= {"anchor_ts": c["event_ts"], "anchor_id": c["event_id"]}
    own = named | {"touch_ts": c["event_ts"], "touch_id": ""}
    if not as_of.is_action(c):
        return [own | {"present": False}]
    carried = {name: c[name] for name in as_of.rule.carry}
    path, undone = as_of.path(c), as_of.undone_ts(c) is not None
    said = own | carried | said_of_action(as_of, c, path)
    return [said] if undone else [said, *touch_rows(as_of, c, path, named | carried)]


def said_of_action(as_of: AsOf, a: Fact, path: list[Touch]) -> Row:
    """A16: what an action's own row says."""
    verdict = "attributed" if path else "unattributed"
    listed = [t.event[as_of.rule.path] for t in path]
    said: Row = {
        "verdict": verdict if as_of.undone_ts(a) is None else "undone",
        "touches": len(path),
        "path": ["" if name is None else name for name in listed],
    }
    return said if as_of.rule.value is None else said | {"value": as_of.value(a)}


def touch_rows(as_of: AsOf, a: Fact, path: list[Touch], named: Row) -> list[Row]:
    """A17: the rows of the touches of an action that is not undone."""
    shared = shares(as_of, a, path)
    return [
        named
        | {"touch_ts": t.event["event_ts"], "touch_id": t.event["event_id"]}
        | {"rank": n + 1, "direct": n + 1 == len(path), "touch_class": t.number}
        | {"delay_ms": a["event_ts"] - t.event["event_ts"], "touch_type": t.event["event_type"]}
        | {f"touch_{c}": t.event[c] for c in as_of.rule.touch_carry}
        | {name: of_each[n] for name, of_each in shared.items()}
        for n, t in enumerate(path)
    ]


def shares(as_of: AsOf, a: Fact, path: list[Touch]) -> dict[str, list[Any]]:
    """A14 and A15: column to the share of each touch of the path, by every model."""
    found: dict[str, list[Any]] = {}
    for suffix, model in as_of.rule.models.items():
        credit = credits_of(model, a, path, as_of.twins)
        found[f"credit{suffix}"] = credit
        if as_of.rule.value is not None:
            found[f"value{suffix}"] = values_of(as_of.value(a), credit)
    return found
