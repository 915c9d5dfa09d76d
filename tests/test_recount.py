"""``labeling recount``: it tells what differs, and only that."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from labeling import Rollup, rows, total
from labeling.config import load_tree
from labeling.io.endpoint import Endpoint
from labeling.io.remote import RemoteStore, open_store
from labeling.io.store import Store
from labeling.live.outbox import listen
from labeling.products.context import Context
from labeling.products.recount import comparisons
from labeling.products.rollups.recount import differences
from tests import replay_project
from tests.replay_project import RULE, ReplayProject, event, same_modules

HOURLY = Rollup(
    name="shown_hourly",
    of=RULE,
    by=("item_id", "clicked"),
    sums={"shown": rows(), "clicks": total("clicks")},
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReplayProject:
    """Two replayed hours of one rule, with a rollup of it."""
    monkeypatch.setattr(replay_project, "RULES", (RULE, HOURLY))
    project = ReplayProject(tmp_path)
    shown = [event("show", s, item=i) for s, i in ((0, "a"), (1, "b"), (4000, "a"))]
    project.take_in("one", [*shown, event("click", 30, item="a")])
    assert project.replay().exit_code == 0
    return project


def recount(project: ReplayProject, *args: str, code: int = 0) -> str:
    """Run the command; what it printed."""
    with same_modules():
        done = project.command("recount", *args)
    assert done.exit_code == code, done.output
    return done.output


def change(project: ReplayProject, sql: str) -> None:
    """What only a fault would do."""
    with Store.open(project.config.store) as store:
        store.database.run(sql)


def test_what_replay_published_equals_a_recount(project: ReplayProject) -> None:
    """Digests and rollup, hour by hour; again after late events and another replay."""
    assert recount(project) == (
        "digests shown@1: 2 hours, equal to a recount\n"
        "rollup shown_hourly@1: 2 hours, equal to a recount\n"
    )
    project.take_in("two", [event("click", 31, item="b"), event("show", 20, item="c")])
    assert project.replay().exit_code == 0
    assert "shown_hourly@1: 2 hours, equal" in recount(project)
    asked = (
        "SELECT item_id, clicked, shown, clicks FROM shown_hourly WHERE hour = '{}' ORDER BY ALL"
    )
    assert project.query(asked.format("2026-11-20 10:00+00")).rows() == [
        ("a", True, 1, 1),
        ("b", True, 1, 1),
        ("c", False, 1, 0),
    ]


def test_what_differs_is_told(project: ReplayProject) -> None:
    """A sum that is off, a row that is gone: group, sum, what is kept and what is counted."""
    change(project, "UPDATE shown_hourly_v1 SET clicks = 5 WHERE item_id = 'a' AND clicked")
    change(project, "DELETE FROM shown_v1 WHERE item_id = 'b'")
    told = recount(project, "--format", "json", code=1)
    lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    ours = [line for line in lines if line["product"] == "shown_hourly@1"]
    assert [(x["group"], x["what"], x["kept"], x["counted"]) for x in ours] == [
        ('{"item_id":"a","clicked":true}', "clicks", 5, 1),
        ('{"item_id":"b","clicked":false}', "shown", 1, 0),
    ]
    assert {x["hour"] for x in lines} == {"2026-11-20T10:00:00.000Z"}
    digests = [line for line in lines if line["product"] == "shown@1"]
    assert ("rows", 2, 1) in [(x["what"], x["kept"], x["counted"]) for x in digests]
    assert "shown_hourly@1: 2 hours, 2 differences" in recount(project, code=1)


def test_a_range_and_names_choose(project: ReplayProject) -> None:
    """The hour that differs may be left out, and what differs too; a wrong name is told."""
    change(project, "UPDATE shown_hourly_v1 SET clicks = 5 WHERE item_id = 'a' AND clicked")
    assert recount(project, "--from", "2026-11-20T11").count("1 hours, equal") == 2
    assert recount(project, "--to", "2026-11-20T10").count("0 hours, equal") == 2
    recount(project, "--to", "2026-11-20T11", "--rule", "shown", code=1)
    only = recount(project, "--rule", "shown_hourly@1", code=1)
    assert "digests" not in only
    assert "shown_hourly" in recount(project, "--rule", "hourly", code=2)


def test_sums_that_outlived_their_rows_are_no_difference(project: ReplayProject) -> None:
    """Hours that retention drops are not looked at."""
    text = (project.folder / "labeling.toml").read_text()
    project.take_in("later", [event("show", 3 * 86_400)])
    text = text.replace("[[source]]", '[retention]\nshown = "1d"\n[[source]]', 1)
    project.configure(text)
    with Store.open(project.config.store) as store:
        assert store.retain(project.config.retention)["shown_v1"] == 3
    assert project.query("SELECT sum(shown) FROM shown_hourly").item() == 3
    assert recount(project).count("0 hours, equal") == 2


def test_beside_the_process_that_has_the_store(project: ReplayProject) -> None:
    """Through its endpoint; what another process publishes is summed there, and compared here."""
    with same_modules():
        tree = load_tree(project.config)
    project.take_in("two", [event("click", 31, item="b"), event("show", 20, item="c")])
    with Store.open(project.config.store) as store, Endpoint(store, "127.0.0.1:0"):
        listen(store, project.config, tree)
        assert project.replay().exit_code == 0
        assert store.query("SELECT sum(shown) FROM shown_hourly").item() == 4
        with open_store(project.config.store, read_only=True) as remote:
            assert isinstance(remote, RemoteStore)
            context = Context(project.config, tree, lambda *_: None)
            found = [one for c in comparisons(remote, context) for one in c.each(remote)]
            assert len(found) == 4
            assert all(one.is_empty() for one in found)
        assert recount(project).count("equal to a recount") == 2
        store.database.run("DELETE FROM shown_hourly_v1 WHERE item_id = 'a'")
        assert "shown_hourly@1: 2 hours, 3 differences" in recount(project, code=1)


def test_a_difference_that_goes_away_is_none(project: ReplayProject) -> None:
    """While a flow writes, what is read at two commits may differ: only what lasts is told."""
    with same_modules():
        tree = load_tree(project.config)
    with Store.open(project.config.store) as store:
        (digests, _) = comparisons(store, Context(project.config, tree, lambda *_: None))
        first = digests.hours[0]
        told: list[pl.DataFrame] = []

        def look(_: object) -> pl.DataFrame:
            """Differs once, for a commit comes between."""
            wrong = differences(store.database, HOURLY, first)
            if not told:
                with store.commit("between"):
                    pass
                row = ("shown@1", first, "{}", "rows", 1, 2)
                wrong = pl.DataFrame([row], schema=wrong.schema, orient="row")
            told.append(wrong)
            return wrong

        one = type(digests)("digests", "shown", (first,), look)
        assert all(frame.is_empty() for frame in one.each(store))
        assert len(told) == 2
