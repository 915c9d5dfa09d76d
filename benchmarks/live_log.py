"""What the live benchmark reads: a log in topics, its features beside, and the project for it.

Always holds: records of both go round their partitions in the order of arrival; features are ten
for each list shown, of the size asked for.

Not promised: that a ranker logs as many. One that logs only what it shows has six to ten.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import commands, data, topic
from labeling.testing.simulator import Disturbance, FeatureLog, World, features_path, write_log
from tests.kafka_broker import Broker

MARKERS: Final = "markers"


@dataclass(frozen=True)
class Kind:
    """What is measured beside plain rules; see ``run``."""

    rules: str = "note_labels"
    partitions: int = 4
    features: int = 0
    rollups: bool = False
    markers: bool = False
    samples: str = ""

    def __post_init__(self) -> None:
        """Refuse samples of nothing."""
        if self.samples and not self.features:
            raise ValueError(f"--samples {self.samples}: they need features; add --features 1000")

    def topics(self, broker: Broker, name: str) -> None:
        """Make the topics of a log."""
        broker.create_topic(name, self.partitions)
        if self.features:
            broker.create_topic(served(name), self.partitions)

    def fill(self, broker: Broker, name: str, log: Path) -> None:
        """Send a log, and its features."""
        topic.fill(broker.bootstrap, name, log, self.partitions)
        if self.features:
            topic.fill(broker.bootstrap, served(name), features_path(log), self.partitions)


def served(name: str) -> str:
    """The topic of features beside one of events."""
    return f"{name}-features"


def write(log: Path, events: int, hours: float, seed: int, kind: Kind) -> None:
    """Write a log, and its features beside where they are asked for."""
    write_log(
        World(), log, events=events, hours=hours, seed=seed, start=data.START, form="jsonl",
        disturbance=Disturbance(disorder_ms=30_000),
        features=FeatureLog(record_bytes=kind.features) if kind.features else False,
    )  # fmt: skip


def project(folder: Path, broker: Broker, name: str, kind: Kind) -> Path:
    """A configuration of one topic, and one of features, with shipped rules."""
    folder.mkdir(parents=True)
    data.project(
        folder, form="jsonl", rules=kind.rules, features=kind.features, rollups=kind.rollups
    )
    config = folder / "labeling.toml"
    text = config.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("files")]
    at = lines.index("[[source]]")
    live = ["[live]", 'endpoint = "127.0.0.1:0"']
    live += [f'markers_topic = "{MARKERS}"'] * kind.markers
    if kind.samples:
        told = f"{folder.name}-samples"
        broker.create_topic(told, kind.partitions)
        live += ["", "[[samples]]", 'rule = "note_samples"', f'topic = "{told}"']
        live += [f'format = "{kind.samples}"']
    lines[at:at] = ["[cluster.main]", f'bootstrap = "{broker.bootstrap}"', "", *live, ""]
    for source, read in ((data.SOURCE, name), (data.RANKER, served(name))):
        named = f'name = "{source}"'
        if named in lines:
            lines.insert(lines.index(named), f'topics = ["{read}"]')
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@contextmanager
def producing(
    broker: Broker, log: Path, kind: Kind, rate: float, seconds: int
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Producers of a log, and of its features in the same time."""
    sent = [("steady", log, rate)]
    if kind.features:
        beside = features_path(log)
        with beside.open("rb") as lines:
            sent.append((served("steady"), beside, sum(1 for _ in lines) / seconds))
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                subprocess.Popen(
                    [
                        sys.executable, "-m", "benchmarks.topic", broker.bootstrap, name, str(file),
                        "--partitions", str(kind.partitions), "--rate", str(each),
                    ],
                    cwd=commands.ROOT,
                    stdout=subprocess.PIPE,
                )
            )
            for name, file, each in sent
        ]  # fmt: skip
