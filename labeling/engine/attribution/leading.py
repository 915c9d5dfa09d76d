"""What led to each page of a session: the middle of clause A8b of docs/attribution.md.

Always holds: a page is led to by one before it in its run, or by none; so every trail ends.

Not promised: speed where one run is very long and all others short; its places are gone through
one by one.

A page with a referrer is looked up. One without is led to by the page just before, unless its
``page_id`` was there already: then the trail of the page just before has to be asked. Trails
branch, so that each page keeps its own answer to "which is the latest page of this number on
your trail": a binary tree over the numbers, of which it shares with what led to it all but one
path (Driscoll et al., "Making data structures persistent", 1989). Asking and keeping cost the
logarithm of the numbers that are asked about in a run, however long the trails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from labeling.engine.attribution.ranges import Whole, changed, lengths, starts

#: No page.
NONE: Final = -1


def leading(run: Whole, pages: Whole, referrers: Whole) -> Whole:
    """The place of the page that led to each, ``NONE`` where none did.

    Args:
        run: the run of each page, not going back.
        pages: its number, ``NONE`` where it has none; in order inside a run.
        referrers: the number of its referrer, another than its own; ``NONE`` where it has none.

    >>> home, note, blank = 0, 1, NONE
    >>> pages, referrers = np.array([home, note, home]), np.array([blank, blank, blank])
    >>> leading(np.zeros(3, np.int64), pages, referrers).tolist()
    [-1, 0, -1]
    """
    numbers = _of_run(run, pages, referrers)
    own, told = numbers[: len(run)], numbers[len(run) :]
    led_by = np.where(referrers == NONE, _just_before(run), _latest(own, told))
    asks = (referrers == NONE) & (pages != NONE) & (_latest(own, own) != NONE)
    if asks.any():
        _go_back(run, own, asks, led_by)
    return led_by


def _of_run(run: Whole, pages: Whole, referrers: Whole) -> Whole:
    """Pages, then referrers, numbered anew: equal numbers are of one run. ``NONE`` is of none."""
    both = np.append(pages, referrers)
    lines = np.append(run, run) * (int(both.max(initial=0)) + 1) + both
    known, numbers = np.unique(lines, return_inverse=True)
    return np.where(both == NONE, len(known), numbers)


def _just_before(run: Whole) -> Whole:
    """The place before each, inside its run."""
    return np.where(changed(run), NONE, np.arange(len(run)) - 1)


def _latest(own: Whole, wanted: Whole) -> Whole:
    """For each page the latest before it that has the wanted number."""
    total = len(own)
    line = np.sort(own * total + np.arange(total))
    at = np.searchsorted(line, wanted * total + np.arange(total)) - 1
    found = line[at]
    return np.where((at >= 0) & (found // total == wanted), found % total, NONE)


def _go_back(run: Whole, own: Whole, asks: npt.NDArray[np.bool_], led_by: Whole) -> None:
    """Sets ``led_by`` where a page without a referrer was there already, going through places."""
    asked, number = np.unique(own[asks], return_inverse=True)
    in_run = np.empty(len(asked), np.int64)
    in_run[number] = run[asks]
    first = starts(changed(in_run))
    of_run = np.arange(len(asked)) - np.repeat(first, lengths(first, len(asked)))
    at = np.minimum(np.searchsorted(asked, own), len(asked) - 1)
    kept = asked[at] == own
    trails = _Trails(of_run[at], kept)
    for pages in _by_place(run, np.isin(run, in_run)):
        back = pages[asks[pages]]
        gone_back_to = trails.latest(back - 1, back)
        led_by[back] = np.where(gone_back_to == NONE, back - 1, led_by[gone_back_to])
        trails.extend(pages, led_by[pages])


def _by_place(run: Whole, concerned: npt.NDArray[np.bool_]) -> Iterator[Whole]:
    """The first page of each run that is concerned, then the second of each, and so on."""
    begins = starts(changed(run))
    counts = lengths(begins, len(run))
    begins, counts = begins[concerned[begins]], counts[concerned[begins]]
    longest_first = np.argsort(-counts, kind="stable")
    begins, counts = begins[longest_first], counts[longest_first]
    for place in range(int(counts[0])):
        yield begins[: np.searchsorted(-counts, -place)] + place


class _Trails:
    """The latest page of each number on the trail of each page, as trees that share branches."""

    def __init__(self, numbers: Whole, kept: npt.NDArray[np.bool_]) -> None:
        self.numbers, self.kept = numbers, kept
        self.levels = int(numbers.max(initial=0)).bit_length()
        #: Nodes of a page are numbered from here; node 0 is the empty tree of any height.
        self.first = 1 + (np.cumsum(kept) - 1) * self.levels
        self.child = np.zeros((2, 1 + int(kept.sum()) * self.levels), np.int64)
        #: The tree of each page; the last is that of ``NONE``. A leaf is a page, counted from 1.
        self.tree = np.zeros(len(numbers) + 1, np.int64)

    def _turns(self, pages: Whole) -> Iterator[Whole]:
        """Which way to a page's number, from the top."""
        for level in reversed(range(self.levels)):
            yield (self.numbers[pages] >> level) & 1

    def latest(self, trail_of: Whole, like: Whole) -> Whole:
        """The latest page on the trail of each that has the number of another."""
        node = self.tree[trail_of]
        for turn in self._turns(like):
            node = self.child[turn, node]
        return node - 1

    def extend(self, pages: Whole, led_by: Whole) -> None:
        """The trails of pages, given what led to them."""
        self.tree[pages] = self.tree[led_by]
        pages = pages[self.kept[pages]]
        old, new = self.tree[pages], self.first[pages]
        self.tree[pages] = new if self.levels else pages + 1
        for level, turn in enumerate(self._turns(pages), start=1):
            self.child[:, new] = self.child[:, old]
            old = self.child[turn, old]
            self.child[turn, new] = pages + 1 if level == self.levels else new + 1
            new = new + 1
