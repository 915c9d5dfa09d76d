"""Searching in runs: whole numbers by run, then time.

Always holds: a search never leaves its run, and compares exactly, however far apart the times are.

Not promised: that the runs are sorted. Whoever searches has sorted them.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Whole = npt.NDArray[np.int64]
#: Run and time are searched as one number where it stays below this.
_LINE: Final = 2**62


def search(
    runs: Whole, times: Whole, of: Whole, at: Whole, side: Literal["left", "right"]
) -> Whole:
    """Where each looked-for time would stand among those of its run.

    Args:
        runs: the run of each entry, from 0 and sorted.
        times: of the entries, sorted inside each run.
        of: the run in which to look.
        at: the time to look for.
        side: ``left``: how many entries stand before the run's first with ``times >= at``;
            ``right``: before its first with ``times > at``.

    >>> runs, times = np.array([0, 0, 1]), np.array([3, 5, 4])
    >>> search(runs, times, np.array([0, 1]), np.array([5, 9]), "left").tolist()
    [1, 3]
    """
    if not len(times):
        return np.zeros(len(at), np.int64)
    low, high = int(times.min()), int(times.max())
    width = high - low + 3
    last = max(int(runs[-1]), int(of.max(initial=0)))
    if (last + 1) * width >= _LINE:
        known = np.unique(times)
        # Among the distinct times a place stands for itself: on the right it has passed its equals.
        places = np.searchsorted(known, at, side)
        return search(runs, np.searchsorted(known, times), of, places, "left")
    line = runs * width + (times - low + 1)
    found: Whole = np.searchsorted(
        line, of * width + (np.clip(at, low - 1, high + 1) - low + 1), side
    )
    return found


def starts(changes: npt.NDArray[np.bool_]) -> Whole:
    """Where runs begin, given whether each entry differs from the one before it.

    >>> starts(np.array([False, False, True])).tolist()
    [0, 2]
    """
    begins = changes.copy()
    begins[:1] = True
    found: Whole = np.flatnonzero(begins)
    return found


def lengths(begins: Whole, total: int) -> Whole:
    """How long the runs are that begin there, of so many entries."""
    return np.diff(begins, append=total)


def spread(low: Whole, counts: Whole) -> Whole:
    """The whole numbers ``low``, ``low + 1`` and on, ``counts`` of them, one range after another.

    >>> spread(np.array([5, 0]), np.array([2, 1])).tolist()
    [5, 6, 0]
    """
    before = np.cumsum(counts) - counts
    numbers: Whole = np.arange(int(counts.sum())) + np.repeat(low - before, counts)
    return numbers


def changed(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether each value differs from the one before it; the first does."""
    differs: npt.NDArray[np.bool_] = np.ones(len(values), np.bool_)
    differs[1:] = values[1:] != values[:-1]
    return differs
