"""Rows of some users' anchors, from just those users' events.

Always holds: rows are what ``evaluate`` makes of every archived event within the rule's reach, each
identity once: of one identity the event that was archived first. Parts by users, so that a part
fits the memory allowed.

Not promised: that an anchor asked for has a row. Whoever asks says which points are meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from backfill.blocks import EVENT_BYTES
from backfill.due import instant
from labeling.engine.evaluate import evaluate
from labeling.engine.points import points
from labeling.io.archive import user_bucket
from labeling.io.pruned import Matching, Pruned, Users
from labeling.model.event import IDENTITY
from labeling.model.kinds import Rule

#: The order in which events were archived: of one identity the first counts.
_ARRIVED = ("archived", "source", "cluster", "topic", "partition", "offset", "index")


@dataclass(frozen=True)
class Ask:
    """Points of some users' anchors.

    ``users``: sorted and distinct user keys; events of ``[from_ms, to_ms)`` are read; ``chosen``
    picks of ``points(rule, events)`` those that are meant.
    """

    users: Users
    from_ms: int
    to_ms: int
    chosen: Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Groups:
    """What was asked for, found in the archive; ``buckets`` parts by users fit the memory."""

    rule: Rule
    reader: Pruned
    asks: tuple[Ask, ...]
    found: tuple[Matching, ...]
    buckets: int

    def rows(self, bucket: int) -> pl.DataFrame:
        """The rows of a part, as ``evaluate`` returns them; no set of rows is in two parts.

        Raises:
            DataError: a file is missing or damaged.
        """
        users = None if self.buckets == 1 else user_bucket(bucket, self.buckets)
        made = []
        for ask, found in zip(self.asks, self.found, strict=True):
            events = self._events(found, users)
            asked = ask.chosen(points(self.rule, events))
            if asked.height:
                made.append(evaluate(self.rule, events, asked))
        schema = {"point_ts": pl.Datetime("ms", "UTC"), "present": pl.Boolean()}
        none = pl.DataFrame(schema={**schema, **self.rule.row_schema})
        return pl.concat([none, *(rows.select(none.columns) for rows in made)])

    def _events(self, found: Matching, users: tuple[int, int] | None) -> pl.DataFrame:
        columns = sorted(self.rule.event_columns)
        events = self.reader.read(found, columns, users)
        if events.select(pl.struct(IDENTITY).is_unique().all()).item():
            return events
        told = self.reader.read(found, dict.fromkeys((*columns, *_ARRIVED)), users)
        once = told.sort(_ARRIVED).unique(IDENTITY, keep="first", maintain_order=True)
        return once.select(columns)


def groups(rule: Rule, reader: Pruned, asks: Sequence[Ask], memory_bytes: int) -> Groups:
    """Find the events of what is asked for.

    Args:
        rule: what to evaluate.
        reader: of the archive.
        asks: no anchor's point is asked for twice.
        memory_bytes: what one part may need.

    Raises:
        DataError: a file is missing or damaged.
    """
    found = tuple(
        reader.matching(rule.event_types, instant(a.from_ms), instant(a.to_ms), a.users)
        for a in asks
    )
    events = sum(m.events for m in found)
    buckets = max(1, -(-events * EVENT_BYTES // max(memory_bytes, EVENT_BYTES)))
    return Groups(rule, reader, tuple(asks), found, buckets)
