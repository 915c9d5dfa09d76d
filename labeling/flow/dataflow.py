"""The live flow as a Bytewax dataflow.

Always holds: Bytewax moves, shards and schedules, and decides nothing else. A round of batches is
one epoch: the next begins when this one has been committed everywhere, so that at most one is on
its way, and one read ahead. Nothing is kept in Bytewax's recovery: the store and the archive are.

Bytewax sends a key where its hash says, which is uneven for few keys: the shards' keys are chosen
so that shard ``n`` goes to process ``n`` modulo the processes.

Not promised: the text of an error in a cluster: Bytewax loses it, so each is logged where it
happens, and kept in ``Flow.failure``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.testing import cluster_main

from labeling.flow.places import shard_keys
from labeling.live.ahead import Ahead
from labeling.live.archiver import Archiver
from labeling.live.items import Batch, Bundle, Part, Result
from labeling.live.patience import Patience
from labeling.live.shard import Shard
from labeling.live.split import split

_LOG: Final = logging.getLogger("labeling")
_STORE: Final = "store"


@dataclass
class Flow:
    """The stages of one process of a flow.

    Args:
        ahead: reads this process's partitions.
        shards: how many there are in all.
        open_shard: a shard by its number, its memory restored.
        archiver: writes this process's files.
        commit: takes bundles into the store; None in a process that does not hold it.
        stopping: whether to end after the round at hand.
        patience: how to wait for what is outside.
    """

    ahead: Ahead
    shards: int
    open_shard: Callable[[int], Shard]
    archiver: Archiver
    commit: Callable[[Sequence[Bundle]], object] | None
    stopping: Callable[[], bool]
    patience: Patience
    failure: BaseException | None = None

    def run(self, addresses: Sequence[str] = (), process: int = 0) -> None:
        """Run until the input ends or a stop is asked for, and all of it is committed.

        Args:
            addresses: of all processes, ``host:port``; none: this is the only one.
            process: the number of this one in them.

        Raises:
            Exception: whatever a stage raised.
        """
        try:
            keys = shard_keys(self.shards, max(1, len(addresses)))
            cluster_main(  # type: ignore[no-untyped-call]  # its stub has no types
                _dataflow(self, keys), list(addresses), process, epoch_interval=timedelta(0)
            )
        except BaseException:
            if self.failure is not None:
                raise self.failure from None
            raise
        finally:
            self.ahead.close()
        if self.failure is not None:
            raise self.failure

    def guarded(self, what: str, action: Callable[[], Any]) -> Any:
        """The result of a stage; an error is kept and logged before Bytewax has it."""
        try:
            return self.patience(what, action)
        except BaseException as error:
            if self.failure is None:
                self.failure = error
                _LOG.error("%s stopped: %s: %s", what, type(error).__name__, error)
            raise


def _dataflow(flow: Flow, keys: Sequence[str]) -> Dataflow:
    stream = Dataflow("labeling")
    parts = op.input("read", stream, _Input(flow, keys))
    results = op.stateful_batch("step", parts, lambda _: _ShardLogic(flow))
    bundles = op.flat_map_batch("archive", results, lambda items: _bundle(flow, items))
    op.output("commit", bundles, _Output(flow))
    return stream


class _Input(DynamicSource[tuple[str, Part]]):
    def __init__(self, flow: Flow, keys: Sequence[str]) -> None:
        self._flow, self._keys = flow, keys

    def build(
        self, step_id: str, worker_index: int, worker_count: int
    ) -> StatelessSourcePartition[tuple[str, Part]]:
        del step_id, worker_index, worker_count
        return _Reading(self._flow, self._keys)


class _Reading(StatelessSourcePartition[tuple[str, Part]]):
    """The partitions of this process; a round of batches at a time."""

    def __init__(self, flow: Flow, keys: Sequence[str]) -> None:
        self._flow, self._keys = flow, keys

    def next_batch(self) -> Iterable[tuple[str, Part]]:
        flow = self._flow
        if flow.stopping() or flow.ahead.done:
            raise StopIteration
        batches: list[Batch] = flow.guarded("reading", flow.ahead.next)
        return [
            (self._keys[part.shard], part)
            for batch in batches
            for part in split(batch, flow.shards)
        ]

    def next_awake(self) -> datetime | None:
        return None


class _ShardLogic(StatefulBatchLogic[Part, Result, None]):
    """One shard; which one, its first part tells."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._shard: Shard | None = None

    def on_batch(self, batch: list[Part]) -> tuple[Iterable[Result], bool]:
        return [self._flow.guarded("stepping", lambda: self._take(batch))], False

    def snapshot(self) -> None:
        """Nothing: the archive is the state."""

    def _take(self, parts: Sequence[Part]) -> Result:
        if self._shard is None:
            self._shard = self._flow.open_shard(parts[0].shard)
        return self._shard.take(parts)


def _bundle(flow: Flow, items: list[tuple[str, Result]]) -> Iterable[tuple[str, Bundle]]:
    results = [result for _, result in items]
    bundle = flow.guarded("archiving", lambda: flow.archiver.bundle(results))
    return [(_STORE, bundle)]


class _Output(FixedPartitionedSink[Bundle, None]):
    """The store, which one process holds."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def list_parts(self) -> list[str]:
        return [_STORE] if self._flow.commit is not None else []

    def build_part(
        self, step_id: str, for_part: str, resume_state: None
    ) -> StatefulSinkPartition[Bundle, None]:
        del step_id, for_part, resume_state
        return _Committing(self._flow)


class _Committing(StatefulSinkPartition[Bundle, None]):
    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def write_batch(self, values: list[Bundle]) -> None:
        commit = self._flow.commit
        if commit is not None:
            self._flow.guarded("committing", lambda: commit(values))

    def snapshot(self) -> None:
        """Nothing: the store is."""
