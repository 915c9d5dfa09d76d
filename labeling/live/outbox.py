"""Change and reject topics: written after the commit, from what was committed, in order.

Always holds: what a commit has for a topic lies in files that the same transaction names, until a
later commit notes that the brokers have it; a start sends again whatever is named and not noted.
Changes are those of every commit, whether the flow's own or a publication that another process
asked for. A consumer that drops repeats by key and revision therefore ends with the store's rows.

Not promised: exactly one delivery. After a crash records may come a second time, in the same order.
Nor files that are gone: a copy of the store does not have them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

import polars as pl

from labeling.engine.first import first_changes
from labeling.io.durable import write_durably
from labeling.io.store import Commit, Store
from labeling.io.store.listener import Listener, Several
from labeling.live.records import change_records
from labeling.products.attach import listeners

if TYPE_CHECKING:
    from labeling.config.rules import Tree
    from labeling.config.settings import Config
    from labeling.io.kafka import TopicWriter
    from labeling.model.table import RuleTable

_LOG: Final = logging.getLogger("labeling")
#: Appended to the store's name: the folder of files not delivered yet.
SUFFIX: Final = ".outbox"
#: Changes that a transaction holds in memory before it writes a file of them.
_FILE_ROWS: Final = 100_000


@dataclass(frozen=True, slots=True)
class _File:
    """Records of one commit for one topic."""

    name: str
    topic: str
    commit: int
    records: int


@dataclass
class _Open:
    """What the transaction under way has: it is void when that fails.

    ``staged``: its files; ``changes``: records not in a file yet; ``noted``: what it notes as
    delivered.
    """

    staged: list[_File] = field(default_factory=list)
    changes: list[pl.DataFrame] = field(default_factory=list)
    noted: list[_File] = field(default_factory=list)


@dataclass
class Outbox(Listener):
    """The topics that a flow writes.

    Args:
        store: of the flow; this outbox listens to it.
        writers: topic to its writer; without one, files lie until a flow has one.
        changes_topic: what is told of rows; None: nobody is.
    """

    store: Store
    writers: Mapping[str, TopicWriter]
    changes_topic: str | None = None
    _open: _Open = field(default_factory=_Open)
    #: Committed and not sent yet, the files of a commit together.
    _waiting: deque[list[_File]] = field(default_factory=deque)
    #: Sent and not noted as delivered, by topic, with the writer's tokens.
    _sent: dict[str, list[tuple[int, _File]]] = field(default_factory=dict)
    #: Noted as delivered; the files are there still.
    _gone: deque[_File] = field(default_factory=deque)
    _token: int = 0
    #: Publications have threads of their own, a topic's writer is used by one.
    _sending: Lock = field(default_factory=Lock)

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.store.path.with_name(self.store.path.name + SUFFIX)

    def recover(self) -> int:
        """Send again what may not have been delivered; how many records.

        Files that no commit names are removed: what they hold was never committed. Files that are
        gone are told, and named no longer.
        """
        found = self.store.query("FROM outbox ORDER BY commit, name")
        columns = found.select("name", "topic", "commit", "records")
        named = [_File(*row) for row in columns.iter_rows()]
        lying = {path.name for path in self.folder.glob("*")}
        for name in lying.difference(file.name for file in named):
            (self.folder / name).unlink(missing_ok=True)
        self._forget([file for file in named if file.name not in lying])
        again = [f for f in named if f.name in lying and f.topic in self.writers]
        for file in again:
            self._send(file)
        return sum(file.records for file in again)

    def _forget(self, lost: Sequence[_File]) -> None:
        """Let go of files that are gone."""
        if not lost:
            return
        what = (
            f"{sum(file.records for file in lost)} records for "
            f"{', '.join(sorted({file.topic for file in lost}))}, "
            f"of commits {lost[0].commit} to {lost[-1].commit}"
        )
        _LOG.warning(
            "%s: %s, were not noted as delivered when this copy of the store was made, and their "
            "files are not in %s: they are not sent. Who did not get them from the flow that was "
            "copied lacks them, and finds them in the store",
            self.store.path, what, self.folder,
        )  # fmt: skip
        with self.store.commit(f"not sent, their files are gone: {what}") as commit:
            commit.remove_outbox([file.name for file in lost])

    # ---- in a transaction ---------------------------------------------------------------------

    def begin(self) -> None:
        """Nothing is staged yet; what a transaction left that failed is removed."""
        for file in self._open.staged:
            (self.folder / file.name).unlink(missing_ok=True)
        self._open = _Open()

    def publish(self, commit: Commit, table: RuleTable, changes: pl.DataFrame) -> None:
        """Keep changes for the change topic; see ``Listener``."""
        if self.changes_topic is None:
            return
        for part in changes.iter_slices(_FILE_ROWS):
            self._open.changes.append(change_records(table, commit.number, part))
            if sum(frame.height for frame in self._open.changes) >= _FILE_ROWS:
                self.end(commit)

    def publish_first(
        self, commit: Commit, table: RuleTable, rows: pl.DataFrame, updates: pl.DataFrame
    ) -> None:
        """Keep the changes that they are; see ``Listener``."""
        if self.changes_topic is not None:
            self.publish(commit, table, first_changes(table, rows, updates))

    def end(self, commit: Commit) -> None:
        """Put the changes kept so far into a file."""
        if self._open.changes and self.changes_topic is not None:
            self.stage(commit, self.changes_topic, pl.concat(self._open.changes))
            self._open.changes = []

    def stage(self, commit: Commit, topic: str, records: pl.DataFrame) -> None:
        """Put a commit's records for a topic, ``key`` and ``value`` (Binary), beside it.

        Raises:
            DataError: the disk refuses.
        """
        if records.is_empty():
            return
        name = f"{commit.number:012d}-{len(self._open.staged):04d}.parquet"
        self._open.staged.append(_File(name, topic, commit.number, records.height))
        write_durably(records, self.folder / name)
        row = {"name": [name], "topic": [topic], "records": [records.height]}
        commit.add_outbox(pl.DataFrame(row))

    def note(self, commit: Commit) -> None:
        """Note in a commit what the brokers have acknowledged.

        Raises:
            DataError: something could not be delivered.
        """
        with self._sending:
            for topic, writer in self.writers.items():
                through = writer.delivered()
                sent = self._sent.get(topic, [])
                done = [file for token, file in sent if token <= through]
                if done:
                    # The next file may be of the same commit.
                    left = [file.commit - 1 for _, file in sent[len(done) :]]
                    commit.set_delivered(topic, min([done[-1].commit, *left]))
                    self._open.noted += done
        if self._open.noted:
            commit.remove_outbox([file.name for file in self._open.noted])

    def committed(self) -> None:
        """What was staged waits to be sent; what was noted is done with."""
        done, self._open = self._open, _Open()
        if done.staged:
            self._waiting.append(done.staged)
        self._gone.extend(done.noted)

    # ---- after it -----------------------------------------------------------------------------

    def send(self) -> None:
        """Send what was committed, and delete the files of what is delivered."""
        with self._sending:
            gone = {self._gone.popleft() for _ in range(len(self._gone))}
            for topic, sent in self._sent.items():
                self._sent[topic] = [(t, file) for t, file in sent if file not in gone]
            for file in gone:
                (self.folder / file.name).unlink(missing_ok=True)
            while self._waiting:
                for file in self._waiting.popleft():
                    if file.topic in self.writers:
                        self._send(file)

    def flush(self, timeout_s: float) -> None:
        """Wait until everything sent is acknowledged, and note it."""
        self.send()
        with self._sending:
            for writer in self.writers.values():
                writer.flush(timeout_s)
        if any(self._sent.values()):
            with self.store.commit("topics delivered") as commit:
                self.note(commit)
            self.send()

    def close(self) -> None:
        """Let go of the clusters."""
        for writer in self.writers.values():
            writer.close()

    def _send(self, file: _File) -> None:
        records = pl.read_parquet(self.folder / file.name, glob=False)
        self._token += 1
        self._sent.setdefault(file.topic, []).append((self._token, file))
        keys, values = records["key"].to_list(), records["value"].to_list()
        self.writers[file.topic].send(keys, values, self._token)


def listen(
    store: Store, config: Config, tree: Tree, writers: Mapping[str, TopicWriter] | None = None
) -> Outbox:
    """Make products of what is published, and put what topics are told beside the store.

    Args:
        store: open for writing. Where a flow serves it, that one hears of the publications.
        config: names the topics.
        tree: of the configuration.
        writers: of a flow, which sends; without them a flow sends later.
    """
    outbox = Outbox(store, writers or {}, config.live.changes_topic)
    store.listener = Several((*listeners(config, tree, outbox.stage), outbox))
    return outbox
