"""One process of a flow, put together and run.

Always holds: process 0 opens the store, notes the run, serves the endpoint, and commits; the others
learn from it where to begin. Whatever ends the flow, clients are closed and what was sent to topics
is noted where that can still be done.

Not promised: that the processes are those of one flow. The writer refuses results of another run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from labeling.cli.upkeep import Upkeep
from labeling.config.features import FEATURES, waits_of
from labeling.config.rules import Tree
from labeling.config.settings import Config
from labeling.errors import StoreError
from labeling.flow import Flow
from labeling.io.archive import Archive
from labeling.io.endpoint import Endpoint, Limits
from labeling.io.endpoint.server import Pages
from labeling.io.feature_archive import archives, feature_archives, reading_all
from labeling.io.remote import RemoteStore, open_store
from labeling.io.remote.client import Client
from labeling.io.remote.live import read_live
from labeling.io.store import Store
from labeling.io.store.database import MEMORY_BYTES
from labeling.io.swapping import sweep
from labeling.live.ahead import Ahead
from labeling.live.archiver import Archiver
from labeling.live.board import Board
from labeling.live.cold import RepairMetrics, split, take_over
from labeling.live.feed import Feed
from labeling.live.gather import Gather
from labeling.live.items import Bundle
from labeling.live.memory import open_shard
from labeling.live.needs import announce, rates_of, served_rates
from labeling.live.patience import Patience
from labeling.live.resume import Resume, follow, resume
from labeling.live.shard import Shard
from labeling.live.wiring import open_feeds, open_outbox
from labeling.live.writer import Writer
from labeling.model.kinds import Rule
from labeling.products.health.metrics import HealthMetrics

_LOG: Final = logging.getLogger("labeling")
_FLUSH_S: Final = 30.0
#: How long a question to a store that nobody serves may keep its file, about.
_LOOKS_S: Final = 2.0
#: How long the other processes wait for the one that holds the store.
_WAIT_S: Final = 120.0


@dataclass
class Running:
    """A process of a flow.

    Args:
        config: the configuration.
        tree: the operator's rules, samples and rollups.
        stop: set to end after the round at hand.
        process: the number of this one.
        addresses: of all processes; none: this is the only one.
    """

    config: Config
    tree: Tree
    stop: threading.Event
    process: int = 0
    addresses: Sequence[str] = ()
    board: Board = field(default_factory=Board)
    #: Evaluated here, and published by repairs beside the flow.
    rules: Sequence[Rule] = field(init=False)
    cold: Sequence[Rule] = field(init=False)

    def __post_init__(self) -> None:
        """Tell hot rules from cold ones."""
        self.rules, self.cold = split(self.tree.rules, self.config)

    def run(self, *, until_caught_up: bool, restart: Sequence[str] = ()) -> Iterator[str]:
        """Run until the end; what there is to say then, line by line.

        Args:
            until_caught_up: end once the topics are read to their ends of now.
            restart: topics whose positions are forgotten first.

        Raises:
            LabelingError: the flow stopped; the message names the fix.
        """
        with ExitStack() as stack:
            if self.process == 0:
                store = stack.enter_context(self._opened())
                yield from self._hold(stack, store, restart, until_caught_up=until_caught_up)
            else:
                self._follow(stack, until_caught_up=until_caught_up)

    def _opened(self) -> Store:
        """The store; a moment later where somebody looks into its file just now.

        Raises:
            StoreError: it cannot be opened.
        """
        deadline = time.monotonic() + _LOOKS_S
        while True:
            try:
                memory = MEMORY_BYTES + Limits().memory_bytes  # of questions, beside the flow
                return Store.open(self.config.store, memory_bytes=memory)
            except StoreError as error:
                late = time.monotonic() > deadline
                if late or not error.transient or self.stop.wait(_LOOKS_S / 20):
                    raise

    def _hold(
        self, stack: ExitStack, store: Store, restart: Sequence[str], *, until_caught_up: bool
    ) -> Iterator[str]:
        """Run the process that holds the store."""
        for topic in restart:
            with store.commit(f"topic {topic} starts anew") as commit:
                commit.forget_positions(topic)
        take_over(store, self.cold)
        with reading_all(self.config):
            served = [s.name for s in self.config.sources if s.topics and s.kind == FEATURES]
            rates = rates_of(store, self._archive) | served_rates(store, served)
            announce(self.config, self.rules, self.cold, rates, max(1, len(self.addresses)))
            begin = resume(store, self.config, self.rules, waits_of(self.tree.samples))
            shards = self._shards(begin)
        for archive in archives(self.config):
            sweep(store, archive)
        outbox = open_outbox(self.config, store, self.tree)
        stack.callback(outbox.close)
        if sent := outbox.recover():
            _LOG.info("%d records are sent to topics again", sent)
        writer = Writer(
            store,
            self.rules,
            begin,
            outbox,
            rejects_topic=self.config.live.rejects_topic,
        )
        live = self.config.live
        registry = self.board.registry
        registry.register(RepairMetrics(store))
        registry.register(HealthMetrics(store))
        pages = Pages(self.board.health, self.board.status, registry)
        limits = Limits(timeout_ms=live.query_timeout_ms, rows=live.query_rows)
        endpoint = Endpoint(store, live.endpoint, limits=limits, pages=pages)
        stack.enter_context(endpoint)
        _LOG.info("run %d of %s; SQL and metrics at %s", begin.run, store.path, endpoint.address)
        upkeep = Upkeep(self.config, store)
        stack.callback(upkeep.close)
        commits = _Commits(writer, upkeep, self.board)
        # Alone, a process knows all marks by itself, and sooner.
        floor = self.board.floor if len(self.addresses) > 1 else _unknown
        began = time.monotonic()
        self._stream(begin, shards, commits, floor, until_caught_up=until_caught_up)
        events, took = sum(self.board.events.values()), time.monotonic() - began
        _LOG.info(
            "%d events in %.1f s, %.0f a second; %d commits took %.1f s of it",
            events, took, events / max(took, 1e-9), self.board.commits, self.board.commit_s,
        )  # fmt: skip
        outbox.flush(_FLUSH_S)
        for rule in self.rules:
            yield writer.said(rule)

    def _follow(self, stack: ExitStack, *, until_caught_up: bool) -> None:
        """Run another process, which begins where the one with the store says."""
        store, run = self._holder(stack)
        with reading_all(self.config):
            begin = follow(store, self.config, self.rules, run, waits_of(self.tree.samples))
            shards = self._shards(begin)

        def floor() -> int | None:
            told: int | None = store.status()["lowest_source_ms"]
            return told

        self._stream(begin, shards, None, floor, until_caught_up=until_caught_up)

    def _shards(self, begin: Resume) -> dict[int, Shard]:
        """The shards of this process, their memory read back from the archive."""
        began = time.monotonic()
        mine = range(self.process, begin.shards, max(1, len(self.addresses)))
        shards = {n: open_shard(n, begin, self._archive, self.config, self.rules) for n in mine}
        held = sum(shard.state.height for shard in shards.values())
        _LOG.info("%d events are in memory again after %.1f s", held, time.monotonic() - began)
        return shards

    def _holder(self, stack: ExitStack) -> tuple[RemoteStore, int]:
        """The store of the process that holds it, once it answers.

        Raises:
            StoreError: it does not.
        """
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline and not self.stop.wait(0.2):
            live = read_live(self.config.store)
            # Of a process that crashed the file may still lie there; nobody answers then.
            if live is None or Client(live).greet() is None:
                continue
            store = open_store(self.config.store, read_only=True)
            stack.enter_context(store)
            if isinstance(store, RemoteStore):
                return store, live.run
        raise StoreError(
            f"nobody serves {self.config.store}: start process 0 of the flow, on a machine that "
            "shares this folder"
        )

    def _stream(
        self,
        begin: Resume,
        shards: Mapping[int, Shard],
        commits: _Commits | None,
        floor: Callable[[], int | None],
        *,
        until_caught_up: bool,
    ) -> None:
        feeds = self._feeds(begin, hurried=until_caught_up)
        self.board.feeds = feeds
        ends = {f.source.name: f.reader.end_offsets() for f in feeds} if until_caught_up else None
        Flow(
            ahead=Ahead(Gather(feeds, self.config.live, time.monotonic, floor, ends)),
            shards=begin.shards,
            open_shard=shards.__getitem__,
            archiver=Archiver(self._archive, begin, self.process, feature_archives(self.config)),
            commit=commits,
            stopping=self.stop.is_set,
            patience=Patience(self.stop.wait, self._told),
        ).run(self.addresses, self.process)

    def _feeds(self, begin: Resume, *, hurried: bool) -> list[Feed]:
        return open_feeds(
            self.config,
            begin,
            process=self.process,
            processes=max(1, len(self.addresses)),
            clock=time.monotonic,
            now=lambda: datetime.now(UTC),
            hurried=hurried,
        )

    def _told(self, waiting: str | None) -> None:
        self.board.waiting = waiting

    @property
    def _archive(self) -> Archive:
        return Archive(self.config.archive, self.config.columns)


def _unknown() -> None:
    """No other process has marks."""


@dataclass
class _Commits:
    """Commits, and what they tell the board."""

    writer: Writer
    upkeep: Upkeep
    board: Board

    def __call__(self, bundles: Sequence[Bundle]) -> None:
        began = time.monotonic()
        done = self.writer.commit(bundles)
        results = [r for bundle in bundles for r in bundle.results]
        took = time.monotonic() - began
        self.board.committed(results, done.number, done.kinds(), took, round(time.time() * 1000))
        self.upkeep.passed(self.board.lowest_source)
