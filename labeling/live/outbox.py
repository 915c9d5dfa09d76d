"""Change and reject topics: written after the commit, from what was committed, in order.

Always holds: what a commit has for a topic lies in a file that the same transaction names, until a
later commit notes that the brokers have it; a start sends again whatever is named and not noted.
A consumer that drops repeats by key and revision therefore ends with the store's rows.

Not promised: exactly one delivery. After a crash records may come a second time, in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from labeling.io.durable import write_durably
from labeling.io.kafka import TopicWriter
from labeling.io.store import Commit, Store

#: Appended to the store's name: the folder of files not delivered yet.
SUFFIX: Final = ".outbox"


@dataclass
class Outbox:
    """The topics that a flow writes.

    Args:
        store: of the flow.
        writers: topic to its writer.
    """

    store: Store
    writers: Mapping[str, TopicWriter]
    _named: dict[str, dict[int, str]] = field(default_factory=dict)
    _staged: list[tuple[str, int, pl.DataFrame]] = field(default_factory=list)
    _gone: list[str] = field(default_factory=list)
    _noted: dict[str, int] = field(default_factory=dict)
    _noting: dict[str, int] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.store.path.with_name(self.store.path.name + SUFFIX)

    def recover(self) -> int:
        """Send again what may not have been delivered; how many records.

        Files that no commit names are removed: what they hold was never committed.
        """
        files = self.store.query("FROM outbox ORDER BY commit, name")
        known = set(files["name"].to_list())
        for path in self.folder.glob("*"):
            if path.name not in known:
                path.unlink(missing_ok=True)
        sent = 0
        for name, topic, commit in files.select("name", "topic", "commit").iter_rows():
            if topic in self.writers:
                self._named.setdefault(topic, {})[commit] = name
                records = pl.read_parquet(self.folder / name, glob=False)
                self._send(topic, commit, records)
                sent += records.height
        return sent

    def stage(self, commit: Commit, topic: str, records: pl.DataFrame) -> None:
        """Put a commit's records for a topic, ``key`` and ``value`` (Binary), beside it.

        Raises:
            DataError: the disk refuses.
        """
        if topic not in self.writers or records.is_empty():
            return
        name = f"{commit.number:012d}-{len(self._staged)}.parquet"
        write_durably(records, self.folder / name)
        row = {"name": [name], "topic": [topic], "records": [records.height]}
        commit.add_outbox(pl.DataFrame(row))
        self._staged.append((topic, commit.number, records))
        self._named.setdefault(topic, {})[commit.number] = name

    def begin(self) -> None:
        """Before a commit, also one tried again: nothing is staged for it."""
        for topic, commit, _ in self._staged:
            self._named[topic].pop(commit, None)
        self._staged.clear()
        self._noting.clear()

    def note(self, commit: Commit) -> None:
        """Note in a commit what the brokers have acknowledged."""
        self._gone = []
        for topic, writer in self.writers.items():
            through = writer.delivered()
            if through > self._noted.get(topic, -1):
                commit.set_delivered(topic, through)
                self._noting[topic] = through
            done = [at for at in self._named.get(topic, {}) if at <= through]
            self._gone += [self._named[topic][at] for at in done]
        if self._gone:
            commit.remove_outbox(self._gone)

    def send(self) -> None:
        """After the commit: send what it staged, and delete the files that it let go of."""
        for name in self._gone:
            (self.folder / name).unlink(missing_ok=True)
        gone = set(self._gone)
        for named in self._named.values():
            for at in [at for at, name in named.items() if name in gone]:
                del named[at]
        self._gone = []
        self._noted |= self._noting
        staged, self._staged = self._staged, []
        for topic, commit, records in staged:
            self._send(topic, commit, records)

    def flush(self, timeout_s: float) -> None:
        """Wait until everything sent is acknowledged, and note it."""
        for writer in self.writers.values():
            writer.flush(timeout_s)
        if any(self._named.values()):
            with self.store.commit("topics delivered") as commit:
                self.note(commit)
            self.send()

    def close(self) -> None:
        """Let go of the clusters."""
        for writer in self.writers.values():
            writer.close()

    def _send(self, topic: str, commit: int, records: pl.DataFrame) -> None:
        keys, values = records["key"].to_list(), records["value"].to_list()
        self.writers[topic].send(keys, values, commit)


def change_records(
    rule: str, version: int, commit: int, keys: Sequence[str], changes: pl.DataFrame
) -> pl.DataFrame:
    """Changes of a rule as records: ``key`` (the user) and ``value`` (JSON).

    Args:
        rule: its name.
        version: its version.
        commit: that published them.
        keys: the columns that name a row.
        changes: as ``labeling.engine.changes`` makes them.
    """
    value = pl.struct(
        pl.lit(rule).alias("rule"),
        pl.lit(version).alias("version"),
        *keys,
        "revision",
        "kind",
        "reason",
        "point_ts",
        "old",
        "new",
        pl.lit(commit).alias("commit"),
    )
    return changes.select(
        key=pl.col("user_id").cast(pl.Binary),
        value=value.struct.json_encode().cast(pl.Binary),
    )


def insert_records(inserted: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Rows inserted without a look, as the changes that they are."""
    values = [c for c in inserted.columns if c not in (*keys, "revision", "reason", "point_ts")]
    new = pl.struct(values)
    return inserted.select(
        *keys,
        pl.lit(1, pl.Int32).alias("revision"),
        pl.lit("insert").alias("kind"),
        "reason",
        "point_ts",
        pl.when(pl.lit(value=False)).then(new).alias("old"),
        new.alias("new"),
    )


def reject_records(rejects: pl.DataFrame) -> pl.DataFrame:
    """Rejects as records: ``key`` (topic/partition) and ``value`` (JSON, ``raw`` as base64)."""
    texts = rejects.with_columns(pl.col("raw").bin.encode("base64"))
    return texts.select(
        key=pl.format("{}/{}", "topic", "partition").cast(pl.Binary),
        value=pl.struct(pl.all()).struct.json_encode().cast(pl.Binary),
    )
