"""The simulator's stream as records of a topic.

Always holds: the same arguments give the same records.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from labeling.testing.simulator import Disturbance, FeatureLog, World, features_path, write_log
from tests.kafka_broker import Broker
from tests.live_project import LiveProject
from tests.live_rules import CHAOS

START: Final = datetime(2026, 3, 20, 6, tzinfo=UTC)
#: Few users and items: their events meet.
_WORLD: Final = World(users=300, items=200)
#: Declared columns of the rules.
COLUMNS: Final = {name: kind for rule in CHAOS for name, kind in rule.columns.items()}


_RANKER: Final = """
[[source]]
name = "ranker"
kind = "features"
topics = ["{topic}"]
max_disorder = "1m"
features = {{ slot = "i32", item_quality = "f64", affinity = "f64" }}
[source.map]
request_id = "request_id"
item_id = "item_id"
served_ts = {{ path = "served_ts", unit = "ms" }}
"""


@cache
def simulated(
    events: int, *, seed: int = 1, hours: float = 2.0, late: float = 0.0
) -> tuple[bytes, ...]:
    """Records in the order of arrival: within half a minute, some twice, some bad, some late."""
    way = Disturbance(
        disorder_ms=30_000, duplicates=0.02, bad=0.005, late=late, late_by_ms=1_800_000
    )
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        write_log(
            _WORLD, log, events=events, hours=hours, seed=seed, start=START, form="jsonl",
            disturbance=way,
        )  # fmt: skip
        return tuple(log.read_bytes().splitlines())


@cache
def served(
    events: int, *, seed: int = 1, hours: float = 2.0, late: float = 0.0
) -> tuple[bytes, ...]:
    """What a ranker logged for ``simulated`` of these arguments, in the order of arrival.

    Of some requests nothing, others were never shown; some records come twice, and ``late`` of them
    by up to half an hour.
    """
    log = FeatureLog(
        missing=0.03, unshown=0.03, duplicates=0.02, late=late, late_by_ms=1_800_000
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        file = Path(folder) / "log.jsonl"
        write_log(
            _WORLD, file, events=events, hours=hours, seed=seed, start=START, form="jsonl",
            features=log,
        )  # fmt: skip
        return tuple(features_path(file).read_bytes().splitlines())


def dealt(records: Sequence[bytes], shares: Sequence[int], seed: int = 0) -> list[list[bytes]]:
    """Records over partitions by chance in these shares, each partition in their order."""
    chance = random.Random(seed)
    parts: list[list[bytes]] = [[] for _ in shares]
    for record, part in zip(
        records, chance.choices(range(len(shares)), shares, k=len(records)), strict=True
    ):
        parts[part].append(record)
    return parts


def simulated_project(
    folder: Path,
    broker: Broker,
    topic: str = "",
    partitions: int = 3,
    rules: str = "SIMULATED",
    **live: Any,
) -> LiveProject:
    """A project for the simulator's stream, with topics for changes and rejects.

    Args:
        folder: made if it is not there.
        broker: where the topics are.
        topic: of the events; a new one unless told.
        partitions: of a new one.
        rules: of ``tests.live_rules``.
        live: of ``[live]``.
    """
    folder.mkdir(exist_ok=True)
    project = LiveProject(
        folder, broker, rules=f"tests.live_rules:{rules}", columns=COLUMNS,
        live={"batch": "20ms", "batch_events": 300, **live},
    )  # fmt: skip
    project.live["changes_topic"] = project.topic("changes", 2)
    project.live["rejects_topic"] = project.topic("rejects")
    project.source("app", partitions, topic=topic)
    return project


def with_ranker(project: LiveProject, partitions: int = 3) -> None:
    """Add a source ``ranker`` for what ``served`` gives, and a topic of markers."""
    project.live["markers_topic"] = project.topic("markers")
    topic = project.topic("ranker", partitions)
    project.more += _RANKER.format(topic=topic)
    project.write()


def send(project: LiveProject, parts: Sequence[Sequence[bytes]], source: str = "app") -> None:
    """Records to the partitions of a source's topic."""
    (topic,) = project.config.source(source).topics
    for number, part in enumerate(parts):
        project.produce(topic, part, number)
