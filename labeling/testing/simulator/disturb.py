"""From the order of happening to the order of arriving.

Always holds: every event arrives at least once, and those neither repeated nor late exactly once.
Apart from late ones, an event (or its repeat) never arrives after one whose ``event_ts`` is more
than ``disorder_ms`` later. The result is a function of the events and the arguments, not of
how the events are divided into frames.

Not promised: that a late event is too late for anybody; that depends on what else was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from labeling.testing.simulator.world import stream

ARRIVAL = "_arrival_ms"


@dataclass(frozen=True)
class _Draws:
    """One stream per question, so that each event gets its own answers in any framing."""

    seed: int
    disorder_ms: int
    duplicates: float
    late: float
    late_by_ms: int

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        for name in ("duplicates", "late"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"disturb({name}={getattr(self, name)}): a share from 0 to 1")
        if self.disorder_ms < 0 or self.late_by_ms < 0:
            raise ValueError(
                f"disturb(disorder_ms={self.disorder_ms}, late_by_ms={self.late_by_ms}): "
                "neither may be negative"
            )
        if self.late and not self.late_by_ms:
            raise ValueError(f"disturb(late={self.late}): say by how much with late_by_ms")

    def streams(self) -> list[np.random.Generator]:
        """Delay, is late, late by, is repeated, repeat's delay."""
        return [stream(self.seed, 3, question) for question in range(5)]

    def arrivals(
        self, streams: list[np.random.Generator], ts: NDArray[np.int64]
    ) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """The row of each arrival (a repeat follows its row) and when it arrives."""
        delay, is_late, late_by, repeated, again = (rng.random(len(ts)) for rng in streams)
        bound = ts + self.disorder_ms
        on_time = ts + (delay * (self.disorder_ms + 1)).astype(np.int64)
        late = bound + 1 + (late_by * self.late_by_ms).astype(np.int64)
        first = np.where(is_late < self.late, late, on_time)
        room = np.maximum(bound - first, 0)
        second = first + (again * (room + 1)).astype(np.int64)
        twice = repeated < self.duplicates
        rows = np.repeat(np.arange(len(ts)), 1 + twice)
        when = first[rows]
        repeats = np.flatnonzero(rows[1:] == rows[:-1]) + 1
        when[repeats] = second[twice]
        return rows, when


def disturb(
    frames: Iterable[pl.DataFrame],
    *,
    seed: int,
    disorder_ms: int = 0,
    duplicates: float = 0.0,
    late: float = 0.0,
    late_by_ms: int = 0,
) -> Iterator[pl.DataFrame]:
    """Events in the order in which they would arrive.

    Args:
        frames: events in the order of ``event_ts`` within and across frames, with any columns.
        seed: of the delays.
        disorder_ms: every event waits for a time uniform in ``[0, disorder_ms]``.
        duplicates: share of events that arrive a second time, within the same bound.
        late: share of events that wait for more than ``disorder_ms``.
        late_by_ms: how much more at most.

    Yields:
        Frames with the columns given; equal arrivals stay in the order of the input.

    Raises:
        ValueError: a share outside 0 to 1, a negative time, late events without
            ``late_by_ms``, or frames out of the order of ``event_ts``.

    >>> events = pl.DataFrame({"event_ts": [1, 2, 3]}).cast(pl.Datetime("ms", "UTC"))
    >>> sum(f.height for f in disturb([events], seed=1, disorder_ms=10, duplicates=1.0))
    6
    """
    draws = _Draws(seed, disorder_ms, duplicates, late, late_by_ms)
    streams = draws.streams()
    held: pl.DataFrame | None = None
    reached: int | None = None
    for frame in frames:
        if frame.is_empty():
            continue
        ts = frame["event_ts"].to_physical().to_numpy()
        if (np.diff(ts) < 0).any() or (reached is not None and ts[0] < reached):
            raise ValueError("disturb: frames out of the order of event_ts; sort them first")
        reached = int(ts[-1])
        rows, when = draws.arrivals(streams, ts)
        new = frame if len(rows) == frame.height else frame[rows]
        new = new.with_columns(pl.Series(ARRIVAL, when))
        every = (new if held is None else pl.concat([held, new])).sort(ARRIVAL, maintain_order=True)
        # What is still to come arrives at or after the last time seen.
        ready = int(every[ARRIVAL].search_sorted(reached))
        held = every[ready:]
        if ready:
            yield every[:ready].drop(ARRIVAL)
    if held is not None and held.height:
        yield held.drop(ARRIVAL)
