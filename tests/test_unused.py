"""``labeling unused``: features served for something that was never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.features_project import FeaturesProject, item, request
from tests.import_project import row
from tests.replay_project import same_modules

RULES = """
from labeling import Event, Features, LabelRule, SampleRule, happened
SHOWN = LabelRule(name="shown", anchor=Event("show"), match=("user_id", "item_id"), window="5m",
                  labels={"clicked": happened("click")})
RULES = (SHOWN, SampleRule(name="kept", labels=SHOWN, label="clicked", features=Features("ranker")))
"""
RANGE = ("--from", "2026-11-20T10", "--to", "2026-11-20T12")


@pytest.fixture
def project(tmp_path: Path) -> FeaturesProject:
    """Two requests, of two items and of one; one item of the first was shown."""
    made = FeaturesProject(tmp_path)
    named = 'item_id = "item"'
    text = (tmp_path / "labeling.toml").read_text()
    made.configure(
        'rules = "unused_rules:RULES"\n' + text.replace(named, f'{named}\nrequest_id = "request"')
    )
    (tmp_path / "unused_rules.py").write_text(RULES)
    made.load(made.file("log.jsonl", [row(60, request="r") | {"type": "show", "item": "a"}]))
    served = [request("r", 50, item("a"), item("b")), request("s", 4_000, item("a"))]
    made.load(made.file("log.ranked", served), source="ranker")
    with same_modules():
        done = made.command("replay", *RANGE)
    assert done.exit_code == 0, done.output
    return made


def test_features_are_counted_by_hour(project: FeaturesProject) -> None:
    """By hour of served time: records, and those that no label row can have used."""
    with same_modules():
        done = project.command("unused", *RANGE, "--format", "json")
    assert done.exit_code == 0, done.output
    told = [json.loads(line) for line in done.output.splitlines()]
    assert [(t["rule"], t["records"], t["unused"]) for t in told] == [
        ("kept@1", 2, 1),
        ("kept@1", 1, 1),
    ]


def test_an_unknown_sample_rule_is_refused(project: FeaturesProject) -> None:
    """The message names those that there are; a label rule is none."""
    with same_modules():
        done = project.command("unused", *RANGE, "--rule", "shown")
    assert done.exit_code == 2
    assert "no such sample rule; there are: kept, kept@1" in done.output
