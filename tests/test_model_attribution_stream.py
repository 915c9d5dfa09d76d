"""The plain-Python stream of attributions against clauses A19 and A20, worked out by hand.

Always holds: each test names its clause of ``docs/attribution.md``; expected changes were written
down from the page before the model was run. The laws at random are in ``test_model_stream``.
"""

from __future__ import annotations

from typing import Any

from labeling.model.attribution import AttributionRule
from labeling.model.selector import Event
from tests.model.assign import Fact
from tests.model.clock import Item, Source
from tests.model.sample_rules import T0
from tests.model.stream import Change, Stream, current, reaches
from tests.strategies import fact

ONE = (Source("s", 0, ("0",)),)


def rule(**changed: Any) -> AttributionRule:
    """Orders of a user, the clicks of the last 10 ms, taken back within 4 ms."""
    fields: dict[str, Any] = {
        "name": "hand",
        "action": Event("order"),
        "match": ("user_id",),
        "touches": (Event("click", within="10ms"),),
        "undone_by": Event("cancel"),
        "undone_within": "4ms",
    }
    return AttributionRule(**(fields | changed))


def item(*events: Fact) -> Item:
    """What one partition brings."""
    return Item("s", "0", events, max(e["event_ts"] for e in events))


def brief(changes: list[Change]) -> list[tuple[Any, ...]]:
    """Changes as tuples: action, touch, revision, kind, reason, ms, verdict or credit."""
    return [
        (
            c["anchor_id"],
            c["touch_id"],
            c["revision"],
            c["kind"],
            c["reason"],
            c["point_ts"] - T0,
            c["new"] and (c["new"]["verdict"] or c["new"]["credit"]),
        )
        for c in changes
    ]


def drive(r: AttributionRule, *batches: list[Fact]) -> list[list[tuple[Any, ...]]]:
    """What each step of one item changes; nothing is too late."""
    stream = Stream((r,), ONE, 1_000)
    return [brief(stream.step([item(*events)]).changes[r.key]) for events in batches]


TICK = fact("other", 20, "tick")


def test_an_action_is_published_at_its_time_and_at_its_undo() -> None:
    """A19: reasons ``point`` and ``undo``, in order; what is undone has its own row alone."""
    events = [fact("click", 0, "t"), fact("order", 1, "a"), fact("cancel", 4, "x"), TICK]
    expected = [
        ("a", "", 1, "insert", "point", 1, "attributed"),
        ("a", "t", 1, "insert", "point", 1, 10**9),
        ("a", "", 2, "update", "undo", 4, "undone"),
        ("a", "t", 2, "retract", "undo", 4, None),
    ]
    assert drive(rule(), events) == [expected]
    # A point is passed when F is above it: at F = 4 the undo is not.
    assert drive(rule(), events[:3], events[3:]) == [expected[:2], expected[2:]]


def test_a_late_touch_replaces_the_set() -> None:
    """A19: at the latest point; the touch that left is retracted."""
    r = rule(max_touches=1)
    first = [fact("click", 0, "t"), fact("order", 5, "a"), TICK]
    _, late = drive(r, first, [fact("click", 1, "u")])
    # The path lists the same scenes: the action's own row is as it was.
    assert late == [
        ("a", "u", 1, "insert", "late", 5, 10**9),
        ("a", "t", 2, "retract", "late", 5, None),
    ]


def test_a_late_action_takes_an_undo_over() -> None:
    """A4 and A19: the one before is what it was at its own time, and its revisions go on."""
    first = [fact("click", 0, "t"), fact("order", 1, "a"), fact("cancel", 4, "x"), TICK]
    _, late = drive(rule(), first, [fact("order", 3, "b")])
    assert late == [
        ("a", "", 3, "update", "late", 1, "attributed"),
        ("a", "t", 3, "insert", "late", 1, 10**9),
        ("b", "", 1, "insert", "late", 4, "undone"),
    ]


def test_a_late_action_makes_another_its_repeat() -> None:
    """A19: what became a repeat is retracted whole."""
    r = rule(repeat_within="3ms")
    first = [fact("click", 0, "t"), fact("order", 4, "b"), TICK]
    _, late = drive(r, first, [fact("order", 2, "a")])
    assert late == [
        ("a", "", 1, "insert", "late", 2, "attributed"),
        ("a", "t", 1, "insert", "late", 2, 10**9),
        ("b", "", 2, "retract", "late", 4, None),
        ("b", "t", 2, "retract", "late", 4, None),
    ]


def test_what_meets_a_repeat_reaches_the_action_behind_it() -> None:
    """A20: further back than ``undone_within``, by as much as repeats may be apart."""
    r = rule(repeat_within="12ms")
    first = [fact("order", 0, "a"), fact("order", 9, "b"), TICK]
    _, late = drive(r, first, [fact("cancel", 13, "x")])
    assert late == [("a", "", 2, "update", "late", 13, "undone")]
    # A repeat that comes late brings an undo that had met nothing.
    undone = [fact("order", 0, "a"), fact("cancel", 13, "x"), TICK]
    _, late = drive(r, undone, [fact("order", 9, "b")])
    assert late == [("a", "", 2, "update", "late", 13, "undone")]


def test_how_far_events_reach() -> None:
    """A20: both ends inclusive; another group is out of reach, and an event reaches itself."""
    r = rule(match=("user_id", "item_id"))
    order = fact("order", 20, "a")
    near = [fact("click", 10), fact("cancel", 24)]
    far = [fact("click", 9), fact("cancel", 25), fact("click", 20, "b", item_id="i2")]
    assert all(reaches(r, e, order) for e in near)
    assert not any(reaches(r, e, order) for e in far)
    lone = fact("order", 20, "a", item_id=None)
    assert reaches(r, lone, lone)


def test_a_reader_sees_what_is_left() -> None:
    """A19: a table holds of each action what its last set has."""
    r = rule()
    stream = Stream((r,), ONE, 1_000)
    stream.step([item(fact("click", 0, "t"), fact("click", 1, "u"), fact("order", 2, "a"), TICK)])
    named = ("u1", T0 + 2, "a")
    keys = [(*named, T0 + 2, ""), (*named, T0, "t"), (*named, T0 + 1, "u")]
    assert set(current(stream.tables[r.key])) == set(keys)
    stream.step([item(fact("cancel", 3, "x"))])
    assert set(current(stream.tables[r.key])) == set(keys[:1])
