"""What a start takes over and what it refuses: stores, rules, shards, topics."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from labeling.errors import DataError, StoreError
from tests.kafka_broker import Broker
from tests.live_checks import check
from tests.live_process import flow
from tests.live_project import LiveProject, event, shows
from tests.live_stream import dealt, send, simulated, simulated_project


@pytest.fixture
def project(broker: Broker, tmp_path: Path) -> LiveProject:
    """A project without sources yet."""
    return LiveProject(tmp_path, broker, live={"batch": "20ms", "batch_events": 50})


def test_a_locked_store_is_told(project: LiveProject) -> None:
    """A second flow over the same store ends with who has it, and the first goes on."""
    topic = project.source()
    project.produce(topic, [event("show", 0), event("x", 4_000)])
    with flow(project) as one:
        one.until("SELECT count(*) AS n FROM shown_v1", lambda f: f["n"][0] == 1)
        (project.folder / "second").mkdir()
        second = LiveProject(project.folder / "second", project.broker, live=project.live)
        second.more = ""
        second.source(topic=topic)
        text = second.file.read_text().replace('"store.duckdb"', f'"{project.config.store}"')
        second.file.write_text(text)
        with flow(second) as other:
            assert other.wait() == [1]
            assert f"is in use by process {one.running[0].pid}" in other.said
        one.stop()


def test_a_question_is_in_nobodys_way(project: LiveProject) -> None:
    """A flow that starts while somebody looks into the closed file waits until they have."""
    topic = project.source()
    project.produce(topic, [event("show", 0), event("x", 4_000)])
    project.run()
    script = (
        f"import duckdb, time; c = duckdb.connect({str(project.config.store)!r}, read_only=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"{script}; print('open', flush=True); time.sleep(0.7)"],
        stdout=subprocess.PIPE,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"open\n"
        project.produce(topic, [event("show", 10, "v"), event("x", 5_000)])
        project.run()
    assert project.counts()["records"] == 4


def test_a_lost_store_beside_a_full_archive_is_refused(project: LiveProject) -> None:
    """Starting over would double what is archived: the message names the ways out."""
    topic = project.source()
    project.produce(topic, [event("show", 0), event("x", 4_000)])
    project.run()
    project.config.store.rename(project.folder / "lost.duckdb")
    with pytest.raises(StoreError, match="of another store: restore that store"):
        project.run()
    project.config.store.unlink()
    shutil.move(project.folder / "lost.duckdb", project.config.store)
    project.produce(topic, [event("x", 5_000)])
    project.run()
    check(project)


def test_a_changed_rule_needs_a_version(project: LiveProject) -> None:
    """Another meaning under the same version is refused; both versions run side by side."""
    topic = project.source()
    project.produce(topic, [event("show", 0), event("click", 1), event("x", 4_000)])
    project.run()
    project.rules = "tests.live_rules:CHANGED"
    project.write()
    with pytest.raises(StoreError, match="version"):
        project.run()
    project.rules = "tests.live_rules:TWO_VERSIONS"
    project.write()
    # The second streams from the first whole hour at or after the watermark.
    project.produce(topic, [*shows(7_200, 7_230), event("x", 12_000)])
    project.run()
    assert project.query("SELECT count(*) FROM shown_v1").item() == 4
    assert project.query("SELECT count(*) FROM shown_v2").item() == 3
    since = project.query("SELECT since_ts FROM streams WHERE version = 2").item()
    assert since == datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_the_number_of_shards_changes_over_a_clean_stop(broker: Broker, tmp_path: Path) -> None:
    """One, two, one, two: the same rows; after a crash that left them apart it is refused."""
    records = simulated(8_000)
    quarter = len(records) // 4
    project = simulated_project(tmp_path / "p", broker, partitions=2)
    for part, shards in enumerate((1, 2, 1, 2)):
        project.write(shards=shards)
        send(project, dealt(records[part * quarter : (part + 1) * quarter], (3, 1)))
        project.run()
        check(project)
    assert project.counts()["too_late"] == 0
    send(project, dealt(records[-1_000:], (3, 1)))
    _part(project)
    project.write(shards=3)
    with pytest.raises(StoreError, match="start it once with shards = 2"):
        project.run()
    for shards in (2, 3):
        project.write(shards=shards)
        project.run()
        check(project)


def _part(project: LiveProject) -> None:
    """Leave the two shards at different positions, as a crash of one of two processes can."""
    project.write(batch_events=20)
    for times in range(3, 9):
        with flow(project, processes=2, die=("before the file", times), victim=1) as both:
            assert both.died(), both.said
        apart = project.query(
            "SELECT count(DISTINCT next_offset) AS n FROM positions GROUP BY topic, partition"
        )
        if apart["n"].to_list() != [1, 1]:
            return
    pytest.fail("no crash left the shards apart")


def test_a_topic_made_anew_is_refused(project: LiveProject, broker: Broker) -> None:
    """The old positions mean nothing in it; ``--restart-topic`` reads it from its start."""
    topic = project.source()
    project.produce(topic, [*shows(0, 100), event("x", 4_000)])
    project.run()
    broker.delete_topic(topic)
    broker.create_topic(topic)
    project.produce(topic, [*shows(4_000, 4_100), event("x", 8_000)])
    with pytest.raises(DataError, match=f"labeling run --restart-topic {topic}"):
        project.run()
    project.run(topic)
    assert project.query("SELECT count(*) FROM shown_v1").item() == 20
    assert project.counts()["records"] == 2 * 21
