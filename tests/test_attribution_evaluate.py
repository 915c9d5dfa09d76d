"""Which actions there are and what their paths are, against docs/attribution.md, by hand.

Always holds: each test names its clause of A1 to A13; expected values were written down from the
page.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from labeling import Event, column, session, weighted
from labeling.engine.attribution import touches
from labeling.engine.attribution.points import takes_back
from labeling.engine.attribution.ranges import search
from labeling.engine.evaluate import evaluate
from labeling.engine.keys import match_key
from labeling.engine.points import points
from tests.attribution_hand import ORDER, T0, log, made, own, paths, rule


def test_repeats_name_the_last_kept_and_an_undo_ends_them() -> None:
    """A2, A4: near the last kept one, unless an undo of it, or of a repeat, lies between."""
    r = rule(
        repeat_within="10s", repeat_match=("user_id", "item_id"),
        undone_by=Event("cancel"), undone_within="60s",
    )  # fmt: skip
    item = {"item_id": "x"}
    kept = own(
        r,
        ("a", "order", 0, item), ("b", "order", 10, item), ("c", "order", 11, item),
        ("d", "cancel", 15), ("e", "order", 15, item), ("f", "order", 16, item),
        ("n", "order", 17), ("o", "order", 18),
    )  # fmt: skip
    # d and e at one time: d meets e, which repeats c; so f is free of c. Null items repeat nothing.
    assert kept == [
        (0, "a", "unattributed", None),
        (10, "b", None, None),
        (11, "c", "unattributed", None),
        (15, "c", "undone", None),
        (15, "e", None, None),
        (16, "f", "unattributed", None),
        (17, "n", "unattributed", None),
        (18, "o", "unattributed", None),
    ]


def test_a_day_starts_afresh_and_types_are_apart() -> None:
    """A2: Berlin's midnight is 23:00 UTC; an order does not repeat a pledge."""
    r = rule(action=Event("order", "pledge"), repeat_within="25h", day="Europe/Berlin")
    midnight = 13 * 3600
    kept = own(
        r, ("a", "order", 0), ("b", "pledge", 1), ("c", "order", midnight - 1),
        ("d", "order", midnight),
    )  # fmt: skip
    assert [(a, v is not None) for _, a, v, _ in kept] == [
        ("a", True), ("b", True), ("c", False), ("d", True),
    ]  # fmt: skip


def test_an_undo_meets_the_latest_and_never_itself() -> None:
    """A4: the latest at or before it, or none if that is too far; a candidate not itself."""
    r = rule(
        action=Event("order", "swap"), undone_by=Event("cancel", "swap", match=ORDER),
        undone_within="30s",
    )  # fmt: skip
    one, two = {"order_id": "1"}, {"order_id": "2"}
    undone = own(
        r, ("a", "order", 0, one), ("b", "order", 30, one), ("c", "cancel", 30, one),
        ("d", "order", 40, two), ("e", "cancel", 71, two), ("s", "swap", 80, one),
        ("x", "cancel", 90),
    )  # fmt: skip
    assert [(t, a) for t, a, v, _ in undone if v == "undone"] == [(30, "b")]


def test_points_are_the_own_time_the_first_undo_and_each_refund_once() -> None:
    """A5, A6: and the value falls with refunds, also below 0 and after an undo."""
    r = rule(
        value="value", refunded_by=Event("refund", match=ORDER),
        undone_by=Event("cancel", match=ORDER), undone_within="1h",
    )  # fmt: skip
    mine = {"order_id": "1"}
    said = [
        ("o", "order", 0, {"order_id": "1", "value": 10}),
        ("z", "refund", 0, {"order_id": "1", "value": 1}),
        ("p", "refund", 5, {"order_id": "1", "value": 2}),
        ("q", "refund", 5, {"order_id": "1"}),
        ("c", "cancel", 7, mine), ("d", "cancel", 8, mine),
        ("r", "refund", 9, {"order_id": "1", "value": 20}),
        ("n", "order", 20, {"order_id": "2"}), ("m", "refund", 21, {"order_id": "2", "value": 3}),
    ]  # fmt: skip
    events = log(r, *said)
    known = points(r, events).sort("point_ts")
    assert (known["point_ts"] - T0).dt.total_seconds().to_list() == [0, 5, 7, 9, 20, 21]
    assert known["point"].to_list() == [0, 1, 2, 3, 0, 1]
    assert known["final"].to_list() == [False, False, False, True, False, True]
    assert takes_back(known).to_list() == [False, True, True, True, False, True]
    assert own(r, *said) == [
        (0, "o", "unattributed", 9), (5, "o", "unattributed", 7), (7, "o", "undone", 7),
        (9, "o", "undone", -13), (20, "n", "unattributed", None), (21, "n", "unattributed", None),
    ]  # fmt: skip


def test_any_time_from_the_action_on_may_be_asked_for() -> None:
    """A6: what stands at a time between the points is what stood at the point before."""
    r = rule(undone_by=Event("cancel"), undone_within="1h")
    events = log(r, ("c", "click", -1), ("o", "order", 0), ("x", "cancel", 10))
    first = points(r, events).filter(point=0)
    times = [T0 + timedelta(seconds=s) for s in (9, 10, 3000)]
    asked = pl.concat(
        first.with_columns(point_ts=pl.lit(t, r.row_schema["anchor_ts"])) for t in times
    )
    rows = evaluate(r, events, asked)
    assert rows["verdict"].to_list() == [None, "attributed", "undone", "undone"]


def test_both_ends_of_a_touch_are_inclusive_and_nulls_take_no_part() -> None:
    """A7: ``within`` and ``min_age`` ago, equal columns; a null among them relates to nothing."""
    r = rule(min_age="2s", match=("user_id", "item_id"))
    x = {"item_id": "x"}
    assert paths(
        r, ("a", "click", -101, x), ("b", "click", -100, x), ("c", "click", -2, x),
        ("d", "click", -1, x), ("e", "click", -3, {"item_id": "y"}), ("f", "click", -3),
        ("o", "order", 0, x), ("p", "order", 0),
    ) == {"o": ["b", "c"], "p": []}  # fmt: skip


def test_an_action_touches_later_ones_and_the_first_selector_wins() -> None:
    """A7: candidates before by id too; other events at the action's time; the lower class."""
    r = rule(
        touches=(
            Event("click", within="5s", where=column("scene") == "ad"),
            Event("click", "order", within="50s"),
        )
    )
    said = [
        ("a", "order", 0), ("b", "order", 0), ("c", "click", 0, {"scene": "ad"}),
        ("d", "order", 6),
    ]  # fmt: skip
    assert paths(r, *said) == {"a": ["c"], "b": ["a", "c"], "d": ["a", "b", "c"]}
    rows = made(r, log(r, *said)).filter(touch_id="c").sort("anchor_id")
    assert rows["touch_class"].to_list() == [1, 1, 2]
    assert rows["direct"].all()
    assert rows["delay_ms"].to_list() == [0, 0, 6000]


def test_the_own_page_is_no_touch_unless_it_is_unknown() -> None:
    """A8: a null page is nobody's own."""
    p = {"page_id": "p"}
    assert paths(
        rule(own_page=False), ("a", "click", -3, p), ("b", "click", -2, {"page_id": "q"}),
        ("c", "click", -1), ("o", "order", 0, p), ("n", "order", 1),
    ) == {"o": ["b", "c"], "n": ["a", "b", "c"]}  # fmt: skip


def test_touches_are_used_up_in_order_by_day_also_by_actions_nobody_asks_about() -> None:
    """A9: the first N of a day that have it after A7 and A8; undone ones and other types too."""
    r = rule(
        max_actions=1, day="Europe/Berlin", touches=(Event("click", within="20h"),),
        match=("user_id", "item_id"), undone_by=Event("cancel"), undone_within="1h",
    )  # fmt: skip
    x, night = {"item_id": "x"}, 13 * 3600
    said = [
        ("a", "click", -9, x), ("o", "order", 0, x), ("u", "cancel", 1, x), ("b", "click", 2, x),
        ("p", "order", 3, x), ("y", "order", 3, {"item_id": "y"}), ("q", "order", night, x),
    ]  # fmt: skip
    assert paths(r, *said) == {"o": ["a"], "p": ["b"], "q": ["a", "b"], "y": []}
    events = log(r, *said)
    last = points(r, events).filter(event_id="p")
    assert evaluate(r, events, last).filter(pl.col("touch_id") != "")["touch_id"].to_list() == ["b"]


def test_neighbours_that_are_alike_are_one() -> None:
    """A10: null equals null; the first of them stays."""
    r = rule(collapse=("scene", "experiments"))
    s = {"scene": "s", "experiments": ["x"]}
    assert paths(
        r, ("a", "click", -9, s), ("b", "click", -8, s), ("c", "click", -7, {"scene": "s"}),
        ("d", "click", -6, {"scene": "s"}), ("e", "click", -5, s), ("o", "order", 0),
    ) == {"o": ["a", "c", "e"]}  # fmt: skip


def test_class_then_priority_then_the_latest() -> None:
    """A11, A12: the lowest class, of it the greatest priority (null lowest), of it the latest."""
    r = rule(
        touches=(Event("click", within="50s"), Event("view", within="50s")),
        classes=True, priority="position", max_touches=2,
    )  # fmt: skip
    said = [
        ("v", "view", -9, {"position": 9}), ("a", "click", -8, {"position": 2}),
        ("b", "click", -7), ("c", "click", -6, {"position": 2}),
        ("d", "click", -5, {"position": 1}), ("e", "click", -4, {"position": 2}),
        ("o", "order", 0),
    ]  # fmt: skip
    assert paths(r, *said) == {"o": ["c", "e"]}
    assert paths(r, *(s[:3] for s in said)) == {"o": ["d", "e"]}
    assert paths(r, said[0], said[-1]) == {"o": ["v"]}


def test_sessions_part_at_a_longer_gap_and_at_midnight() -> None:
    """A13: what the rule reads keeps one alive; equal ids of two firsts do not make them one."""
    near = Event("click", within="50h", match=("user_id", "session"))
    r = rule(touches=(near,), session=session("10s", tz="Europe/Berlin"))
    midnight = 13 * 3600
    assert paths(
        r, ("a", "click", 0), ("b", "click", 11), ("m", "order", 21), ("c", "click", 31),
        ("n", "order", 41), ("x", "other", 46), ("p", "order", 52),
        ("d", "click", midnight - 1), ("q", "order", midnight), ("e", "click", midnight + 5),
        ("r", "order", midnight + 6), ("b", "click", midnight + 50), ("s", "order", midnight + 55),
    ) == {"m": ["b"], "n": ["b", "c"], "p": [], "q": [], "r": ["e"], "s": ["b"]}  # fmt: skip


def test_no_events_give_no_rows_of_the_same_columns() -> None:
    """Also where every option is in use."""
    r = rule(
        touches=(Event("click", within="1h", match=("user_id", "session")),),
        session=session("30m"), collapse=session("30m"), max_actions=2, repeat_within="1m",
        undone_by=Event("cancel"), undone_within="1d", refunded_by=Event("refund"), value="value",
        classes=True, priority="position", own_page=False, credit=weighted(pl.col("value")),
    )  # fmt: skip
    assert made(r, log(r)).is_empty()


def test_a_hash_that_always_collides_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all first keys are equal, exact numbers take their place and rows stay the same."""
    r = rule(match=("user_id", "item_id"))
    said = [(f"{kind}-{i}", kind, t, {"item_id": i}) for i in "abc" for kind, t in
            (("click", -1), ("order", 0))]  # fmt: skip
    right = paths(r, *said)
    assert right == {f"order-{i}": [f"click-{i}"] for i in "abc"}
    monkeypatch.setattr(
        touches, "match_key", lambda c, **kw: match_key(c, **kw) * (1 if kw.get("other") else 0)
    )
    assert paths(r, *said) == right


@pytest.mark.parametrize("scale", [1, 2**57])
def test_a_search_stays_in_its_run_however_far_apart_times_are(scale: int) -> None:
    """By run and time as one number, and where that would not fit."""
    runs, times = np.repeat([0, 1, 2], 4), np.tile(np.array([-9, -3, -3, 9]), 3) * scale
    of = np.array([0, 0, 1, 1, 2, 2, 3])
    at = np.array([-10, 10, -3, -4, 9, 0, 0]) * scale
    left = search(runs, times, of, at, "left")
    assert left.tolist() == [0, 4, 5, 5, 11, 11, 12]
    assert search(runs, times, of, at, "right").tolist() == [0, 4, 7, 5, 12, 11, 12]
