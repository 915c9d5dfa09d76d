"""A partition's batch into one part for every shard.

Always holds: an event goes to the shard ``xxh3_64(user_id) mod shards``, whatever partition it came
from; every shard gets a part, in the order of the shards.

Not promised: that parts are of like size; users are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from labeling.engine.keys import user_key
from labeling.live.items import Batch, Part


def split(batch: Batch, shards: int) -> Iterator[Part]:
    """The parts of a batch, one for each of ``shards``."""
    counting = batch.place.partition % shards
    facts = replace(batch, events=batch.events.clear())
    told = replace(facts, rejects=facts.rejects.clear(), offsets=facts.offsets.clear(), gap=None)
    for shard in range(shards):
        mine = batch.events if shards == 1 else batch.events.filter(of_shard(shard, shards))
        counts = shard == counting
        yield Part(shard, facts if counts else told, mine)


def of_shard(shard: int, shards: int) -> pl.Expr:
    """Whether an event is of a user of the shard."""
    return user_key() % shards == shard
