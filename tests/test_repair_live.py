"""Repairs beside a live flow, over librdkafka's own small cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

import pytest
from confluent_kafka import Producer

from labeling.io.kafka import MockCluster
from labeling.io.kafka.mock import PARTITIONS
from labeling.io.remote.live import read_live
from tests.kafka_broker import Broker
from tests.live_process import flow
from tests.live_project import LiveProject, event


class MockBroker:
    """What ``LiveProject`` asks of a broker, of a mock cluster."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def create_topic(self, name: str, *_: Any) -> str:
        """Made by the first client that names it."""
        self.produce(name, ())
        return name

    def produce(self, topic: str, values: Sequence[bytes], partition: int = 0) -> None:
        """Write records."""
        producer = Producer({"bootstrap.servers": self.bootstrap})
        producer.list_topics(topic, timeout=10)
        for value in values:
            producer.produce(topic, value, partition=partition)
        producer.flush(10)
        producer.close()


@pytest.fixture
def mock() -> Iterator[Broker]:
    """A mock cluster."""
    with MockCluster() as one:
        yield cast("Broker", MockBroker(one.bootstrap))


def send(project: LiveProject, topic: str, until: float, *events: dict[str, Any]) -> None:
    """Events, and one of nobody in each partition, which moves the watermark to a time."""
    project.produce(topic, events)
    for partition in range(PARTITIONS):
        project.produce(topic, [event("tick", until, f"nobody{partition}")], partition)


def test_cold_rules_are_published_beside_the_flow(mock: Broker, tmp_path: Path) -> None:
    """Repairs hand rows to the flow; what came late and too late is set right; all can be seen."""
    project = LiveProject(
        tmp_path, mock, rules="tests.repair_project:RULES",
        live={"batch": "20ms", "repair_every": "1s"},
    )  # fmt: skip
    topic = project.source(max_disorder="1m")
    hour = 3600
    send(project, topic, 2 * hour, event("show", 0), event("click", 60))
    with flow(project) as one:
        cold = "SELECT count(*) AS n FROM repairs WHERE f_ms IS NOT NULL AND bytes > 0"
        one.until(cold, lambda f: f["n"][0] == 3)
        one.until("SELECT count(*) AS n FROM bought_v1", lambda f: f["n"][0] == 1)
        # Too late for the stream, and for what repairs have published.
        send(project, topic, 7 * hour, event("click", 120), event("buy", hour))
        late = "SELECT count(*) AS n FROM label_changes WHERE rule = 'bought' AND reason = 'late'"
        one.until(late, lambda f: f["n"][0] == 1)
        healed = (
            "SELECT count(*) AS n FROM label_changes WHERE rule = 'shown' AND reason = 'replay'"
        )
        one.until(healed, lambda f: f["n"][0] == 1)
        one.until("SELECT bought FROM bought_v1", lambda f: f["bought"].to_list() == [True])
        one.until("SELECT count(*) AS n FROM causes_v1", lambda f: f["n"][0] == 3)
        assert "bytes_a_row" in project.command("status").output
        live = read_live(project.config.store)
        assert live is not None
        with urlopen(f"http://{live.address}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        assert 'labeling_cold_watermark_seconds{rule="bought@1"}' in metrics
        assert 'labeling_repair_bytes_total{rule="causes@1"}' in metrics
        one.stop()
    assert "bought@1 is cold" in one.said
    rows = project.query("SELECT clicks, bought FROM bought_v1").rows()
    assert rows == [(2, True)]


def test_a_flow_of_cold_rules_alone_archives(mock: Broker, tmp_path: Path) -> None:
    """No rule is hot: the flow takes events in, and repairs publish."""
    project = LiveProject(
        tmp_path, mock, rules="tests.repair_project:COLD",
        live={"batch": "20ms", "repair_every": "1s"},
    )  # fmt: skip
    topic = project.source(max_disorder="1m")
    send(project, topic, 7200, event("show", 0), event("show", 0))
    with flow(project) as one:
        one.until("SELECT count(*) AS n FROM bought_v1", lambda f: f["n"][0] == 1)
        one.stop()
    assert project.counts()["duplicate"] == 1
