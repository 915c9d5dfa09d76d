"""Who reads what, where several processes of several machines train.

Always holds: every worker of every rank has a shard of its own, and no shard is without a worker.

Not promised: equal shares. They are as equal as row groups and partitions are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from labeling.samples.batch import Position, Shard, whole


class WorkerInfo(Protocol):
    """What ``torch.utils.data.get_worker_info()`` gives inside a worker."""

    id: int
    num_workers: int


def shard_of(worker: WorkerInfo | None, rank: int = 0, world: int = 1) -> Shard:
    """The shard of a worker.

    Args:
        worker: of a data loader; None: it loads in its own process.
        rank: of this process among those that train.
        world: how many those are.

    Raises:
        ValueError: no such rank.

    >>> shard_of(None, rank=1, world=2)
    (1, 2)
    """
    rank, world = whole((rank, world))
    place, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
    return rank * count + place, world * count


def position_of(positions: Sequence[Position], shard: Shard) -> Position | None:
    """Where a shard goes on, given where all of them ended; None: it begins.

    Of files each shard has a position of its own, of a topic each partition has one.
    """
    of_files = [p for p in positions if "shard" in p]
    if of_files:
        mine = [p for p in of_files if tuple(p["shard"]) == shard]
        others = {tuple(p["shard"])[1] for p in of_files} - {shard[1]}
        if others:
            raise ValueError(
                f"the positions are of {others.pop()} shards, there are {shard[1]}: use as many "
                "workers as before, or begin anew"
            )
        return mine[-1] if mine else None
    merged: dict[str, Any] = {}
    for position in positions:
        merged |= position
    return merged or None
