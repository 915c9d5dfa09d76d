"""Entries kept in a few sorted runs: a key, a time, and where the row of it stands.

Always holds: what is found by a key is every held entry of that key and no other; how entries are
cut into runs changes nothing that is found but its order.

Not promised: that an entry is gone once it is old. It goes with its run, when all of that is old.

Runs of like size are merged, so that there are few, and never past ``_LARGEST`` entries, so that
adding never stalls for long and age drops whole runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

#: So many neighbours of one size class become one run.
_FAN_IN: Final = 6
_LARGEST: Final = 8_000_000
_NARROW: Final = 2**32
#: At least so many marks by entry of a run, to tell what it does not hold.
_MARKS: Final = 2
Keys = npt.NDArray[np.uint64]
Whole = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Entries:
    """Parallel arrays: ``keys``, ``times`` in epoch milliseconds, ``rows`` as the log counts."""

    keys: Keys
    times: Whole
    rows: Whole

    @staticmethod
    def joined(parts: Sequence[Entries]) -> Entries:
        """All of them, one part behind the other."""
        if not parts:
            return Entries(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64))
        keys, times, rows = (
            np.concatenate([getattr(p, name) for p in parts]) for name in ("keys", "times", "rows")
        )
        return Entries(keys, times, rows)

    def at(self, places: Places | Mask) -> Entries:
        """Those at some places."""
        return Entries(self.keys[places], self.times[places], self.rows[places])


@dataclass(frozen=True)
class Run:
    """Entries by key and time; times and rows count from ``low_ms`` and ``base``."""

    keys: Keys
    times: npt.NDArray[Any]
    rows: npt.NDArray[Any]
    low_ms: int
    high_ms: int
    base: int

    @staticmethod
    def of(entries: Entries) -> Run:
        """A run of entries in any order; at least one."""
        ordered = entries.at(_by_key_and_time(entries.keys, entries.times))
        low, high = int(entries.times.min()), int(entries.times.max())
        base = int(entries.rows.min())
        times, rows = (_narrow(ordered.times, low), _narrow(ordered.rows, base))
        return Run(ordered.keys, times, rows, low, high, base)

    @cached_property
    def marked(self) -> Mask:
        """A mark at the low bits of each key: most that are not there are told by one look."""
        size = 1 << (_MARKS * len(self.keys)).bit_length()
        marks = np.zeros(size, np.bool_)
        marks[self.keys & np.uint64(size - 1)] = True
        return marks

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        marks = self.__dict__.get("marked", self.keys[:0])
        arrays = (marks, self.keys, self.times, self.rows)
        return sum(int(a.nbytes) for a in arrays)

    def entries(self, places: Places | slice = slice(None)) -> Entries:
        """Those at some places."""
        times = self.times[places].astype(np.int64) + self.low_ms
        return Entries(self.keys[places], times, self.rows[places].astype(np.int64) + self.base)

    def of_keys(self, keys: Keys, low_ms: int, high_ms: int) -> Entries:
        """The entries of the keys (sorted, distinct) within a span, ends inclusive."""
        first = np.searchsorted(self.keys, keys, "left")
        counts = np.searchsorted(self.keys, keys, "right") - first
        known = counts > 0
        first, counts = first[known], counts[known]
        starts = np.cumsum(counts) - counts
        found = self.entries(np.arange(int(counts.sum())) + np.repeat(first - starts, counts))
        if low_ms > self.low_ms or high_ms < self.high_ms:
            found = found.at((found.times >= low_ms) & (found.times <= high_ms))
        return found

    def any_in(self, keys: Keys, after_ms: Whole, until_ms: Whole) -> Places:
        """Which of the keys have an entry in ``(after_ms, until_ms]``."""
        some = np.flatnonzero(self.marked[keys & np.uint64(len(self.marked) - 1)])
        some = some[np.argsort(keys[some])]
        low = np.searchsorted(self.keys, keys[some], "left")
        high = np.searchsorted(self.keys, keys[some], "right")
        known = low < high
        some, high = some[known], high[known]
        place = self._after(low[known], high, after_ms[some])
        there = place < high
        some, place = some[there], place[there]
        found: Places = some[self.times[place].astype(np.int64) + self.low_ms <= until_ms[some]]
        return found

    def _after(self, low: Places, high: Places, after_ms: Whole) -> Places:
        """The first place in ``[low, high)`` later than a time, by halving all spans at once."""
        low, high, wanted = low.copy(), high.copy(), after_ms - self.low_ms
        while len(open_ := np.flatnonzero(low < high)):
            middle = (low[open_] + high[open_]) // 2
            later = self.times[middle].astype(np.int64) > wanted[open_]
            high[open_] = np.where(later, middle, high[open_])
            low[open_] = np.where(later, low[open_], middle + 1)
        return low


@dataclass(frozen=True)
class Runs:
    """Held entries."""

    runs: tuple[Run, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(run.nbytes for run in self.runs)

    def add(self, entries: Entries) -> Runs:
        """With more entries."""
        if not len(entries.keys):
            return self
        runs = [*self.runs, Run.of(entries)]
        while _mergeable(tail := runs[-_FAN_IN:]):
            runs[-_FAN_IN:] = [Run.of(Entries.joined([r.entries() for r in tail]))]
        return replace(self, runs=tuple(runs))

    def drop_before(self, low_ms: int) -> Runs:
        """Without the runs that are older altogether."""
        return replace(self, runs=tuple(r for r in self.runs if r.high_ms >= low_ms))

    def find(self, keys: Keys, low_ms: int, high_ms: int) -> Entries:
        """Held entries of the keys (sorted, distinct) in a span of time, ends inclusive."""
        near = [r for r in self.runs if r.low_ms <= high_ms and r.high_ms >= low_ms]
        return Entries.joined([r.of_keys(keys, low_ms, high_ms) for r in near])

    def any_in(self, keys: Keys, after_ms: Whole, until_ms: Whole) -> Mask:
        """For each key, whether it has an entry in ``(after_ms, until_ms]``."""
        met = np.zeros(len(keys), np.bool_)
        if not len(keys):
            return met
        low, high = int(after_ms.min()), int(until_ms.max())
        near = [r for r in self.runs if r.low_ms <= high and r.high_ms > low]
        for run in near:
            met[run.any_in(keys, after_ms, until_ms)] = True
        return met


def distinct(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Each value once, sorted. NumPy's own ``unique`` hashes integers, which takes longer."""
    ordered = np.sort(values)
    once: npt.NDArray[Any] = ordered[
        np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]
    ]
    return once


def _by_key_and_time(keys: Keys, times: Whole) -> Places:
    """An order by key, then time. Few keys have entries out of time: only they are sorted twice."""
    order = np.argsort(keys, kind="stable")
    keys, times = keys[order], times[order]
    same = keys[1:] == keys[:-1]
    wrong = same & (times[1:] < times[:-1])
    if not wrong.any():
        return order
    group = np.concatenate([[0], np.cumsum(~same)])
    mixed = np.zeros(int(group[-1]) + 1, np.bool_)
    mixed[group[1:][wrong]] = True
    places = np.flatnonzero(mixed[group])
    order[places] = order[places[np.lexsort((times[places], keys[places]))]]
    return order


def _narrow(values: Whole, base: int) -> npt.NDArray[Any]:
    """Values from a base on, in 32 bits where they fit."""
    spread = values - base
    return spread.astype(np.uint32) if int(spread.max()) < _NARROW else spread


def _mergeable(tail: Sequence[Run]) -> bool:
    """Whether the last runs are enough, of like size, and small enough together."""
    sizes = [len(run.keys) for run in tail]
    return len(sizes) == _FAN_IN and max(sizes) <= _FAN_IN * sizes[-1] and sum(sizes) <= _LARGEST
