"""``labeling golden``: the last line counts, the status tells, new cases come from logs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from labeling.cli.main import group

PROJECT: Final = """
rules = "golden_cli_rules:RULES"
lateness = "90s"

[[source]]
name = "log"
format = "json"
files = "log.json"
map = { event_id = "id", event_ts = { path = "ts", unit = "ms" }, event_type = "type", \
user_id = "user", item_id = "item", impression_id = "shown", session_id = "session", \
props = "*" }
"""
RULES: Final = """
from labeling import Event, LabelRule, happened

CLICKS = LabelRule(
    name="clicks", anchor=Event("impression"), match=("user_id", "item_id"), window="10m",
    reference="impression_id", labels={"clicked": happened("click")},
    carry=("item_id", "session_id"),
)
RULES = (CLICKS,)
"""
CASE: Final = 'why = "A click counts."\nmax_disorder = "5s"\nlateness = "1h"\n'
EVENTS: Final = """
event_ts | event_type | user_id | item_id
10:00:00 | impression | u1      | i1
10:00:05 | click      | u1      | i1
"""
ROWS: Final = """
user_id | anchor_ts | anchor_id | clicked | item_id
u1      | 10:00:00  | e1        | true    | i1
"""
#: Three days before the base day, 10:00:00 UTC.
START_MS: Final = 1_794_909_600_000
LOG: Final = [
    {"ts": 7_000, "type": "click", "id": "b2c", "item": "shoe", "shown": "b1c"},
    {"ts": 0, "type": "impression", "id": "b1c", "item": "shoe", "session": "secret"},
    {"ts": 5_500, "type": "impression", "id": "a0c", "item": "shoe", "session": "secret"},
    {"ts": 5_500, "type": "impression", "id": "b3c", "item": "hat", "session": "other"},
    {"ts": 6_000, "type": "search", "id": "s", "item": "boots"},
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with one right case; the working directory, modules and path are put back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labeling.toml").write_text(PROJECT)
    (tmp_path / "golden_cli_rules.py").write_text(RULES)
    write_case(tmp_path, "good", ROWS)
    yield tmp_path
    sys.modules.pop("golden_cli_rules", None)


def write_case(project: Path, name: str, rows: str) -> Path:
    """A case of one impression and its click; its rows.txt."""
    folder = project / "fixtures" / "clicks" / name
    folder.mkdir(parents=True)
    (folder / "case.toml").write_text(CASE)
    (folder / "events.txt").write_text(EVENTS)
    (folder / "rows.txt").write_text(rows)
    return folder / "rows.txt"


def golden(*args: str) -> Result:
    """``labeling golden`` with these arguments, in the working directory."""
    return CliRunner().invoke(group, ["golden", *args])


def test_cases_that_pass_are_counted(project: Path) -> None:
    """All drives, the one through files among them; status 0; nothing but the count."""
    ended = golden()
    assert (ended.exit_code, ended.output) == (0, "1 cases, 9 drives, 0 failed\n")


def test_a_case_that_fails_is_shown_once(project: Path) -> None:
    """The first drive that fails is shown as a table of differences; exit status 1."""
    write_case(project, "bad", ROWS.replace("true", "false"))
    ended = golden()
    assert ended.exit_code == 1
    assert ended.output.splitlines() == [
        "FAILED clicks/bad in drive one_batch:",
        "file     | where              | column  | expected | got",
        "rows.txt | u1 10:00:00.000 e1 | clicked | false    | true",
        "",
        "2 cases, 9 drives, 1 failed",
    ]


@pytest.mark.parametrize(
    ("path", "counted"), [("fixtures", 2), ("fixtures/clicks", 2), ("fixtures/clicks/good", 1)]
)
def test_a_path_chooses(project: Path, path: str, counted: int) -> None:
    """A fixtures folder, a rule's, or a case's."""
    write_case(project, "other", ROWS)
    assert golden(path).output == f"{counted} cases, 9 drives, 0 failed\n"


def test_no_case_is_no_success(project: Path) -> None:
    """A folder without cases ends with 1: nothing was shown to be right."""
    (project / "empty").mkdir()
    ended = golden("empty")
    assert ended.exit_code == 1
    assert ended.stdout == "0 cases, 9 drives, 0 failed\n"


def test_what_is_in_the_wrong_place_fails(project: Path) -> None:
    """A missing expectation, a folder of no rule: said where, counted as failed."""
    write_case(project, "bare", ROWS).unlink()
    (project / "fixtures" / "clocks").mkdir()
    ended = golden()
    assert ended.exit_code == 1
    assert "bare: no rows.txt; write it, or accept it by name: --accept bare" in ended.output
    assert "clocks: no rule has this name; did you mean 'clicks'?" in ended.output
    assert ended.output.endswith("3 cases, 9 drives, 2 failed\n")


def test_accept_by_name_only(project: Path) -> None:
    """The named case is rewritten and said to be; an unknown name is a usage error."""
    bad, worse = (write_case(project, n, ROWS.replace("true", "false")) for n in ("bad", "worse"))
    assert golden("--accept", "bat").exit_code == 2
    ended = golden("--accept", "bad", "fixtures/clicks/bad")
    assert ended.exit_code == 0
    assert ended.output.startswith("accepted clicks/bad: wrote rows.txt (1 lines)")
    assert "true" in bad.read_text()
    assert "true" not in worse.read_text()


@pytest.fixture
def archived(project: Path) -> Path:
    """The project with a log imported."""
    lines = [json.dumps({**e, "user": "ann", "ts": START_MS + int(str(e["ts"]))}) for e in LOG]
    (project / "log.json").write_text("\n".join(lines) + "\n")
    imported = CliRunner().invoke(group, ["import"])
    assert imported.exit_code == 0, imported.output
    return project


def new(*args: str) -> Result:
    """Cut case ``cut`` of ann's out of the hour of the log."""
    hour = ("--from", "2026-11-17T10", "--to", "2026-11-17T11")
    return golden("new", "cut", "--rule", "clicks", "--user", "ann", *hour, *args)


def test_new_cuts_a_case_out_of_the_archive(archived: Path) -> None:
    """In the order of the log, ids and days replaced, references kept, other columns left out."""
    ended = new("--why", "The click names the older impression.")
    assert ended.exit_code == 0, ended.output
    folder = archived / "fixtures" / "clicks" / "cut"
    assert {p.name for p in folder.iterdir()} == {"case.toml", "events.txt"}
    assert (folder / "events.txt").read_text().splitlines() == [
        "event_ts     | event_type | event_id | user_id | item_id | impression_id | session_id",
        "10:00:07.000 | click      | e4       | u1      | i1      | e1            | -",
        "10:00:00.000 | impression | e1       | u1      | i1      | -             | s1",
        "10:00:05.500 | impression | e2       | u1      | i1      | -             | s1",
        "10:00:05.500 | impression | e3       | u1      | i2      | -             | s2",
    ]
    said = (folder / "case.toml").read_text()
    assert 'max_disorder = "7s"' in said
    assert 'lateness = "90s"' in said


def test_a_new_case_fails_until_it_is_accepted(archived: Path) -> None:
    """Somebody has to say why it exists, and to accept its rows by name."""
    new()
    case = archived / "fixtures" / "clicks" / "cut"
    assert "why is empty" in golden(str(case)).output
    said = (case / "case.toml").read_text()
    (case / "case.toml").write_text(said.replace('why = ""', 'why = "A reference."'))
    assert "no rows.txt" in golden(str(case)).output
    ended = golden("--accept", "cut", str(case))
    assert ended.output.endswith("1 cases, 9 drives, 0 failed\n")
    rows = [line.split(" | ")[2:4] for line in (case / "rows.txt").read_text().splitlines()]
    assert rows == [
        ["anchor_id", "clicked"],
        ["e1       ", "true   "],
        ["e2       ", "false  "],
        ["e3       ", "false  "],
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--user", "bob"), "the archive has no event of user 'bob'"),
        (("--rule", "clacks"), "--rule clacks: none of this name; one of clicks@1"),
        (("--from", "yesterday"), "'yesterday' is not a time"),
    ],
)
def test_new_refuses_what_is_not_there(archived: Path, args: tuple[str, ...], message: str) -> None:
    """No such user, rule or time: said, and nothing is written."""
    ended = new(*args)
    assert ended.exit_code != 0
    assert message in ended.output
    assert not (archived / "fixtures" / "clicks" / "cut").exists()


def test_new_leaves_a_case_that_is_there(archived: Path) -> None:
    """A name that is taken is refused; the case stays as it is."""
    new("--why", "first")
    ended = new("--why", "second")
    assert ended.exit_code == 1
    assert "is there already" in ended.output
    assert '"first"' in (archived / "fixtures" / "clicks" / "cut" / "case.toml").read_text()
