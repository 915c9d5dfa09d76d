"""Replay publishes attributions: sets of rows, every revision of them, and differences whole."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from labeling.io.store import Store
from labeling.model.table import table_of
from tests.attribution_project import MICRO, ORDERS, AttributionProject, event
from tests.replay_project import T0

LOG = [
    event("click", 0, "a"),
    event("click", 60, "b"),
    event("order", 100, value=5 * MICRO, order="o1"),
    event("order", 105, value=9 * MICRO, order="o1"),
    event("refund", 400, value=2 * MICRO, order="o1"),
    event("order", 1000, value=MICRO, order="o2"),
    event("cancel", 4000, order="o2"),
    event("order", 3500, user="w", value=MICRO, order="o3"),
]


@pytest.fixture
def project(tmp_path: Path) -> AttributionProject:
    """Orders of an hour: one refunded in part, one cancelled in the next hour, one of nothing."""
    made = AttributionProject(tmp_path)
    text = (tmp_path / "labeling.toml").read_text().split("[[source]]")
    made.configure("[[source]]".join(text[:2]))
    made.take_in("log", LOG)
    return made


def test_an_empty_hour_gets_every_revision(project: AttributionProject) -> None:
    """Points of undo and refund follow the action's own; touches of the undone are retracted."""
    done = project.replay()
    assert done.exit_code == 0, done.output
    assert project.told("anchor_id", "touch_id", "verdict", "value", "revision") == [
        ("order-u---100", "click-u---0", None, None, 2),
        ("order-u---100", "click-u---60", None, None, 2),
        ("order-u---100", "", "attributed", 3 * MICRO, 2),
        ("order-u---1000", "", "undone", MICRO, 2),
        ("order-w---3500", "", "unattributed", MICRO, 1),
    ]
    log = project.log().select("anchor_id", "touch_id", "revision", "kind", "reason")
    first, second = "order-u---100", "order-u---1000"
    assert log.rows() == [
        (first, "click-u---0", 2, "update", "undo"),
        (first, "click-u---60", 2, "update", "undo"),
        (first, "", 2, "update", "undo"),
        (second, "click-u---0", 2, "retract", "undo"),
        (second, "click-u---60", 2, "retract", "undo"),
        (second, "", 2, "update", "undo"),
    ]
    gone = project.query("SELECT touch_id, revision FROM retracted ORDER BY touch_id").rows()
    assert gone == [("click-u---0", 2), ("click-u---60", 2)]
    assert "no change" in project.replay("--force").output


def test_views_show_actions_and_touches(project: AttributionProject) -> None:
    """People see two grains, credit as a part of 1, money in whole units."""
    project.replay()
    actions = project.query("FROM orders ORDER BY anchor_ts")
    assert actions.columns == [
        *("user_id", "anchor_ts", "anchor_id", "order_id", "verdict", "touches", "path", "value"),
        *("rule_version", "rule_digest", "revision", "first_commit", "commit"),
    ]
    assert actions["path"].to_list() == [["a", "b"], ["a", "b"], []]
    assert actions["value"].to_list() == [3.0, 1.0, 1.0]
    assert project.query("FROM orders_final").height == 3
    touches = project.query("FROM orders_touches ORDER BY rank")
    assert set(touches.columns) & {"verdict", "touches", "path", "value"} == set()
    shown = touches.select("touch_item_id", "credit_last", "credit_linear", "value_linear")
    assert shown.rows() == [("a", 0.0, 0.5, 1.5), ("b", 1.0, 0.5, 1.5)]


def test_a_touch_that_comes_later_is_a_difference_of_the_set(project: AttributionProject) -> None:
    """A forgotten touch leaves, the others share anew; its return continues the revisions."""
    project.replay()
    project.take_in("more", [event("click", -30, "c")])
    assert project.replay().exit_code == 0
    linear = "credit_linear"
    assert [n for (n,) in project.told(linear) if n] == [333_333_333, 333_333_333, 333_333_334]
    newest = "SELECT name FROM archive_files ORDER BY hour LIMIT 1"
    name = project.query(newest).item()
    assert project.command("import", "--forget", name).exit_code == 0
    assert project.replay("--force").exit_code == 0
    assert [n for (n,) in project.told(linear) if n] == [500_000_000, 500_000_000]
    log = project.log().filter(touch_id="click-u----30")
    told = log.filter(pl.col("anchor_ts") == T0 + timedelta(seconds=100))
    assert told.select("revision", "kind", "reason").rows() == [(2, "retract", "replay")]
    assert json.loads(told.item(0, "old"))["touch_item_id"] == "c"
    project.take_in("again", [event("click", -30, "d")])
    project.replay()
    back = project.query("FROM orders_v1 WHERE touch_id = 'click-u----30'")
    assert back.select("revision", "touch_item_id").rows() == [(3, "d")]


def test_an_action_that_is_none_any_more_goes_with_its_touches(
    project: AttributionProject,
) -> None:
    """An order just before makes the next one a repeat, whose rows are retracted, all of them."""
    project.replay()
    project.take_in("more", [event("order", 95, value=4 * MICRO, order="o1")])
    project.replay()
    assert [a for a, t in project.told("anchor_id", "touch_id") if not t] == [
        "order-u---95",
        "order-u---1000",
        "order-w---3500",
    ]
    gone = project.log().filter(anchor_id="order-u---100", kind="retract")
    assert gone["revision"].to_list() == [3, 3, 3]


def test_an_hour_is_published_again_while_it_can_be_undone(tmp_path: Path) -> None:
    """Complete at ``F > end``, it takes in the undos that have passed since, then no more."""
    project = AttributionProject(tmp_path)
    text = (tmp_path / "labeling.toml").read_text().split("[[source]]")
    project.configure("[[source]]".join(text[:2]))
    project.take_in("log", LOG, until_ts=T0 + timedelta(minutes=61))
    assert project.replay(to="2026-11-20T11").exit_code == 0
    hours = "SELECT complete, through_ts FROM hours"
    assert project.query(hours).rows() == [(True, T0 + timedelta(minutes=61))]
    assert "attributed" in str(project.told("verdict")[-2])
    assert "up to date" in project.replay(to="2026-11-20T11").output
    assert project.verify().exit_code == 0, project.verify().output
    project.take_in("rest", [event("click", 6 * 3600)])
    assert "1 hours published" in project.replay(to="2026-11-20T11").output
    assert project.query(hours).rows() == [(True, None)]
    assert project.log().filter(kind="retract")["reason"].unique().to_list() == ["replay"]
    assert "undone" in str(project.told("verdict"))
    assert "1 hours up to date" in project.replay(to="2026-11-20T11").output


def test_users_in_parts_give_the_same_rows(project: AttributionProject, tmp_path: Path) -> None:
    """An hour that memory cannot hold is cut by users, and the store ends the same."""
    (tmp_path / "small").mkdir()
    small = AttributionProject(tmp_path / "small", 'memory = "5KB"\n')
    text = (small.folder / "labeling.toml").read_text().split("[[source]]")
    small.configure("[[source]]".join(text[:2]))
    small.take_in("log", LOG)
    assert "parts by user" in small.replay("--dry-run").output
    project.replay()
    assert small.replay().exit_code == 0
    columns = ("* EXCLUDE (first_commit, commit)",)
    assert small.told(*columns) == project.told(*columns)
    assert small.log().drop("commit").equals(project.log().drop("commit"))


def test_whole_sets_are_looked_up(project: AttributionProject) -> None:
    """``Store.current`` of an action's key gives its own row and all touches, also retracted."""
    project.replay()
    with Store.open(project.config.store) as store:
        asked = store.query(
            "SELECT user_id, anchor_ts, anchor_id FROM orders WHERE verdict = 'undone'"
        )
        found = store.current(table_of(ORDERS), asked)
    assert found.select("touch_id", "revision", "present").rows() == [
        ("click-u---0", 2, False),
        ("click-u---60", 2, False),
        ("", 2, True),
    ]
