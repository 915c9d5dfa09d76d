"""Which rows late events can reach, asked for again at the latest point that is published.

Always holds: of every user with such an event all anchors within its reach are asked for, each at
its latest published point, and none twice.

Not promised: that a row asked for changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np
import polars as pl

from backfill.groups import Ask
from backfill.standing import Standing
from labeling.model.kinds import Rule

#: Users whose late events began on the same day are read together.
_TOGETHER_MS: Final = 86_400_000


def late_asks(rule: Rule, standing: Standing, places: pl.DataFrame) -> Iterator[Ask]:
    """What to ask for.

    Args:
        rule: whose rows.
        standing: what is published of them.
        places: ``user_key`` and ``event_ts`` of late events.
    """
    ts = pl.col("event_ts").dt.epoch("ms")
    spans = places.group_by("user_key").agg(low=ts.min(), high=ts.max())
    together = spans.with_columns(day=pl.col("low") // _TOGETHER_MS)
    for _, some in together.sort("day", "user_key").group_by("day", maintain_order=True):
        low, high = some.select(pl.col("low").min(), pl.col("high").max()).row(0)
        first, last = low - rule.looks_ahead_ms, high + rule.looks_back_ms
        yield Ask(
            users=np.sort(some["user_key"].to_numpy()),
            from_ms=first - rule.looks_back_ms,
            to_ms=last + rule.looks_ahead_ms + 1,
            chosen=partial(latest, standing, first, last),
        )


def latest(standing: Standing, first_ms: int, last_ms: int, points: pl.DataFrame) -> pl.DataFrame:
    """Of the anchors of a range, both ends inclusive, each at its latest published point."""
    at = pl.col("event_ts").dt.epoch("ms")
    known = standing.through(points.filter(at.is_between(first_ms, last_ms)))
    passed = known.filter(pl.col("point_ts").dt.epoch("ms") < pl.col("through"))
    ordered = passed.sort("row", "point_ts").drop("through")
    return ordered.unique("row", keep="last", maintain_order=True)
