"""``labeling check``: what it prints and how it ends.

Always holds: modules that a test imports by name are gone from ``sys`` when it ends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from labeling.cli.main import group
from labeling.testing.check import CHECKS

GOOD = """
from labeling import Event, LabelRule, happened

SHOWN = LabelRule(name="shown", anchor=Event("show"), match=("user_id",), window="1m",
                  labels={"clicked": happened("click")})
RULES = (SHOWN,)
NONE = ()
ONE = SHOWN
"""
BAD = """
import polars as pl
from labeling import Event, LabelRule, aggregate, happened

RULES = (LabelRule(
    name="paid", anchor=Event("show"), match=("user_id",), window="1m", columns={"price": "f64"},
    labels={"clicked": happened("click"),
            "paid": aggregate("order", pl.col("price").sum(), pl.Float64)}),)
"""
CASE = {
    "case.toml": 'why = "a click"\nmax_disorder = "0s"\nlateness = "1h"\n',
    "events.txt": "event_ts | event_type | user_id\n10:00:00.000 | show | u1\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with two modules of rules, nothing of which stays."""
    (tmp_path / "good_rules.py").write_text(GOOD, encoding="utf-8")
    (tmp_path / "bad_rules.py").write_text(BAD, encoding="utf-8")
    (tmp_path / "torn_rules.py").write_text("RULES = (", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("good_rules", "bad_rules", "torn_rules"):
        sys.modules.pop(name, None)


def run(*args: str) -> Result:
    """``labeling check`` in this process, few streams."""
    return CliRunner().invoke(group, ["check", "--examples", "1", *args])


def test_rules_that_pass(project: Path) -> None:
    """A line for each check, a count, exit status 0."""
    ended = run("good_rules:RULES")
    assert ended.exit_code == 0
    lines = ended.stdout.splitlines()
    assert [line.split() for line in lines[:-1]] == [
        ["shown@1", c, "ok"] for c in CHECKS if c != "credit"
    ]
    assert lines[-1] == "1 rule, 10 checks, 0 failed"


def test_a_rule_that_fails(project: Path) -> None:
    """The rule, the check and the label are named, the exit status is 1."""
    ended = run("bad_rules:RULES")
    assert ended.exit_code == 1
    (line,) = [line for line in ended.stdout.splitlines() if "FAILED" in line]
    assert line.startswith("paid@1  floats    FAILED  label 'paid': ")
    assert ended.stdout.splitlines()[-1] == "1 rule, 10 checks, 1 failed"


def test_rules_of_the_configuration(project: Path) -> None:
    """Without an argument labeling.toml says which rules; it is found above, too."""
    text = 'rules = "good_rules:RULES"\n'
    (project / "labeling.toml").write_text(text, encoding="utf-8")
    ended = run("--config", str(project / "labeling.toml"))
    assert ended.exit_code == 0, ended.output
    assert "shown@1" in ended.stdout


def test_golden_cases_are_read(project: Path) -> None:
    """Cases of the rules are used, whether accepted or not; one that cannot be read is said so."""
    case = project / "fixtures" / "shown" / "a_click"
    case.mkdir(parents=True)
    for name, text in CASE.items():
        (case / name).write_text(text, encoding="utf-8")
    assert run("good_rules:RULES").exit_code == 0
    (case / "events.txt").write_text("event_tz\n10:00:00\n", encoding="utf-8")
    ended = run("good_rules:RULES")
    assert ended.exit_code == 1
    assert "unknown column 'event_tz'; did you mean 'event_ts'?" in ended.stderr


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("good_rules", "module:NAME"),
        ("good_rules:RULEZ", "RULEZ"),
        ("good_rules:ONE", "tuple of rules"),
        ("good_rules:NONE", "nothing to check"),
        ("no_such_rules:RULES", "no_such_rules"),
        ("torn_rules:RULES", "SyntaxError"),
    ],
)
def test_arguments_that_make_no_sense(project: Path, spec: str, said: str) -> None:
    """Exit status 2 and one line that says what is wrong."""
    ended = run(spec)
    assert ended.exit_code == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not ended.stdout


def test_no_examples_is_a_usage_error(project: Path) -> None:
    """At least one stream is needed."""
    assert run("good_rules:RULES", "--examples", "0").exit_code == 2
