"""Golden cases of attribution rules: a case for each option, in every drive.

Always holds: what the cases expect was written by hand from docs/attribution.md, and not accepted.
Those of the shipped rules are in ``fixtures/`` and run with the others there.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

from labeling.cli.golden_files import FILES
from labeling.testing.drives import DRIVES, Drive
from labeling.testing.golden_case import CaseError, Place, load, places
from labeling.testing.golden_cut import cut
from labeling.testing.golden_run import accept, check
from labeling.testing.golden_table import MOST_WIDTH, read_sheet
from tests.attribution_rules import RULES

CASES: Final = Path(__file__).resolve().parent / "attribution_cases"
PLACES: Final = places(CASES, RULES)
FIRST: Final = list({p.path.parent.name: p for p in reversed(PLACES)}.values())
LATE: Final = "clicks_7d_over_views_1d/a_late_click_retracts_the_views"
MODELS: Final = "five_models/three_clicks"


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Two of the cases, free to be spoiled."""
    for name in (LATE, MODELS):
        shutil.copytree(CASES / name, tmp_path / name)
    return tmp_path


def replace(file: Path, old: str, new: str) -> None:
    """Change one thing in a file, which must be there."""
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new, 1))


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.name)
def test_a_case_ends_as_written(place: Place) -> None:
    """Rows, and changes where they can be compared, in every drive in memory."""
    case = load(place.path, RULES)
    for drive in DRIVES:
        failure = check(case, drive)
        assert failure is None, str(failure)


@pytest.mark.parametrize("place", FIRST, ids=lambda p: p.name)
def test_a_case_ends_as_written_through_files(place: Place) -> None:
    """A case of each rule through JSON, import, archive, replay and store."""
    failure = check(load(place.path, RULES), FILES)
    assert failure is None, str(failure)


def test_every_rule_has_a_case() -> None:
    """No option goes without a worked example, and nothing lies in the wrong place."""
    assert not [place.said for place in PLACES if place.problem]
    assert {p.path.parent.name for p in PLACES} == {rule.name for rule in RULES}


@pytest.mark.parametrize("drive", [*DRIVES, FILES], ids=lambda d: d.name)
def test_a_wrong_share_fails_in_every_drive(cases: Path, drive: Drive) -> None:
    """One part in a billion is a difference, in the table in which it stands."""
    replace(cases / MODELS / "rows.txt", "0.571428573", "0.571428572")
    failure = check(load(cases / MODELS, RULES), drive)
    assert failure is not None
    said = {(d.where, d.column, d.expected, d.got) for d in failure.differences}
    key = "u1 10:00:00.000 e4 09:00:00.000 e3"
    assert said == {(key, "credit_decay", "0.571428572", "0.571428573")}


@pytest.mark.parametrize("drive", [*DRIVES, FILES], ids=lambda d: d.name)
def test_a_touch_that_stays_fails_in_every_drive(cases: Path, drive: Drive) -> None:
    """A retracted row that the case still expects is a difference, and so is one too few."""
    file = cases / LATE / "rows.txt"
    replace(file, "09:45:00.000 | e5", "09:30:00.000 | e2")
    failure = check(load(cases / LATE, RULES), drive)
    assert failure is not None
    said = {(d.where.split()[-1], d.column, d.expected, d.got) for d in failure.differences}
    assert said == {("e2", "(row)", "1 times", "-"), ("e5", "(row)", "-", "1 times")}


@pytest.mark.parametrize("name", [LATE, MODELS])
def test_accepting_writes_what_was_written_by_hand(cases: Path, name: str) -> None:
    """Both grains, cut where they are wider than a screen, in the same columns."""
    files = [file for file in sorted((cases / name).iterdir()) if file.name != "case.toml"]
    before = [file.read_text() for file in files]
    (cases / name / "rows.txt").write_text("spoiled")
    accept(Place(cases / name), RULES)
    after = [file.read_text() for file in files]
    assert [read_sheet(a) for a in after[-1:]] == [read_sheet(b) for b in before[-1:]]
    assert max(len(line) for text in after for line in text.splitlines()) <= MOST_WIDTH
    for drive in DRIVES[:2]:
        assert check(load(cases / name, RULES), drive) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.333333334", "0.3333333345", "is no credit: 1 is all of it"),
        ("0.333333334", "a third    ", "is no credit: 1 is all of it"),
        ("credit_linear", "credit_equal ", "rule five_models@1 has none of this name"),
        ("touch_id |", "touch_no |", "rule five_models@1 has none of this name"),
        ("verdict", "touch_id", "lines are found by user_id, anchor_ts, anchor_id, touch_ts"),
    ],
)
def test_what_cannot_be_meant_is_refused(cases: Path, old: str, new: str, message: str) -> None:
    """More than nine decimals, a word, a column of no model, half a key."""
    replace(cases / MODELS / "rows.txt", old, new)
    with pytest.raises(CaseError, match=message):
        check(load(cases / MODELS, RULES), DRIVES[0])


def test_a_case_is_cut_out_of_an_attributions_events() -> None:
    """Ids are replaced, and what the rule does not read is left out; channels are names too."""
    case = load(CASES / "position_collapsed" / "a_late_click_parts_a_run", RULES)
    table = cut(case.rule, case.arrival.events)
    assert table.header == ("event_ts", "event_type", "event_id", "user_id", "channel")
    assert [row[-1] for row in table.rows] == ["channel-1", "channel-1", "-", "-", "channel-2"]
