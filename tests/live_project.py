"""A project whose events come from Kafka: its configuration, what is produced, what it became.

Always holds: topics are the project's own, named after a number that no other has; what is asked of
the store is asked while nothing writes.

Not promised: a flow. ``run`` drives one in this process; ``tests.live_process`` in another.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import polars as pl
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, TopicPartition

from labeling.cli.main import group
from labeling.cli.running import Running
from labeling.config import Config, load_config, load_rules, load_tree
from labeling.io.archive import Archive
from labeling.io.store import Store
from labeling.model.kinds import Rule
from labeling.model.table import RuleTable, table_of
from tests.kafka_broker import Broker
from tests.replay_project import event as record
from tests.replay_project import same_modules

_NUMBER: Final = count()
_HEAD: Final = """
rules = "{rules}"
store = "store.duckdb"
archive = "archive"
lateness = "{lateness}"
hot_horizon = "{horizon}"
[cluster.main]
bootstrap = "{bootstrap}"
[live]
endpoint = "127.0.0.1:0"
"""


@dataclass
class LiveProject:
    """A folder with a configuration of one or several sources.

    Args:
        folder: empty.
        broker: where the topics are.
        rules: as in the configuration.
        columns: declared columns.
        live: of ``[live]``, as TOML values.
    """

    folder: Path
    broker: Broker
    rules: str = "tests.live_rules:RULES"
    columns: Mapping[str, str] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)
    lateness: str = "10m"
    horizon: str = "2h"
    more: str = ""
    _sources: dict[str, dict[str, Any]] = field(default_factory=dict)

    def source(
        self, name: str = "app", partitions: int = 1, *, topic: str = "", **settings: Any
    ) -> str:
        """A source of one new topic, or of ``topic``; the topic's name."""
        name_of_topic = topic or self.topic(name, partitions)
        self._sources[name] = {"topics": [name_of_topic], "max_disorder": "1m", **settings}
        self.write()
        return name_of_topic

    def topic(self, name: str, partitions: int = 1, **config: str) -> str:
        """A new topic."""
        dotted = {k.replace("_", "."): v for k, v in config.items()}
        return self.broker.create_topic(f"live-{name}-{next(_NUMBER)}", partitions, dotted)

    def write(self, **live: Any) -> None:
        """Write the configuration anew, with further settings of ``[live]``."""
        self.live |= live
        text = _HEAD.format(
            rules=self.rules,
            bootstrap=self.broker.bootstrap,
            lateness=self.lateness,
            horizon=self.horizon,
        )
        text += "".join(f"{k} = {json.dumps(v)}\n" for k, v in self.live.items())
        if self.columns:
            text += "[columns]\n" + "".join(f'{k} = "{v}"\n' for k, v in self.columns.items())
        for name, settings in self._sources.items():
            text += f'[[source]]\nname = "{name}"\n'
            text += "".join(f"{k} = {json.dumps(v)}\n" for k, v in settings.items())
        self.file.write_text(text + self.more)

    @property
    def file(self) -> Path:
        """The configuration's file."""
        return self.folder / "labeling.toml"

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return load_config(self.file)

    def loaded_rules(self) -> tuple[Rule, ...]:
        """The rules that it names."""
        with same_modules():
            return load_rules(self.config)

    def loaded_tables(self) -> tuple[RuleTable, ...]:
        """The tables of its rules and of its samples."""
        with same_modules():
            tree = load_tree(self.config)
        return (*map(table_of, tree.rules), *(sample.table for sample in tree.samples))

    def produce(
        self, topic: str, events: Iterable[Mapping[str, Any] | bytes], partition: int = 0
    ) -> None:
        """Events as JSON; bytes as they are."""
        values = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in events]
        self.broker.produce(topic, values, partition=partition)

    def run(self, *restart: str, stop: threading.Event | None = None) -> list[str]:
        """Run in this process until caught up; what it says."""
        with same_modules():
            tree = load_tree(self.config)
        running = Running(self.config, tree, stop or threading.Event())
        return list(running.run(until_caught_up=True, restart=restart))

    def command(self, *args: str) -> Result:
        """Run ``labeling``."""
        with same_modules():
            return CliRunner().invoke(group, [*args, "--config", str(self.file)])

    def query(self, sql: str) -> pl.DataFrame:
        """Ask the store, which nobody has open."""
        with Store.open(self.config.store, read_only=True) as store:
            return store.query(sql)

    def counts(self) -> dict[str, int]:
        """The totals of all sources: records, events and the four outcomes."""
        names = ("records", "events", "rejected", "too_late", "duplicate", "accepted")
        sums = ", ".join(f"CAST(coalesce(sum({n}), 0) AS BIGINT) AS {n}" for n in names)
        return self.query(f"SELECT {sums} FROM counts").row(0, named=True)

    def archived(self) -> pl.DataFrame:
        """Every archived event, by identity."""
        config = self.config
        with Store.open(config.store, read_only=True) as store:
            frame = Archive(config.archive, config.columns).read(store.files())
        return frame.sort("event_ts", "user_id", "event_id", "offset")

    def parquet_files(self) -> list[str]:
        """Names of the files in the archive's folder, unfinished ones too."""
        root = self.config.archive
        files = (p for p in root.rglob("*.parquet*") if p.is_file())
        return sorted(p.relative_to(root).as_posix() for p in files)

    def consumed(self, topic: str) -> list[tuple[bytes, bytes]]:
        """Keys and values of a topic, by partition."""
        settings: dict[str, Any] = {
            "bootstrap.servers": self.broker.bootstrap, "group.id": "test",
            "enable.auto.commit": False, "enable.partition.eof": True,
        }  # fmt: skip
        consumer = Consumer(settings)
        found: list[tuple[bytes, bytes]] = []
        try:
            there = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            open_ends = set(there)
            consumer.assign([TopicPartition(topic, p, 0) for p in there])
            while open_ends:
                for message in consumer.consume(10_000, 1.0):
                    if message.error() is None:
                        found.append((message.key() or b"", message.value() or b""))
                    else:
                        open_ends.discard(message.partition() or 0)
        finally:
            consumer.close()
        return found


def event(kind: str, second: float, user: str = "u", **more: Any) -> dict[str, Any]:
    """An event some seconds after ten o'clock, as it is produced."""
    told = record(kind, second, user)
    names = {"id": "event_id", "ts": "event_ts", "type": "event_type", "user": "user_id"}
    return {names.get(k, f"{k}_id"): v for k, v in told.items()} | more


def shows(first: int, last: int, every: int = 10) -> list[dict[str, Any]]:
    """An impression of a user of its own every ten seconds, and a click a second later."""
    return [
        event(kind, second + after, f"u{second}")
        for second in range(first, last, every)
        for kind, after in (("show", 0), ("click", 1))
    ]
