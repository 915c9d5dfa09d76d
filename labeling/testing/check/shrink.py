"""Making a counter-example small: events are taken out, and columns emptied, while it still fails.

Always holds: what is returned was found to fail, on events that are among those given, with values
that are as given or null; the same input gives the same result.

Not promised: the smallest there is. Tries are counted; after the last the smallest so far stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from labeling.model.event import REQUIRED
from labeling.testing.check.finding import Broken

Fails = Callable[[pl.DataFrame], Broken | None]


@dataclass
class _Search:
    """The smallest failure so far and how often more may be asked."""

    fails: Fails
    best: Broken
    left: int

    def attempt(self, events: pl.DataFrame) -> bool:
        """Whether these fail too; if so they are the best."""
        if self.left <= 0 or events.equals(self.best.events):
            return False
        self.left -= 1
        found = self.fails(events)
        if found is None:
            return False
        self.best = found
        return True


def smallest(fails: Fails, found: Broken, tries: int) -> Broken:
    """A failure with fewer events.

    Args:
        fails: what is wrong with some events, None where nothing is. Its ``events`` are those.
        found: what it said of the events to begin with.
        tries: how often it may be asked.
    """
    search = _Search(fails, found, tries)
    # Most faults are one user's: what would take the halving many tries is tried first.
    if found.users:
        search.attempt(found.events.filter(pl.col("user_id").is_in(sorted(found.users))))
    _fewer_events(search)
    _fewer_columns(search)
    return search.best


def _fewer_events(search: _Search) -> None:
    """Take out chunks, from halves down to single events, as long as the rest fails."""
    parts = 2
    while search.best.events.height > 1 and search.left > 0:
        events = search.best.events
        parts = min(parts, events.height)
        size = -(-events.height // parts)
        starts = range(0, events.height, size)
        if any(search.attempt(_without(events, start, size)) for start in starts):
            parts = max(2, parts - 1)
        elif size == 1:
            return
        else:
            parts = 2 * parts


def _without(events: pl.DataFrame, start: int, size: int) -> pl.DataFrame:
    return pl.concat([events[:start], events[start + size :]])


def _fewer_columns(search: _Search) -> None:
    """Empty the columns that are not needed to fail."""
    for column in search.best.events.columns:
        events = search.best.events
        if column not in REQUIRED and events[column].null_count() < events.height:
            empty = pl.lit(None, dtype=events.schema[column]).alias(column)
            search.attempt(events.with_columns(empty))
