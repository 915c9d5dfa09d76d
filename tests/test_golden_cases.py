"""What a golden case may look like, and that a wrong one is found out in every drive."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import polars as pl
import pytest

from labeling.testing.arrival import Arrival
from labeling.testing.drives import DRIVES, Drive
from labeling.testing.golden_case import CaseError, load, places
from labeling.testing.golden_run import Failure, accept, check
from labeling.testing.golden_table import TableError, read_table, text, value
from tests.shipped import RULES

FIXTURES: Final = Path(__file__).resolve().parent.parent / "fixtures"
CASE: Final = "note_labels/click_at_the_windows_end"
LATE: Final = "note_labels/late_click_turns_a_negative"


@pytest.fixture
def fixtures(tmp_path: Path) -> Path:
    """A fixtures folder with two of the project's cases, free to be spoiled."""
    for name in (CASE, LATE):
        shutil.copytree(FIXTURES / name, tmp_path / "fixtures" / name)
    return tmp_path / "fixtures"


def replace(file: Path, old: str, new: str) -> None:
    """Change one thing in a file, which must be there."""
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new, 1))


def failure(case: Path, drive: Drive) -> Failure | None:
    """What the drive makes of the case."""
    return check(load(case, RULES), drive)


@pytest.mark.parametrize("drive", DRIVES, ids=lambda d: d.name)
def test_a_wrong_row_fails_in_every_drive(fixtures: Path, drive: Drive) -> None:
    """One cell of rows.txt is wrong: each drive says which, and nothing else."""
    assert failure(fixtures / CASE, drive) is None
    replace(fixtures / CASE / "rows.txt", "e2        | false", "e2        | true ")
    found = failure(fixtures / CASE, drive)
    assert found is not None
    said = {(d.where, d.column, d.expected, d.got) for d in found.differences}
    assert said == {("u1 10:00:00.000 e2", "clicked", "true", "false")}


@pytest.mark.parametrize("drive", DRIVES, ids=lambda d: d.name)
def test_a_wrong_change_fails_in_every_drive(fixtures: Path, drive: Drive) -> None:
    """No event of the case is late: every drive compares the changes, and sees the wrong point."""
    replace(fixtures / CASE / "changes.txt", "10:30:00.000 |", "10:29:00.000 |")
    found = failure(fixtures / CASE, drive)
    assert found is not None
    assert [(d.file, d.column) for d in found.differences] == [("changes.txt", "point_ts")]


@pytest.mark.parametrize("drive", DRIVES, ids=lambda d: d.name)
def test_changes_of_a_late_case_are_compared_where_they_must_agree(
    fixtures: Path, drive: Drive
) -> None:
    """A late event is corrected event by event; other batches may have known better at once."""
    replace(fixtures / LATE / "changes.txt", "| late ", "| point")
    compared = drive.name in ("event_by_event", "doubled", "crash_restart")
    assert (failure(fixtures / LATE, drive) is not None) == compared


@pytest.mark.parametrize("drive", DRIVES, ids=lambda d: d.name)
def test_missing_and_extra_rows_fail_in_every_drive(fixtures: Path, drive: Drive) -> None:
    """A row that nobody expects and an expected one that is not made are both differences."""
    replace(fixtures / CASE / "rows.txt", "| e2 ", "| e7 ")
    found = failure(fixtures / CASE, drive)
    assert found is not None
    said = {(d.where.split()[-1], d.column, d.expected, d.got) for d in found.differences}
    assert said == {("e7", "(row)", "1 times", "-"), ("e2", "(row)", "-", "1 times")}


def test_a_column_that_is_not_shown_is_held_to_nothing(fixtures: Path) -> None:
    """Leaving out a label does not leave it open: it must be null or false in every row."""
    rows = read_table((fixtures / CASE / "rows.txt").read_text())
    kept = [i for i, name in enumerate(rows.header) if name != "clicked"]
    lines = [" | ".join(line[i] for i in kept) for line in (rows.header, *rows.rows)]
    (fixtures / CASE / "rows.txt").write_text("\n".join(lines) + "\n")
    found = failure(fixtures / CASE, DRIVES[0])
    assert found is not None
    assert [(d.column, d.expected, d.got) for d in found.differences] == [("clicked", "-", "true")]


def test_a_wrong_outcome_fails(fixtures: Path) -> None:
    """The column outcome of events.txt is held to what becomes of each event."""
    replace(fixtures / LATE / "events.txt", "| late", "| on_time")
    found = failure(fixtures / LATE, DRIVES[1])
    assert found is not None
    assert [(d.where, d.expected, d.got) for d in found.differences] == [
        ("event 3", "on_time", "late")
    ]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("rows.txt", None, "no rows.txt; write it, or accept it by name"),
        ("rows.txt", "", "no header"),
        ("rows.txt", "user_id | anchor_ts | anchor_id\n", "rows.txt: empty"),
        ("rows.txt", "user_id | anchor_ts | anchor_id\nu1 | 10:00\n", "line 2: 2 cells"),
        ("changes.txt", "", "no header"),
        ("events.txt", None, "the expectation is orphaned"),
        ("events.txt", "event_ts | event_type | user_id\n", "events.txt: empty"),
        ("events.txt", "event_ts | usr_id\n10:00:00 | u1\n", "did you mean 'user_id'"),
        ("events.txt", "event_ts | event_type\n10:00 | click\n", "'10:00' is no Datetime"),
        ("events.txt", "event_ts\n" + "10:00:00\n" * 26, "26 events; a case has 25 at most"),
        ("events.txt", "event_ts | props\n10:00:00 | " + "x" * 160, "fit on a screen"),
        ("events.txt", "event_ts | outcome\n10:00:00 | fine\n", "outcome 'fine'; one of"),
        ("case.toml", None, "no case.toml"),
        ("case.toml", 'why = " "\nmax_disorder = "5s"\nlateness = "1h"\n', "why is empty"),
        ("case.toml", 'why = "x"\nmax_disorder = "5s"\n', "lateness is missing"),
        ("case.toml", 'why = "x"\nmax_disorder = "5"\nlateness = "1h"\n', "duration '5'"),
        ("case.toml", 'why = "x"\nlatenes = "1h"\n', "did you mean 'lateness'"),
        ("case.toml", "why = ", "case.toml: "),
        ("notes.md", "", "unknown file 'notes.md'"),
    ],
)
def test_a_case_that_is_not_whole_is_refused(
    fixtures: Path, file: str, content: str | None, message: str
) -> None:
    """Missing, empty, unreadable, oversized or unknown: each is refused with what is wrong."""
    if content is None:
        (fixtures / CASE / file).unlink()
    else:
        (fixtures / CASE / file).write_text(content)
    with pytest.raises(CaseError, match=message.replace("(", r"\(")):
        load(fixtures / CASE, RULES)


def test_a_version_that_the_rule_does_not_have_is_refused(fixtures: Path) -> None:
    """A case names a version where it matters, and one that exists."""
    file = fixtures / CASE / "case.toml"
    file.write_text(file.read_text() + "version = 9\n")
    with pytest.raises(CaseError, match="has versions: 1; not 9"):
        load(fixtures / CASE, RULES)


def test_what_lies_in_the_wrong_place_is_found(fixtures: Path) -> None:
    """A folder of no rule, stray files and a rule without cases are problems, not overlooked."""
    (fixtures / "note_labls" / "case").mkdir(parents=True)
    (fixtures / "stray.txt").write_text("")
    (fixtures / "note_labels" / "events.txt").write_text("")
    (fixtures / "ad_click").mkdir()
    (fixtures / "README.md").write_text("allowed")
    problems = {p.path.name: p.problem for p in places(fixtures, RULES) if p.problem}
    assert problems.keys() == {"note_labls", "stray.txt", "events.txt", "ad_click"}
    assert "did you mean 'note_labels'" in str(problems["note_labls"])


def test_accept_writes_what_the_engine_made(fixtures: Path) -> None:
    """A spoiled expectation is rewritten as it was, columns that were shown among them."""
    place = next(p for p in places(fixtures, RULES) if p.path == fixtures / CASE)
    files = [fixtures / CASE / name for name in ("rows.txt", "changes.txt")]
    before = [file.read_text() for file in files]
    replace(files[0], "| true ", "| false")
    files[1].write_text("")
    assert "wrote rows.txt (2 lines), changes.txt (3 lines)" in accept(place, RULES)
    assert [file.read_text() for file in files] == before


def test_accept_refuses_a_case_without_rows(fixtures: Path) -> None:
    """No anchor, no row: there is nothing to expect, and nothing is written."""
    (fixtures / CASE / "events.txt").write_text(
        "event_ts | event_type | user_id\n10:00:00 | click | u1\n"
    )
    before = (fixtures / CASE / "rows.txt").read_text()
    place = next(p for p in places(fixtures, RULES) if p.path == fixtures / CASE)
    with pytest.raises(CaseError, match="ends without a row"):
        accept(place, RULES)
    assert (fixtures / CASE / "rows.txt").read_text() == before


@pytest.mark.parametrize(
    "string", ["", "-", " x", "a|b", "a>b", '"q"', "#", "tab\t", "plain", "true", "10:00:00"]
)
def test_every_string_has_a_text_of_its_own(string: str) -> None:
    """What could be misread is written as JSON, and read back as it was."""
    cell = text(string)
    assert value(cell, pl.String()) == string
    table = read_table(f"a | b\n{cell} | x\n")
    assert "|" not in cell
    assert table.rows[0][-1] == "x"


@pytest.mark.parametrize(("cell", "dtype"), [("flase", pl.Boolean()), ("1.5", pl.Int64())])
def test_a_cell_of_another_type_is_refused(cell: str, dtype: pl.DataType) -> None:
    """A typing error in a table is an error, not a value."""
    with pytest.raises(TableError, match="null is -"):
        value(cell, dtype)


def test_lateness_follows_from_the_order_alone() -> None:
    """In bound up to the disorder, inclusive; too late past the lateness below it, exclusive."""
    events = pl.DataFrame({"event_ts": [100, 90, 89, 79, 78, 100]}).cast(
        {"event_ts": pl.Datetime("ms", "UTC")}
    )
    arrival = Arrival(RULES[0], events, max_disorder_ms=10, lateness_ms=11)
    assert arrival.lag_ms == (0, 0, 1, 11, 12, 0)
    assert not arrival.in_bound
    assert arrival.too_late == (4,)
    assert arrival.of([0, 1]).in_bound
