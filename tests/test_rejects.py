"""``labeling rejects``: listing, and feeding again after a fix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.import_project import CONFIG, Project, row

LISTS = (
    CONFIG.replace('event_id = "id"', "").replace('item_id = "item"', "")
    + '[[source.emit]]\nexplode = "items"\n[source.emit.map]\n'
    'item_id = "element.id"\nposition = "element.slot"\n'
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose mapping reads the user from the field ``user``."""
    return Project(tmp_path)


def nameless(n: int) -> dict[str, object]:
    """A record that names its user in another field."""
    return {k: v for k, v in row(n).items() if k != "user"} | {"uid": "v"}


FIXED = CONFIG.replace('user_id = "user"', 'user_id = { first_of = ["user", "uid"] }')


def test_list_shows_reason_place_and_record(project: Project) -> None:
    """A table by position with the reasons' tally; filters apply; CSV and JSON are whole."""
    project.load(project.file("a.jsonl", [nameless(1), row(2), "{oops", nameless(3)]))
    text = project.command("rejects").output
    assert "3 rejects: 2 missing_field, 1 bad_json; 3 shown" in text
    assert "{oops" in text
    one = project.command("rejects", "list", "--reason", "bad_json", "--source", "app").output
    assert "1 rejects: 1 bad_json" in one
    assert "2 shown" in project.command("rejects", "--limit", "2").output
    lines = project.command("rejects", "--json").output.splitlines()
    assert [json.loads(line)["offset"] for line in lines] == [1, 3, 4]
    assert json.loads(json.loads(lines[0])["raw"])["uid"] == "v"
    assert project.command("rejects", "--csv").output.count("\n") == 4


def test_retry_after_a_fix(project: Project) -> None:
    """What decodes now is archived in its own place and marked; the rest stays; twice is once."""
    project.load(project.file("a.jsonl", [nameless(1), row(2), "{oops"]))
    before = project.query("SELECT max(commit) FROM commits").item()
    none = project.command("rejects", "retry")
    assert "0 rejects resolved, 2 still rejected" in none.output
    assert project.query("SELECT max(commit) FROM commits").item() == before
    project.configure(FIXED)
    done = project.command("rejects", "retry")
    assert "1 rejects resolved, 1 still rejected; 1 events accepted" in done.output
    back = project.archived()
    assert back.select("event_id", "user_id", "topic", "offset").row(0) == ("e1", "v", "a.jsonl", 1)
    assert "1 rejects: 1 bad_json" in project.command("rejects").output
    again = project.command("rejects", "retry")
    assert "0 rejects resolved, 1 still rejected; 0 events accepted" in again.output
    assert project.archived().equals(back)
    total = project.query("FROM counts_total").row(0, named=True)
    assert (total["adds_up"], total["accepted"], total["rejected"]) == (True, 2, 2)


def test_retry_by_reason(project: Project) -> None:
    """Only records with a reject of the reason are fed again."""
    project.load(project.file("a.jsonl", [nameless(1), "{oops"]))
    project.configure(FIXED)
    done = project.command("rejects", "retry", "--reason", "bad_json")
    assert "0 rejects resolved, 1 still rejected" in done.output
    assert project.command("rejects", "retry", "--source", "web").exit_code == 2


def test_retry_of_an_event_that_came_another_way(project: Project) -> None:
    """A reject whose event was archived since is resolved and counted as a duplicate."""
    project.load(project.file("a.jsonl", [nameless(1)]))
    project.load(project.file("b.jsonl", [row(1, user="v")]))
    project.configure(FIXED)
    done = project.command("rejects", "retry")
    assert "1 rejects resolved, 0 still rejected; 0 events accepted, 1 duplicate" in done.output
    assert project.query("SELECT adds_up FROM counts_total").item() is True


def test_good_neighbours_are_not_counted_again(project: Project) -> None:
    """Of a list with bad elements only those that were rejected are taken in by a retry."""
    project.configure(LISTS)
    items = [{"id": "a", "slot": 1}, {"id": "b", "slot": "x"}, {"id": "c", "slot": {}}]
    record = {"ts": row(1)["ts"], "type": "impression", "user": "u", "items": items}
    totals = project.load(project.file("a.jsonl", [record]))
    assert (totals.accepted, totals.rejected) == (1, 2)
    project.configure(LISTS.replace('position = "element.slot"', 'position = "@index"'))
    done = project.command("rejects", "retry")
    assert "2 rejects resolved, 0 still rejected; 2 events accepted, 0 duplicate" in done.output
    assert sorted(project.archived()["item_id"]) == ["a", "b", "c"]
    assert project.query("FROM conflicts").is_empty()
    total = project.query("FROM counts_total").row(0, named=True)
    assert (total["adds_up"], total["events"], total["accepted"]) == (True, 5, 3)


def test_a_record_whose_bytes_were_cut_cannot_be_fed_again(project: Project) -> None:
    """A cut record stays listed, and the command says what to do."""
    project.load(project.file("a.jsonl", [nameless(1) | {"pad": "x" * 70_000}]))
    project.configure(FIXED)
    done = project.command("rejects", "retry")
    assert "0 rejects resolved" in done.output
    assert "1 cannot be fed again: their bytes were cut" in done.output
    assert "1 rejects" in project.command("rejects").output


def test_rejects_of_a_source_that_is_gone(project: Project) -> None:
    """Rejects of a source that is no longer configured stay, and are told."""
    project.load(project.file("a.jsonl", [nameless(1)]))
    project.configure(FIXED.replace('"app"', '"web"'))
    done = project.command("rejects", "retry")
    assert "1 are of sources that the configuration no longer has" in done.output
