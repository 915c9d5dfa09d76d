"""The plain-Python model of attributions against the page, clause by clause, worked out by hand.

Always holds: each test names its clause of ``docs/attribution.md``; expected values were written
down from the page before the model was run.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from labeling.model.attribution import AttributionRule
from labeling.model.credit import (
    Credit,
    first_touch,
    last_touch,
    linear,
    position_based,
    time_decay,
    weighted,
)
from labeling.model.expr import column
from labeling.model.selector import Event
from labeling.model.session import session
from tests.model.assign import Fact
from tests.model.attribution import final_rows, points, rows
from tests.model.sample_rules import T0
from tests.strategies import fact

CLICK = Event("click", within="10ms")
ORDER = ("user_id", "order_id")


def rule(**changed: Any) -> AttributionRule:
    """A rule of orders, by user, that clicks of the last 10 ms lead to."""
    fields: dict[str, Any] = {"name": "hand", "action": Event("order"), "match": ("user_id",)}
    return AttributionRule(**(fields | {"touches": (CLICK,)} | changed))


def seq(*said: tuple[str, int, str] | tuple[str, int, str, dict[str, Any]]) -> list[Fact]:
    """Facts by type, ms and id, and what else they say."""
    return [fact(s[0], s[1], s[2], **(s[3] if len(s) > 3 else {})) for s in said]


def paths(r: AttributionRule, events: list[Fact]) -> dict[str, str]:
    """Action id to the ids of its touches, in order, at its last point."""
    found: dict[str, str] = {}
    for row in final_rows(r, events):
        found[row["anchor_id"]] = found.get(row["anchor_id"], "") + row["touch_id"]
    return found


def own(r: AttributionRule, events: list[Fact], name: str) -> list[tuple[int, str, Any]]:
    """Of each action at each point: ms after the start, id, and what its own row says."""
    mine = [x for x in rows(r, events) if not x["touch_id"]]
    return [(x["point_ts"] - T0, x["anchor_id"], x[name]) for x in mine]


def actions(r: AttributionRule, events: list[Fact]) -> str:
    """The ids of what is kept."""
    return "".join(paths(r, events))


def test_a_repeat_is_of_the_last_kept_one() -> None:
    """A2: from the kept one on, inclusive, not from repeat to repeat; by type and columns."""
    r = rule(repeat_within="3ms", repeat_match=("user_id", "item_id"))
    orders = [("order", t, n) for t, n in ((0, "a"), (2, "b"), (3, "c"), (4, "d"), (7, "e"))]
    assert actions(r, seq(*orders)) == "ad"
    lone = seq(*[("order", 0, n, {"item_id": None}) for n in "ab"])
    assert actions(r, lone) == "ab"
    both = rule(action=Event("order", "gift"), repeat_within="3ms")
    assert actions(both, seq(("order", 0, "a"), ("gift", 1, "b"), ("order", 2, "c"))) == "ab"


def test_a_repeat_is_an_absent_row_at_its_own_time() -> None:
    """A3 and A5: it has no values, and no other point."""
    r = rule(repeat_within="3ms", undone_by=Event("cancel"), undone_within="9ms")
    events = seq(("order", 0, "a"), ("order", 2, "b"), ("cancel", 4, "c"))
    assert own(r, events, "verdict") == [
        (0, "a", "unattributed"),
        (2, "b", None),
        (4, "a", "undone"),
    ]
    assert [x["present"] for x in rows(r, events)] == [True, False, True]


@pytest.mark.parametrize(("cancel_ms", "kept"), [(4, "ac"), (5, "a"), (1, "ac")])
def test_an_undo_before_it_ends_the_repeating(cancel_ms: int, kept: str) -> None:
    """A2: of the kept one or of its repeats; at the time of the next one it meets that."""
    r = rule(repeat_within="8ms", undone_by=Event("cancel"), undone_within="9ms")
    events = seq(("order", 0, "a"), ("order", 3, "b"), ("order", 5, "c"))
    # At 1 it meets a, so that b is kept, and c repeats b.
    expected = "ab" if cancel_ms == 1 else kept
    assert actions(r, [*events, fact("cancel", cancel_ms, "x")]) == expected


def test_a_day_starts_repeats_afresh() -> None:
    """A2: ``T0`` is 20 ms before midnight in Berlin, and nowhere near that of UTC."""
    events = seq(("order", 18, "a"), ("order", 19, "b"), ("order", 20, "c"))
    assert actions(rule(repeat_within="25h", day="Europe/Berlin"), events) == "ac"
    assert actions(rule(repeat_within="25h"), events) == "a"


def test_an_undo_meets_the_latest_candidate() -> None:
    """A4: with equal columns at or before it, not beyond ``undone_within``, else none."""
    r = rule(undone_by=Event("cancel", match=ORDER), undone_within="4ms")
    events = seq(
        ("order", 0, "a", {"order_id": "o"}),
        ("order", 1, "b", {"order_id": "p"}),
        ("order", 1, "c", {"order_id": "p"}),
        ("cancel", 4, "d", {"order_id": "o"}),
        ("cancel", 5, "e", {"order_id": "p"}),
        ("cancel", 5, "f", {"order_id": "o"}),
        ("cancel", 5, "g"),
    )
    assert own(r, events, "verdict")[-2:] == [(4, "a", "undone"), (5, "c", "undone")]
    far = [*seq(("order", 2, "m", {"order_id": "p"})), *events]
    assert own(r, far, "verdict")[-1] == (5, "m", "undone")
    none = seq(("order", 0, "a"), ("cancel", 5, "x"))
    assert points(rule(undone_by=Event("cancel"), undone_within="4ms"), none)[-1][1] == T0


def test_what_is_a_candidate_too_takes_back_the_one_before_it() -> None:
    """A4: by id where times are equal, never itself."""
    toggle = Event("order", where=column("scene") == "off")
    r = rule(undone_by=toggle, undone_within="9ms")
    off = {"scene": "off"}
    events = seq(("order", 0, "b"), ("order", 0, "a", off), ("order", 0, "c", off))
    assert own(r, events, "verdict") == [
        (0, "a", "unattributed"),
        (0, "b", "undone"),
        (0, "c", "unattributed"),
    ]


def test_refunds_are_points_and_take_back_a_part() -> None:
    """A5 and A6: each time once, nulls are 0; an undo keeps the value and drops the touches."""
    refund = Event("refund", "cancel")
    r = rule(value="value", refunded_by=refund, undone_by=Event("cancel"), undone_within="9ms")
    events = seq(
        ("click", 0, "t"),
        ("order", 1, "a", {"value": 10}),
        ("refund", 3, "b", {"value": 4}),
        ("refund", 3, "c"),
        ("cancel", 5, "d", {"value": 1}),
        ("cancel", 6, "e", {"value": 7}),
    )
    assert own(r, events, "value") == [(1, "a", 10), (3, "a", 6), (5, "a", 5), (6, "a", -2)]
    touch = [x["value"] for x in rows(r, events) if x["touch_id"]]
    assert touch == [10, 6]
    nothing = [e | {"value": None} if e["event_type"] == "order" else e for e in events]
    assert {value for _, _, value in own(r, nothing, "value")} == {None}


def test_both_ends_of_a_touch_window_are_inside() -> None:
    """A7: ``within`` and ``min_age``; ids do not matter for what is no candidate."""
    events = seq(
        *[("click", t, n) for t, n in ((0, "a"), (1, "b"), (11, "c"), (11, "z"), (12, "d"))],
        ("order", 11, "m"),
    )
    assert paths(rule(), events) == {"m": "bcz"}
    assert paths(rule(min_age="10ms"), events) == {"m": "b"}


def test_an_action_is_not_its_own_touch() -> None:
    """A7: of candidates in one ms only the lesser ids are before it."""
    r = rule(touches=(Event("order", within="5ms"),))
    assert paths(r, seq(*[("order", 0, n) for n in "bac"])) == {"a": "", "b": "a", "c": "ab"}


def test_the_touch_listed_first_gives_the_class() -> None:
    """A7 and A11: its own window and columns decide; only the lowest class present stays."""
    touches = (Event("click", within="2ms"), Event("click", "view", within="5ms"))
    events = seq(*[("click", t, n) for t, n in ((3, "a"), (4, "b"))], ("view", 5, "c"))
    events += seq(("order", 6, "m"), ("order", 9, "n"))
    found = [(x["touch_id"], x["touch_class"]) for x in rows(rule(touches=touches), events)]
    assert [f for f in found if f[0]] == [("a", 2), ("b", 1), ("c", 2), ("b", 2), ("c", 2)]
    assert paths(rule(touches=touches, classes=True), events) == {"m": "b", "n": "bc"}


def test_a_touch_on_the_own_page_is_none() -> None:
    """A8: null is no page."""
    events = seq(
        *[("click", t, "abc"[t], {"page_id": p}) for t, p in enumerate(("p", None, "q"))],
        ("order", 4, "m", {"page_id": "p"}),
        ("order", 5, "n"),
    )
    assert paths(rule(own_page=False), events) == {"m": "bc", "n": "abc"}


def test_touches_are_consumed() -> None:
    """A9: by kept actions of the day, in order, undone ones too; where it is no touch it is not."""
    r = rule(max_actions=1, undone_by=Event("cancel"), undone_within="1ms", repeat_within="1ms")
    events = seq(("click", 0, "t"), ("order", 2, "a"), ("cancel", 3, "x"), ("order", 4, "b"))
    assert paths(r, events) == {"a": "", "b": ""}
    assert {x["anchor_id"] for x in rows(r, events) if x["touch_id"]} == {"a"}
    page = [e | {"page_id": "p"} if e["event_id"] in "at" else e for e in events]
    assert paths(rule(max_actions=1, own_page=False), page) == {"a": "", "b": "t"}
    days = seq(("click", 15, "t"), *[("order", t, f"m{t}") for t in (18, 19, 20, 21)])
    used = {"m18": "t", "m19": "", "m20": "t", "m21": ""}
    assert paths(rule(max_actions=1, day="Europe/Berlin"), days) == used
    assert paths(rule(max_actions=3), days) == used | {"m19": "t", "m21": ""}


def test_neighbours_collapse_to_the_first() -> None:
    """A10: null equals null; after another value it is no neighbour any more."""
    scenes = ("x", "x", None, None, "x", "y")
    events = seq(*[("click", t, "abcdef"[t], {"scene": s}) for t, s in enumerate(scenes)])
    events.append(fact("order", 6, "m"))
    assert paths(rule(collapse=("scene",)), events) == {"m": "acef"}
    said = [x["path"] for x in rows(rule(collapse=("scene",)), events) if not x["touch_id"]]
    assert said == [["x", "", "x", "y"]]


def test_priority_takes_the_greatest_within_the_class() -> None:
    """A11: null is lowest, also below a negative one; the class goes first; A12 comes last."""
    touches = (Event("click", within="9ms"), Event("view", within="9ms"))
    events = seq(
        ("click", 0, "a", {"value": -1}),
        ("click", 1, "b"),
        ("click", 2, "c", {"value": -1}),
        ("view", 3, "d", {"value": 5}),
        ("order", 4, "m"),
    )
    assert paths(rule(touches=touches, priority="value"), events) == {"m": "d"}
    both = rule(touches=touches, priority="value", classes=True)
    assert paths(both, events) == {"m": "ac"}
    last = rule(touches=touches, priority="value", classes=True, max_touches=1)
    assert paths(last, events) == {"m": "c"}
    assert paths(both, [e | {"value": None} for e in events]) == {"m": "abc"}


def test_sessions_of_a_user() -> None:
    """A13: a gap is inclusive, midnight cuts, all that the rule reads keeps a session going."""
    by = session("3ms", tz="Europe/Berlin")
    same = rule(touches=(Event("click", within="20ms", match=("user_id", "session")),), session=by)
    events = seq(("click", 0, "a"), ("click", 4, "b"), ("order", 7, "m"), ("order", 10, "n"))
    assert paths(same, events) == {"m": "b", "n": "b"}
    late = seq(("click", 18, "a"), ("click", 20, "b"), ("order", 21, "m"))
    assert paths(same, late) == {"m": "b"}
    others = [*events, fact("click", 2, "o", user_id="u2"), fact("view", 2, "p")]
    assert paths(same, others) == {"m": "b", "n": "b"}


def test_a_session_is_one_touch_from_its_start() -> None:
    """A10 and A14: its first touch stays with its own time; credit decays from the start."""
    touches = (Event("click", within="20ms"),)
    r = rule(touches=touches, collapse=session("2ms"), credit=time_decay("4ms"))
    events = seq(("order", 0, "0"), ("click", 2, "a"), ("click", 3, "b"))
    events += seq(("click", 6, "c"), ("order", 8, "m"))
    touched = [x for x in rows(r, events) if x["anchor_id"] == "m" and x["touch_id"]]
    assert [(x["touch_id"], x["delay_ms"]) for x in touched] == [("a", 6), ("c", 2)]
    # The sessions start at 0 and 6: 2^-1.5 to 1.
    assert [x["credit"] for x in touched] == [261203874, 738796126]


#: Of n touches, 1 ms apart, the last 1 ms before the action.
SHARES: list[tuple[Credit, int, list[int]]] = [
    (last_touch(), 3, [0, 0, 10**9]),
    (first_touch(), 3, [10**9, 0, 0]),
    (linear(), 3, [333333333, 333333333, 333333334]),
    (linear(), 1, [10**9]),
    (position_based(), 1, [10**9]),
    (position_based(first=0.1, last=0.3), 2, [250000000, 750000000]),
    (position_based(first=0, last=0), 2, [500000000, 500000000]),
    (position_based(first=1, last=0), 2, [10**9, 0]),
    (position_based(), 4, [400000000, 100000000, 100000000, 400000000]),
    (position_based(first=0, last=0), 5, [0, 333333333, 333333333, 333333333, 1]),
    (position_based(first=1, last=0), 3, [10**9, 0, 0]),
    (time_decay("1ms"), 2, [333333333, 666666667]),
    (time_decay("1ms"), 3, [142857142, 285714285, 571428573]),
    (weighted(pl.col("value")), 3, [0, 250000000, 750000000]),
    (weighted(pl.col("position")), 3, [333333333, 333333333, 333333334]),
]
TWINS = {
    str(pl.col("value")): lambda t: (None, 1, 3)[t["rank"] - 1],
    str(pl.col("position")): lambda _: -2,
}


@pytest.mark.parametrize(("model", "n", "expected"), SHARES)
def test_shares(model: Credit, n: int, expected: list[int]) -> None:
    """A14: the table of models; they sum to the whole (A18)."""
    events = [fact("click", t, f"{t}") for t in range(n)] + [fact("order", n, "m")]
    found = [x["credit"] for x in rows(rule(credit=model), events, None, TWINS) if x["touch_id"]]
    assert found == expected
    assert sum(found) == 10**9


def test_what_is_missing_goes_to_the_last_above_zero() -> None:
    """A14 and A15: not to a last touch without weight; a debt is shared like what is owed."""
    mine = weighted(pl.col("value"))
    twins = {str(mine.expr): lambda t: (1, 1, 1, 0)[t["rank"] - 1]}
    events = [fact("click", t, f"{t}") for t in range(4)]
    for value, shares in ((100, [33, 33, 34, 0]), (-100, [-33, -33, -34, 0]), (1, [0, 0, 1, 0])):
        done = [*events, fact("order", 5, "m", value=value)]
        made = rows(rule(credit=mine, value="value"), done, None, twins)
        assert [x["credit"] for x in made[1:]] == [333333333, 333333333, 333333334, 0]
        assert [x["value"] for x in made] == [value, *shares]


def test_every_cell_of_a_set() -> None:
    """A16 and A17: an action's own row and a touch's, with several models and a value."""
    r = rule(
        credit={"first": first_touch(), "even": linear()},
        value="value",
        carry=("item_id",),
        touch_carry=("scene",),
    )
    events = seq(("click", 0, "a", {"scene": "feed"}), ("click", 2, "b"))
    events += seq(("order", 3, "m", {"value": 5, "item_id": "i9"}))
    action, first, last = rows(r, events)
    named = {"point_ts": T0 + 3, "present": True, "user_id": "u1", "anchor_ts": T0 + 3}
    named |= {"anchor_id": "m", "item_id": "i9"}
    blank = dict.fromkeys(["point_ts", "present", *r.row_schema]) | named
    assert action == blank | {
        "touch_ts": T0 + 3,
        "touch_id": "",
        "verdict": "attributed",
        "touches": 2,
        "path": ["feed", ""],
        "value": 5,
    }
    assert first == blank | {
        "touch_ts": T0,
        "touch_id": "a",
        "rank": 1,
        "direct": False,
        "delay_ms": 3,
        "touch_type": "click",
        "touch_class": 1,
        "touch_scene": "feed",
        "credit_first": 10**9,
        "credit_even": 500000000,
        "value_first": 5,
        "value_even": 2,
    }
    assert (last["rank"], last["direct"], last["delay_ms"]) == (2, True, 1)
    assert (last["value_first"], last["value_even"]) == (0, 3)
