"""``labeling source try``: what it prints, how it ends, and that it writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from labeling.cli.main import group
from labeling.config.cluster import ClusterConfig
from labeling.io.kafka import Cluster, MockCluster, TopicWriter

CONFIG = """
[[source]]
name = "web"
files = "logs/*.json"
map = { event_ts = "ts", event_type = "type", user_id = "user", scene = "where" }
"""
GOOD = b'{"ts":"2026-11-20T10:00:00Z","type":"click","user":"u1"}\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one source and no records yet."""
    (tmp_path / "labeling.toml").write_text(CONFIG)
    (tmp_path / "logs").mkdir()
    return tmp_path


def run(project: Path, *args: str, records: bytes = b"") -> Result:
    """The command over a file of records."""
    (project / "logs" / "a.json").write_bytes(records)
    config = str(project / "labeling.toml")
    before = sorted(project.rglob("*"))
    result = CliRunner().invoke(group, ["source", "try", *args, "--config", config])
    assert sorted(project.rglob("*")) == before
    return result


def test_tables(project: Path) -> None:
    """Events, rejects, reasons, columns that nothing filled and a line of counts."""
    result = run(project, "web", records=GOOD * 2 + b"{\n" + GOOD.replace(b"u1", b""))
    assert result.exit_code == 0, result.output
    assert "2026-11-20 10:00:00.000" in result.output
    assert "mapped and never filled: scene" in result.output
    assert "bad_json 1, missing_field 1" in result.output
    last = result.output.splitlines()[-1]
    assert last == "web: 4 records: 2 events, 2 rejects, 0 records gave neither"


def test_json(project: Path) -> None:
    """With --json each event and reject is one JSON object, and nothing else is printed."""
    result = run(project, "web", "--json", records=GOOD + b'{"ts":\xff}\n')
    event, reject = (json.loads(line) for line in result.output.splitlines())
    assert event["event"]["event_id"] == "logs/a.json/0/1"
    assert event["event"]["event_ts"] == "2026-11-20T10:00:00+00:00"
    assert reject["reject"]["reason"] == "bad_json"
    assert reject["reject"]["offset"] == 2


def test_sample_over_files(project: Path) -> None:
    """The sample is the first records, from as many files as it takes."""
    (project / "logs" / "b.json").write_bytes(GOOD * 5)
    result = run(project, "web", "--sample", "5", records=GOOD * 3)
    assert "web: 5 records: 5 events" in result.output
    result = run(project, "web", "--sample", "2", records=GOOD * 3)
    assert "web: 2 records: 2 events" in result.output


def test_file(project: Path) -> None:
    """--file reads another file by the source's mapping."""
    other = project / "other.json"
    other.write_bytes(GOOD)
    assert "web: 1 records: 1 events" in run(project, "web", "--file", str(other)).output


def test_all_rejected(project: Path) -> None:
    """Where every record is rejected the status is 1; no records at all is no failure."""
    assert run(project, "web", records=b"{\n" * 3).exit_code == 1
    nothing = run(project, "web")
    assert nothing.exit_code == 0
    assert "no records" in nothing.output


@pytest.mark.parametrize(("name", "part", "status"), [("wbe", "'web'", 2), ("web", "no file", 1)])
def test_errors(project: Path, name: str, part: str, status: int) -> None:
    """A source that is not there, and one without files, are one line that names the fix."""
    config = str(project / "labeling.toml")
    result = CliRunner().invoke(group, ["source", "try", name, "--config", config])
    assert result.exit_code == status
    assert part in result.output


def test_topics(project: Path) -> None:
    """A source of topics shows its first records, and where each one lies."""
    with MockCluster() as mock:
        config = f"""
[cluster.main]
bootstrap = "{mock.bootstrap}"
{CONFIG.replace('files = "logs/*.json"', 'topics = "web"')}"""
        (project / "labeling.toml").write_text(config)
        cluster = Cluster("main", ClusterConfig(bootstrap=mock.bootstrap))
        with TopicWriter(cluster, "web") as writer:
            writer.send([b"u1"] * 3, [GOOD, b"{", GOOD], 1)
            writer.flush(10)
        result = run(project, "web", "--json")
    assert result.exit_code == 0, result.output
    told = [json.loads(line) for line in result.output.splitlines()]
    assert [next(iter(one)) for one in told] == ["event", "event", "reject"]
    assert [(one["event"]["topic"], one["event"]["offset"]) for one in told[:2]] == [
        ("web", 0),
        ("web", 2),
    ]
    assert told[2]["reject"]["reason"] == "bad_json"
