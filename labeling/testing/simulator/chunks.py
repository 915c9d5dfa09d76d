"""Traffic: a world's events over a span of time, in chunks that bound memory.

Always holds: the rows are a function of (world, events, hours, seed, start) and of nothing
else, neither of how they are taken nor of the number of threads; exactly ``events`` of them,
all within ``[start, start + hours)``, in the order of (event_ts, event_id) across all chunks;
each event_id once. Memory follows a chunk (a quarter of a million events) and the sessions that
run past its end, not the length of the log.

Not promised: the same rows from another version of NumPy, whose streams may change, or on
another processor, whose exponentials may differ in the last bit; nor that what belongs after
the end (a view's end, a refund) is there. The first minutes are quiet: nobody is in a session
when the log begins.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from labeling.testing.simulator.codes import FIELDS, SERVED_FIELDS, Codes
from labeling.testing.simulator.columns import event_frame, feature_frame
from labeling.testing.simulator.events import draw_events, draw_served
from labeling.testing.simulator.groups import Drawn
from labeling.testing.simulator.sessions import draw_sessions
from labeling.testing.simulator.world import World, stream

HOUR_MS: Final = 3_600_000
CHUNK_EVENTS: Final = 250_000
CHUNK_MS: Final = 900_000
CHUNK_LEAST: Final = 5_000  # events: smaller chunks would cut too many sessions
CHUNKS: Final = 10_000  # ids have four digits for them
BUSIEST_MS: Final = 20 * HOUR_MS  # time of day, UTC
PILOT: Final = 500  # sessions
FOREVER: Final = 1 << 40


@dataclass(frozen=True)
class Chunk:
    """What became complete: events by (event_ts, event_id), features by (served_ts, list)."""

    events: pl.DataFrame
    features: pl.DataFrame | None


@dataclass(frozen=True)
class _Plan:
    """Where chunks begin, how many events start in each, and how many one session gives."""

    edges: NDArray[np.int64]
    quotas: NDArray[np.int64]
    yields: NDArray[np.float64]


def _plan(world: World, events: int, hours: float, seed: int, start_ms: int) -> _Plan:
    """Divide a span into chunks, and its events over them by the daily curve."""
    total_ms = round(hours * HOUR_MS)
    if events < 1 or total_ms < 1:
        raise ValueError(f"simulate(events={events}, hours={hours}): both must be above zero")
    fine = min(math.ceil(total_ms / CHUNK_MS), events // CHUNK_LEAST, CHUNKS)
    count = max(fine, math.ceil(events / CHUNK_EVENTS), 1)
    if count > min(CHUNKS, total_ms):
        most = min(CHUNKS, total_ms) * CHUNK_EVENTS
        raise ValueError(f"simulate(events={events}): at most {most:,} in {hours} h; use parts")
    edges = np.arange(count + 1, dtype=np.int64) * total_ms // count
    middle = (edges[1:] + edges[:-1]) / 2
    # Sessions that start near the end give fewer events: a pilot tells how many fewer.
    drawn = Drawn(*draw_sessions(world, stream(seed, 0), PILOT, 0, 1), base=0)
    pilot = draw_events(world, stream(seed, 1), drawn, 0, end=FOREVER, most=FOREVER).ts
    yields = np.maximum(np.searchsorted(pilot, total_ms - middle), 1) / PILOT
    of_day = (start_ms + middle - BUSIEST_MS) * (2 * math.pi / (24 * HOUR_MS))
    share = np.cumsum(np.diff(edges) * yields * (1.0 + world.daily_curve * np.cos(of_day)))
    quotas = np.diff(np.round(share / share[-1] * events).astype(np.int64), prepend=0)
    return _Plan(edges, quotas, yields)


class _Spill:
    """Rows in time order, kept by the chunk that their time lies in until it is complete."""

    def __init__(self, edges: NDArray[np.int64], fields: int) -> None:
        self._edges, self._fields = edges, fields
        self._parts: dict[int, list[Codes]] = defaultdict(list)

    def add(self, codes: Codes, now: int) -> None:
        cuts = np.searchsorted(codes.ts, self._edges).tolist()
        for chunk in np.flatnonzero(np.diff(cuts)).tolist():
            part = codes.cut(cuts[chunk], cuts[chunk + 1])
            self._parts[chunk].append(part if chunk == now else part.copy())

    def take(self, chunk: int) -> Codes:
        return Codes.merged(self._parts.pop(chunk, []), self._fields)


def _blocks(world: World, plan: _Plan, seed: int, chunk: int) -> Iterator[tuple[Drawn, Codes]]:
    """Blocks of sessions that start in a chunk, until its quota of events is met exactly."""
    left, base, block = int(plan.quotas[chunk]), 0, 0
    start, end = (int(edge) for edge in plan.edges[chunk : chunk + 2])
    while left > 0:
        rng = stream(seed, 2, chunk, block)
        n = math.ceil(left / plan.yields[chunk] * 1.02) + 8
        drawn = Drawn(*draw_sessions(world, rng, n, start, end), base=base)
        kept = draw_events(world, rng, drawn, chunk, end=int(plan.edges[-1]), most=left)
        base += max(drawn.numbers, len(kept))
        left, block = left - len(kept), block + 1
        yield drawn, kept


def traffic(
    world: World, *, events: int, hours: float, seed: int, start: datetime, features: bool = False
) -> Iterator[Chunk]:
    """Chunks of events, and of what the ranking service logged, as they become complete.

    Args:
        world: sizes, rates and coefficients.
        events: how many, exactly.
        hours: how long; the first event is at or after ``start``, the last before its end.
        seed: of the traffic; the items are the world's.
        start: with a timezone.
        features: also make ``Chunk.features``: a row per item of each list of which
            at least one item was seen, with the columns of ``FEATURE_SCHEMA``.

    Yields:
        Chunks whose events have the columns of ``event_schema(EXTRA_COLUMNS)``.

    Raises:
        ValueError: a start without a timezone, no events, no time, or more events than the
            ids can number.

    >>> noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    >>> sum(c.events.height for c in traffic(World(), events=99, hours=1, seed=1, start=noon))
    99
    """
    if start.tzinfo is None:
        raise ValueError(f"simulate(start={start}): give a timezone, such as UTC")
    start_ms = round(start.astimezone(UTC).timestamp() * 1_000)
    plan = _plan(world, events, hours, seed, start_ms)
    happened = _Spill(plan.edges, len(FIELDS))
    served = _Spill(plan.edges, len(SERVED_FIELDS))
    for chunk in range(len(plan.quotas)):
        for drawn, kept in _blocks(world, plan, seed, chunk):
            happened.add(kept, chunk)
            if features:
                served.add(draw_served(drawn, kept, chunk), chunk)
        logged = feature_frame(served.take(chunk), start_ms, world) if features else None
        yield Chunk(event_frame(happened.take(chunk), start_ms, world), logged)


def simulate(
    world: World, *, events: int, hours: float, seed: int, start: datetime
) -> Iterator[pl.DataFrame]:
    """The events alone; arguments and errors are those of :func:`traffic`.

    >>> noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    >>> first = next(simulate(World(), events=99, hours=1, seed=1, start=noon))
    >>> first["event_ts"].is_sorted()
    True
    """
    for chunk in traffic(world, events=events, hours=hours, seed=seed, start=start):
        yield chunk.events
