"""The pytest plugin: a project's fixtures run with its pytest and are accepted by name only."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

import pytest

from labeling.testing.drives import DRIVES

RULE: Final = """
from labeling import Event, LabelRule, happened

CLICKS = LabelRule(
    name="clicks", anchor=Event("impression"), match=("user_id", "item_id"), window="10m",
    labels={"clicked": happened("click")},
)
RULES = (CLICKS,)
"""
CASE_TOML: Final = 'why = "A click counts."\nmax_disorder = "5s"\nlateness = "1h"\n'
EVENTS: Final = """
event_ts | event_type | user_id | item_id
10:00:00 | impression | u1      | i1
10:00:05 | click      | u1      | i1
"""
RIGHT: Final = """
user_id | anchor_ts    | anchor_id | clicked | item_id
u1      | 10:00:00.000 | e1        | true    | i1
"""
WRONG: Final = RIGHT.replace("true", "false")
ARGS: Final = ("-p", "no:randomly", "-p", "no:cacheprovider")


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with one rule and the cases ``good`` and ``bad``."""
    pytester.makefile(".toml", labeling='rules = "inner_rules:RULES"')
    pytester.makepyfile(inner_rules=RULE)
    pytester.makepyfile(test_own="def test_own():\n    pass\n")
    for name, rows in (("good", RIGHT), ("bad", WRONG)):
        write_case(pytester.path / "fixtures" / "clicks" / name, rows)
    return pytester


def write_case(folder: Path, rows: str) -> None:
    """A case of one impression and its click."""
    folder.mkdir(parents=True)
    (folder / "case.toml").write_text(CASE_TOML)
    (folder / "events.txt").write_text(EVENTS)
    (folder / "rows.txt").write_text(rows)


def run(project: pytest.Pytester, *args: str) -> pytest.RunResult:
    """Pytest inside the project, with the plugin as an installed library brings it."""
    installed = any(e.name == "labeling_golden" for e in entry_points(group="pytest11"))
    plugin = () if installed else ("-p", "labeling.testing.golden")
    return project.runpytest_inprocess(*plugin, *ARGS, *args)


def expected(project: pytest.Pytester, name: str) -> str:
    """The rows.txt of a case."""
    return (project.path / "fixtures" / "clicks" / name / "rows.txt").read_text()


def test_fixtures_run_with_the_tests(project: pytest.Pytester) -> None:
    """One item per case and drive beside the project's own; a failure shows the difference."""
    result = run(project)
    result.assert_outcomes(passed=1 + len(DRIVES), failed=len(DRIVES))
    result.stdout.fnmatch_lines(["rows.txt | u1 10:00:00.000 e1 | clicked | false    | true"])


def test_fixtures_run_where_testpaths_name_the_tests_only(project: pytest.Pytester) -> None:
    """A project whose ini file names its tests need not name its fixtures."""
    project.makeini("[pytest]\ntestpaths = test_own.py\n")
    run(project).assert_outcomes(passed=1 + len(DRIVES), failed=len(DRIVES))


def test_a_case_and_a_drive_are_chosen(project: pytest.Pytester) -> None:
    """A case's folder is named as any test file is; -k chooses by names of case and drive."""
    run(project, "fixtures/clicks/good").assert_outcomes(passed=len(DRIVES))
    run(project, "-k", "bad and doubled").assert_outcomes(failed=1, deselected=2 * len(DRIVES))
    run(project, "test_own.py").assert_outcomes(passed=1)


def test_ini_options_name_folder_and_rules(project: pytest.Pytester) -> None:
    """Without labeling.toml, the ini file says where cases and rules are."""
    (project.path / "labeling.toml").unlink()
    (project.path / "fixtures").rename(project.path / "cases")
    project.makeini("[pytest]\nlabeling_fixtures = cases\nlabeling_rules = inner_rules:RULES\n")
    run(project).assert_outcomes(passed=1 + len(DRIVES), failed=len(DRIVES))


def test_a_folder_of_other_fixtures_is_left_alone(pytester: pytest.Pytester) -> None:
    """A project that has a fixtures folder and no golden case is none of the plugin's business."""
    pytester.makepyfile(test_own="def test_own():\n    pass\n")
    pytester.mkdir("fixtures").joinpath("data.json").write_text("{}")
    run(pytester).assert_outcomes(passed=1)


def test_what_cannot_be_run_fails(project: pytest.Pytester) -> None:
    """Missing, empty and orphaned expectations and stray files are failing items."""
    cases = project.path / "fixtures" / "clicks"
    (cases / "good" / "rows.txt").unlink()
    (cases / "bad" / "rows.txt").write_text("")
    write_case(project.path / "fixtures" / "clics" / "orphan", RIGHT)
    (cases / "stray.txt").write_text("")
    result = run(project)
    result.assert_outcomes(passed=1, failed=4)
    result.stdout.fnmatch_lines_random(
        ["*no rows.txt; write it*", "*no header*", "*did you mean 'clicks'*", "*stray.txt: not a*"]
    )


def test_rules_that_cannot_be_imported_fail_the_cases_only(project: pytest.Pytester) -> None:
    """A broken rules module does not keep the project's other tests from running."""
    project.makepyfile(inner_rules="RULES = (")
    result = run(project)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*rules 'inner_rules:RULES': SyntaxError: *"])


def test_accept_rewrites_the_named_case_only(project: pytest.Pytester) -> None:
    """The named case's rows are written and said to be; the other's wrong rows stay wrong."""
    write_case(project.path / "fixtures" / "clicks" / "worse", WRONG)
    result = run(project, "--accept", "bad")
    result.assert_outcomes(passed=2 + len(DRIVES), failed=len(DRIVES))
    result.stdout.fnmatch_lines(["accepted clicks/bad: wrote rows.txt (1 lines)*"])
    assert expected(project, "bad").split() == RIGHT.split()
    assert expected(project, "worse") == WRONG
    assert expected(project, "good") == RIGHT


def test_accept_makes_a_missing_expectation(project: pytest.Pytester) -> None:
    """A case without rows.txt, or with an empty changes.txt, gets them."""
    folder = project.path / "fixtures" / "clicks" / "bad"
    (folder / "rows.txt").unlink()
    (folder / "changes.txt").write_text("")
    run(project, "--accept", "clicks/bad", "fixtures").assert_outcomes(passed=1 + len(DRIVES))
    assert expected(project, "bad").split() == RIGHT.split()
    assert "10:10:00.000 | insert | point  | 1 " in (folder / "changes.txt").read_text()


@pytest.mark.parametrize("name", ["baad", "clicks", "fixtures", "*"])
def test_accept_of_an_unknown_name_is_an_error(project: pytest.Pytester, name: str) -> None:
    """Nothing runs and nothing is written; there is no way to accept everything."""
    result = run(project, "--accept", name)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*case '{name}': there is none of this name*"])
    assert expected(project, "bad") == WRONG


def test_accept_that_does_not_happen_fails(project: pytest.Pytester) -> None:
    """The named case is not among those that run: that is said, and the status is not 0."""
    result = run(project, "--accept", "bad", "test_own.py")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["NOT accepted: *clicks/bad did not run; nothing was written"])
    assert expected(project, "bad") == WRONG


def test_accept_of_a_case_that_cannot_be_run_fails(project: pytest.Pytester) -> None:
    """The events are gone: the case fails, what it expects is left as it was."""
    (project.path / "fixtures" / "clicks" / "bad" / "events.txt").unlink()
    result = run(project, "--accept", "bad")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert expected(project, "bad") == WRONG
