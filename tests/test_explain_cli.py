"""``labeling explain``: why a row says what it says, told from the archive and the store."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import Result

from labeling import Event, LabelRule, count, dwell, happened, label, rows_of
from labeling.io.endpoint import Endpoint
from labeling.io.store import Store
from tests import replay_project, streamed
from tests.replay_project import event, same_modules
from tests.streamed import StreamedProject

TICK = event("tick", 7000, item="none")
VIEWED = LabelRule(
    name="viewed",
    anchor=Event("show"),
    match=("user_id", "item_id"),
    reference="impression_id",
    window="30m",
    labels={
        "clicked": happened("click"),
        "ms": dwell(start="open", heartbeat="beat", end="close"),
        "came_back": happened(Event("back", match=("user_id",))),
    },
    carry=("item_id",),
)

OPENED = LabelRule(
    name="opened",
    anchor=Event("open"),
    match=("user_id", "item_id"),
    window="10m",
    labels={"closed": happened("close")},
)
READ = LabelRule(
    name="read",
    anchor=rows_of(OPENED, where=label("closed")),
    match=("user_id", "item_id"),
    window="20m",
    labels={"opens": count(rows_of(OPENED))},
)


@pytest.fixture
def project(tmp_path: Path) -> StreamedProject:
    """A row that a late event corrected; another event came too late for it."""
    made = StreamedProject(tmp_path)
    with made.stream() as stream:
        stream.take(event("show", 0), event("click", 10), event("show", 900), event("tick", 1300))
        stream.take(event("click", 890), event("click", 910))
        stream.take(event("tick", 3000))
        stream.take(event("click", 20), event("click", 20), TICK)
    return made


def explain(project: StreamedProject, anchor: str, *more: str, rule: str = "shown") -> Result:
    """Explain a row of user ``u``."""
    with same_modules():
        return project.command("explain", rule, "--user", "u", "--anchor", anchor, *more)


def cells(done: Result, first: str) -> list[str]:
    """The cells of the table row that begins so."""
    (line,) = [x for x in done.output.splitlines() if re.match(rf"│ +{re.escape(first)} ", x)]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_each_event_is_told_with_its_reason(project: StreamedProject) -> None:
    """In time, late, another's, too late: where each went, and what the labels became."""
    done = explain(project, "show-u-i-0")
    assert done.exit_code == 0, done.output
    assert cells(done, "+0.000 s")[2:] == ["the anchor", "clicked = false, clicks = 0"]
    own = "this one's: the latest at or before it"
    assert cells(done, "+10.000 s")[1:] == ["click click-u-i-10", own, "clicked = true, clicks = 1"]
    assert cells(done, "+20.000 s")[2:] == ["does not count; it came too late", ""]
    assert cells(done, "+890.000 s")[2:] == [f"{own}; it came late", "clicks = 2"]
    other = "show-u-i-900's: the latest at or before it; it came late"
    assert cells(done, "+910.000 s")[2:] == [other, ""]
    assert cells(done, "+60.000 s")[1:3] == ["-- early point", "published"]
    assert cells(done, "+1800.000 s")[1:3] == ["-- the window ends", "published"]


def test_revisions_are_told_from_the_first(project: StreamedProject) -> None:
    """What was first published, and each change with its reason and point."""
    done = explain(project, "show-u-i-0")
    assert cells(done, "1")[1] == "insert"
    assert cells(done, "1")[5] == "clicked = true, clicks = 1"
    assert cells(done, "2")[1:4] == ["update", "point", "+1800.000 s"]
    assert cells(done, "2")[5] == "clicks: 1 -> 2"
    last = done.output.splitlines()[-1]
    assert last == "published, revision 2: clicked = true, clicks = 2; so say its events"


def test_what_a_replay_healed_counts_what_it_had_read(project: StreamedProject) -> None:
    """After healing the event that came too late is the row's, and the revision is told."""
    assert project.verify("--publish").exit_code == 0
    done = explain(project, "show-u-i-0")
    assert done.exit_code == 0, done.output
    assert cells(done, "+20.000 s")[2].endswith("it came too late")
    assert cells(done, "3")[1:3] == ["update", "replay"]
    assert done.output.splitlines()[-1].startswith("published, revision 3: clicked = true, cli")


def test_a_row_that_disagrees_is_said(project: StreamedProject) -> None:
    """Tampered with: status 1, and what to run next."""
    project.sql("UPDATE shown_v1 SET clicks = 7 WHERE anchor_id = 'show-u-i-0'")
    done = explain(project, "show-u-i-0")
    assert done.exit_code == 1
    assert "clicks = 7; its events say otherwise: run `labeling verify`" in done.output


def test_a_point_that_has_not_passed_is_said(tmp_path: Path) -> None:
    """Of a row whose window is open the early point is published, the end is not."""
    project = StreamedProject(tmp_path)
    with project.stream() as stream:
        stream.take(event("show", 0), event("click", 300), event("tick", 400))
    done = explain(project, "show-u-i-0")
    assert done.exit_code == 0, done.output
    assert cells(done, "+60.000 s")[2] == "published"
    assert cells(done, "+1800.000 s")[2] == "not passed yet"
    assert "revision 1: clicked = false, clicks = 0; so say its events" in done.output


def test_it_works_beside_a_flow(project: StreamedProject) -> None:
    """While a process holds the store, it is asked, and the answer is the same."""
    before = explain(project, "show-u-i-0").output
    with Store.open(project.config.store) as store, Endpoint(store, "127.0.0.1:0"):
        assert explain(project, "show-u-i-0").output == before


@pytest.mark.parametrize(("rule", "anchor"), [("shown", "show-u-i-1"), ("shown@1", "o'clock")])
def test_a_row_that_never_was_is_an_error(project: StreamedProject, rule: str, anchor: str) -> None:
    """Status 1 and a statement that lists rows; any text may be an id."""
    done = explain(project, anchor, rule=rule)
    assert done.exit_code == 1
    assert f"no row of user 'u' and anchor {anchor!r}" in done.output
    assert explain(project, anchor, rule="other").exit_code == 2


def test_views_names_and_lanes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Views keep their events; a name that cannot take an event; other columns than the rule's."""
    monkeypatch.setattr(replay_project, "RULES", (VIEWED,))
    monkeypatch.setitem(streamed._MORE, "imp", "impression_id")  # noqa: SLF001 - one more column
    project = StreamedProject(tmp_path)
    late = event("click", 2000, imp="show-u-i-0")
    with project.stream(VIEWED) as stream:
        stream.take(event("show", 0, imp="a"), event("open", 5), event("beat", 8))
        stream.take(event("back", 30, item="z"))
        stream.take(event("close", 9), event("click", 10, item="j", imp="a"), late, TICK)
    done = explain(project, "show-u-i-0", rule="viewed")
    assert done.exit_code == 0, done.output
    assert cells(done, "+8.000 s")[2] == "goes on with its view"
    assert cells(done, "+9.000 s")[3] == "ms = 4000"
    assert cells(done, "+10.000 s")[2] == "nobody's: it names an anchor that cannot take it"
    assert cells(done, "+30.000 s")[2].endswith("the latest at or before it, by user_id")
    assert "+2000.000 s" not in done.output


def test_rows_of_another_rule_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that a label counts is a line at its time; an anchor that is no row yet says so."""
    monkeypatch.setattr(replay_project, "RULES", (READ,))
    project = StreamedProject(tmp_path)
    with project.stream(READ) as stream:
        stream.take(event("open", 0), event("close", 9), TICK)
    done = explain(project, "open-u-i-0", rule="read")
    assert done.exit_code == 0, done.output
    _, row = (x for x in done.output.splitlines() if "+0.000 s" in x)
    assert "rows of opened@1 open-u-i-0 │ this one's: the latest at or before it" in row
    assert "no row: none of the rows of opened@1" in row
    assert cells(done, "+1200.000 s")[3] == "opens = 1"
