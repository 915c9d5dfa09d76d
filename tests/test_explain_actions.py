"""``labeling explain`` of an attribution, and ``touches_told``: what was a touch, and why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from click.testing import Result

from labeling import AttributionRule, Event, linear
from labeling.engine.explain_actions import takes_back, touches_told
from labeling.engine.points import points
from labeling.testing.golden_case import Case, load
from tests import replay_project
from tests.attribution_rules import RULES
from tests.replay_project import event, same_modules
from tests.shipped import RULES as SHIPPED
from tests.streamed import StreamedProject

CASES: Final = Path(__file__).resolve().parent / "attribution_cases"
BOUGHT: Final = AttributionRule(
    name="bought",
    action=Event("order"),
    match=("user_id", "item_id"),
    touches=(Event("click", within="30m"), Event("show", within="10m")),
    classes=True,
    credit=linear(),
    min_age="5s",
    value="value",
    carry=("item_id",),
    touch_carry=(),
    undone_by=Event("cancel", match=("user_id", "order_id")),
    refunded_by=Event("refund", match=("user_id", "order_id")),
    undone_within="1h",
)


def told(name: str, action: str) -> dict[str, str]:
    """What became of each event before an action of a golden case."""
    case: Case = load(CASES / name, RULES)
    events = case.arrival.events
    mine = points(case.rule, events).filter(event_id=action, point=0)
    rule: Any = case.rule
    return dict(touches_told(rule, events, mine).select("event_id", "outcome").iter_rows())


@pytest.mark.parametrize(
    ("action", "outcomes"),
    [
        ("no_direct/direct_traffic_is_gone_before_weighting e7", "e6 condition"),
        (
            "same_campaign/equal_in_further_columns e6",
            "e1 other_match, e2 other_match, e3 other_match, e4 other_match",
        ),
        ("last_click_1d/the_day_is_inclusive e4", "e2 outside"),
        ("not_too_fresh/both_bounds_are_inclusive e6", "e4 too_fresh"),
        ("other_page/the_actions_own_page_is_no_cause e6", "e5 own_page"),
        (
            "consumed/the_first_order_takes_the_clicks e5",
            "e1 used_up, e2 used_up, e4 touch",
        ),
        (
            "same_session/views_of_the_session_before_are_no_touch e4",
            "e1 other_match, e2 touch, e3 touch",
        ),
        (
            "session_touches/a_touch_is_timed_at_its_sessions_start e5",
            "e2 touch, e3 collapsed, e4 touch",
        ),
        (
            "class_then_priority/the_class_comes_first e4",
            "e1 touch, e2 lower_priority, e3 other_class",
        ),
        (
            "two_kept/the_latest_two_after_collapsing e6",
            "e1 beyond_max, e2 collapsed, e3 touch, e4 collapsed, e5 touch",
        ),
        ("consumed/a_cancelled_order_has_used_its_click e2", "e1 touch"),
    ],
)
def test_each_reason(action: str, outcomes: str) -> None:
    """The first option that takes an event off the path is the reason; others' are not told."""
    said = told(*action.split())
    assert ", ".join(f"{name} {outcome}" for name, outcome in said.items()) == outcomes


def test_pages_that_did_not_lead_there() -> None:
    """Of a trail the pages that were left again are told as such."""
    case = load(CASES.parent.parent / "fixtures" / "action_sources" / "over_midnight", SHIPPED)
    rule: Any = case.rule
    events = case.arrival.events
    mine = points(rule, events).filter(event_id="e4")
    assert set(touches_told(rule, events, mine)["outcome"]) == {"off_the_trail"}


@pytest.mark.parametrize(
    ("action", "by"),
    [
        ("refund_then_cancel_on_the_way e2", {"e3": True, "e4": True, "e5": False}),
        ("a_partial_refund_leaves_the_credit e3", {"e4": True, "e6": False, "e7": False}),
    ],
)
def test_what_takes_an_action_back(action: str, by: dict[str, bool]) -> None:
    """The first cancel does, the second does not; a refund of nothing takes nothing."""
    name, action_id = action.split()
    case = load(CASES / "refunded" / name, RULES)
    events = case.arrival.events
    rule: Any = case.rule
    mine = points(rule, events).filter(event_id=action_id, point=0)
    said = {e: takes_back(rule, events, mine, events.filter(event_id=e)) for e in by}
    assert said == by


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StreamedProject:
    """An order whose credit a late click took, and of which a part was refunded."""
    monkeypatch.setattr(replay_project, "RULES", (BOUGHT,))
    made = StreamedProject(tmp_path)
    with made.stream(BOUGHT) as stream:
        stream.take(event("click", -2000), event("show", 10), event("click", 598))
        stream.take(event("order", 600, order="o1", value=100), event("tick", 1000))
        stream.take(event("click", 500), event("tick", 1700))
        stream.take(event("refund", 1700, order="o1", value=30), event("refund", 1710, order="o2"))
        stream.take(event("click", 590), event("tick", 3000))
    return made


def explain(project: StreamedProject) -> Result:
    """Explain the order."""
    with same_modules():
        return project.command("explain", "bought", "--user", "u", "--anchor", "order-u-i-600")


def cells(done: Result, first: str) -> list[str]:
    """The cells of the table row that begins so."""
    (line,) = [x for x in done.output.splitlines() if re.match(rf"│ +{re.escape(first)} ", x)]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_an_action_is_told_event_by_event(project: StreamedProject) -> None:
    """Touches with their credit, the others with the reason, and what takes value back."""
    done = explain(project)
    assert done.exit_code == 0, done.output
    assert cells(done, "-2600.000 s")[2] == "no touch: before the window"
    assert cells(done, "-590.000 s")[2] == "has no part: a touch of an earlier class is there"
    assert cells(done, "-100.000 s")[2:] == ["a touch; it came late", "rank 1, direct, credit = 1"]
    assert cells(done, "-10.000 s")[2] == "does not count; it came too late"
    assert cells(done, "-2.000 s")[2] == "no touch: closer than the minimum age"
    assert cells(done, "+0.000 s")[1:] == [
        "-- the action", "published", "verdict = attributed, value = 100"
    ]  # fmt: skip
    assert "takes a part of its value back" in done.output
    assert cells(done, "+1110.000 s")[2] == "takes nothing of this one back"
    assert done.output.splitlines()[-1].startswith("published, revision ")
    assert done.output.splitlines()[-1].endswith("attributed, 1 row of touches; so say its events")


def test_revisions_of_touches_are_told(project: StreamedProject) -> None:
    """The view's row was taken back when the click came late."""
    line = cells(explain(project), "show-u-i-10")
    assert line[1:4] == ["2", "retract", "late"]
    assert line[5] == "the row was taken back"


def test_rows_that_disagree_are_said(project: StreamedProject) -> None:
    """A share that was tampered with: status 1, and what to run next."""
    project.sql("UPDATE bought_v1 SET credit = 7 WHERE touch_id <> ''")
    done = explain(project)
    assert done.exit_code == 1
    assert "its events say otherwise: run `labeling verify`" in done.output


def test_no_events_tell_nothing() -> None:
    """An empty frame has no action, and columns all the same."""
    none = pl.DataFrame(schema=dict(BOUGHT.event_schema))
    assert touches_told(BOUGHT, none, points(BOUGHT, none)).is_empty()
