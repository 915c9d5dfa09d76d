"""Rows kept in a few sorted runs: added in batches, found by key, dropped by age.

Always holds: what is found by a key is every held row of that key and no other; how rows are cut
into runs changes nothing that is found but its order.

Not promised: that a row is gone once it is old. It goes with its run, when all of that is old.

Runs of like size are merged, so that there are few, and never past ``_LARGEST`` rows, so that
adding never stalls for long and age drops whole runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

#: So many neighbours of one size class become one run.
_FAN_IN: Final = 6
_LARGEST: Final = 8_000_000


@dataclass(frozen=True)
class Run:
    """Rows sorted by ``user_key``, with the span of their ``event_ts`` in epoch milliseconds."""

    rows: pl.DataFrame
    keys: npt.NDArray[np.uint64]
    low_ms: int
    high_ms: int

    @staticmethod
    def of(rows: pl.DataFrame) -> Run:
        """A run of rows in any order; at least one."""
        ordered = rows.sort("user_key").rechunk()
        low, high = ordered.select(
            low=pl.col("event_ts").min().dt.epoch("ms"),
            high=pl.col("event_ts").max().dt.epoch("ms"),
        ).row(0)
        return Run(ordered, ordered["user_key"].to_numpy(), low, high)

    def at(self, keys: npt.NDArray[np.uint64], low_ms: int, high_ms: int) -> pl.DataFrame:
        """The rows of the keys (sorted, distinct) whose time is within the span, ends inclusive."""
        first = np.searchsorted(self.keys, keys, "left")
        counts = np.searchsorted(self.keys, keys, "right") - first
        total = int(counts.sum())
        starts = np.cumsum(counts) - counts
        index = np.arange(total) + np.repeat(first - starts, counts)
        if low_ms > self.low_ms or high_ms < self.high_ms:
            at = self.rows["event_ts"].to_physical().to_numpy()[index]
            index = index[(at >= low_ms) & (at <= high_ms)]
        found: pl.DataFrame = self.rows[index]
        return found


@dataclass(frozen=True)
class Runs:
    """Held rows of one shape, ``user_key`` and ``event_ts`` among their columns."""

    schema: pl.Schema
    runs: tuple[Run, ...] = ()

    @property
    def height(self) -> int:
        """How many rows are held."""
        return sum(run.rows.height for run in self.runs)

    @property
    def nbytes(self) -> int:
        """Estimated bytes of the columns held."""
        return sum(int(run.rows.estimated_size()) for run in self.runs)

    def add(self, rows: pl.DataFrame) -> Runs:
        """With more rows."""
        if rows.is_empty():
            return self
        runs = [*self.runs, Run.of(rows.select(self.schema.names()))]
        while _mergeable(tail := runs[-_FAN_IN:]):
            runs[-_FAN_IN:] = [Run.of(pl.concat([r.rows for r in tail]))]
        return replace(self, runs=tuple(runs))

    def drop_before(self, low_ms: int) -> Runs:
        """Without the runs that are older altogether."""
        return replace(self, runs=tuple(r for r in self.runs if r.high_ms >= low_ms))

    def find(self, keys: npt.NDArray[np.uint64], low_ms: int, high_ms: int) -> pl.DataFrame:
        """Held rows of the keys (sorted, distinct) in a span of ``event_ts``, ends inclusive."""
        near = [r for r in self.runs if r.low_ms <= high_ms and r.high_ms >= low_ms]
        found = [r.at(keys, low_ms, high_ms) for r in near]
        return pl.concat([pl.DataFrame(schema=self.schema), *found])


def _mergeable(tail: Sequence[Run]) -> bool:
    """Whether the last runs are enough, of like size, and small enough together."""
    sizes = [run.rows.height for run in tail]
    return len(sizes) == _FAN_IN and max(sizes) <= _FAN_IN * sizes[-1] and sum(sizes) <= _LARGEST
