"""Keys by which Bytewax sends shards where they belong.

Always holds: every process of a flow finds the same keys, one for each shard; shard ``n`` goes to
process ``n`` modulo the processes.

Not promised: the same keys with another release of Bytewax. Nothing keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import get_ident

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import cluster_main


def shard_keys(shards: int, workers: int) -> list[str]:
    """A key for each shard, such that Bytewax sends shard ``n`` to worker ``n % workers``.

    Where a key goes is asked of Bytewax itself, by a small dataflow of as many threads.
    """
    wanted = [n % workers for n in range(shards)]
    if workers == 1:
        return [f"shard-{n}" for n in range(shards)]
    keys: list[str] = []
    tried = 0
    while len(keys) < shards:
        candidates = [f"shard-{n}" for n in range(tried, tried + 16 * shards)]
        tried += len(candidates)
        places = _places(candidates, workers)
        for key in candidates:
            if len(keys) < shards and places[key] == wanted[len(keys)]:
                keys.append(key)
    return keys


def _places(keys: Sequence[str], workers: int) -> dict[str, int]:
    """The worker that each key is sent to."""
    threads: dict[int, int] = {}
    places: dict[str, int] = {}

    class Once(StatelessSourcePartition[tuple[str, None]]):
        def __init__(self, items: list[tuple[str, None]]) -> None:
            self._items = items

        def next_batch(self) -> Iterable[tuple[str, None]]:
            if not self._items:
                raise StopIteration
            items, self._items = self._items, []
            return items

    class Keys(DynamicSource[tuple[str, None]]):
        def build(self, step_id: str, worker_index: int, worker_count: int) -> Once:
            del step_id, worker_count
            threads[get_ident()] = worker_index
            return Once([(key, None) for key in keys] if worker_index == 0 else [])

    class Where(StatefulBatchLogic[None, int, None]):
        def on_batch(self, batch: list[None]) -> tuple[Iterable[int], bool]:
            return [threads[get_ident()] for _ in batch], True

        def snapshot(self) -> None:
            """Nothing."""

    class Note(DynamicSink[tuple[str, int]]):
        def build(self, step_id: str, worker_index: int, worker_count: int) -> Noting:
            del step_id, worker_index, worker_count
            return Noting()

    class Noting(StatelessSinkPartition[tuple[str, int]]):
        def write_batch(self, items: list[tuple[str, int]]) -> None:
            places.update(items)

    asking = Dataflow("places")
    stream = op.input("keys", asking, Keys())
    op.output("note", op.stateful_batch("where", stream, lambda _: Where()), Note())
    cluster_main(asking, [], 0, worker_count_per_proc=workers)  # type: ignore[no-untyped-call]  # its stub has no types
    return places
