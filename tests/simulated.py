"""A small simulated log, as the simulator's tests use it.

Always holds: the same arguments give the same frame.

Not promised: that its rates are those of anybody's log.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from labeling.testing.simulator import World, simulate

START: Final = datetime(2026, 11, 20, 6, tzinfo=UTC)
WORLD: Final = World(users=2_000, items=4_000)
#: A day in a dozen chunks.
LONG: Final[dict[str, Any]] = {"events": 60_000, "hours": 24.0, "seed": 5, "start": START}


def log(world: World = WORLD, **given: Any) -> pl.DataFrame:
    """All events of a small log."""
    usual: dict[str, Any] = {"hours": 2.0, "seed": 1, "start": START}
    return pl.concat(simulate(world, **(usual | given)))


def of(frame: pl.DataFrame, kind: str) -> pl.DataFrame:
    """The events of one type."""
    return frame.filter(event_type=kind)


def near(found: float, rate: float, n: int) -> bool:
    """Whether a share of ``n`` coins is within five standard deviations of its rate."""
    return abs(found - rate) < 5 * math.sqrt(rate * (1 - rate) / n)
