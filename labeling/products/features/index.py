"""Which files hold a request: asked of thousands of files at once, thousands of times.

Always holds: a file that was added is named for every request that it holds, and for no other.

Not promised: that a file still belongs to the archive. Whoever asks looks at the files named only
as far as they are those that count. Nor how long it remembers: ``clear`` forgets all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

#: Sorted and distinct keys of requests.
Requests = npt.NDArray[np.uint64]
_Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Run:
    """Keys of requests, sorted, each beside a file that holds it."""

    keys: Requests
    files: _Numbers

    @staticmethod
    def merged(one: _Run, other: _Run) -> _Run:
        keys = np.concatenate([one.keys, other.keys])
        order = np.argsort(keys, kind="stable")
        return _Run(keys[order], np.concatenate([one.files, other.files])[order])


@dataclass
class RequestIndex:
    """Requests by file, in a few sorted runs that are merged as they grow."""

    _runs: list[_Run] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return 16 * sum(len(run.keys) for run in self._runs)

    def has(self, name: str) -> bool:
        """Whether a file was added."""
        return name in self._numbers

    def add(self, name: str, requests: Requests) -> None:
        """Take in a file."""
        number = self._numbers[name] = len(self._numbers)
        run = _Run(requests, np.full(len(requests), number, np.int64))
        while self._runs and len(self._runs[-1].keys) <= 2 * len(run.keys):
            run = _Run.merged(self._runs.pop(), run)
        self._runs.append(run)

    def clear(self) -> None:
        """Forget all."""
        self._runs, self._numbers = [], {}

    def holders(self, requests: Requests) -> dict[str, Requests]:
        """By file which of the requests it holds, sorted; files that hold none are left out."""
        keys, files = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for run in self._runs:
            at = places(run.keys, requests)
            keys.append(run.keys[at])
            files.append(run.files[at])
        every = np.concatenate(files)
        order = np.lexsort((np.concatenate(keys), every))
        sorted_keys, owners = np.concatenate(keys)[order], every[order]
        bounds = np.flatnonzero(np.diff(owners, prepend=-1, append=-1))
        names = list(self._numbers)
        return {
            names[owners[low]]: sorted_keys[low:high] for low, high in pairwise(bounds.tolist())
        }


def places(keys: Requests, wanted: Requests) -> _Numbers:
    """Where in sorted ``keys``, which may repeat, any of the ``wanted`` stands; in order."""
    low = np.searchsorted(keys, wanted, "left")
    count = np.searchsorted(keys, wanted, "right") - low
    starts = np.repeat(low - np.cumsum(count) + count, count)
    return np.asarray(starts + np.arange(int(count.sum())), np.int64)
