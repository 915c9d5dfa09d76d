"""Where held events stand, by the hash of the columns that relate them.

Always holds: what is found by a key is every held event of the types asked for with those columns;
an event with a null in one of them is not found.

Not promised: that events of one key have the same columns. Whoever evaluates compares them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from labeling.engine.keys import match_key
from labeling.engine.log import Numbers
from labeling.engine.runs import Entries, Keys, Runs, Whole, distinct

#: A lane, or the columns of a group: match columns.
Lane = tuple[str, ...]


@dataclass(frozen=True)
class LaneIndex:
    """Where the events of equal lane columns stand, by ``match_key``, for all rules.

    ``labels`` has the events of the types that labels read in this lane, ``anchors`` those of
    the types that anchors have; one event may stand in both.
    """

    label_types: frozenset[str]
    anchor_types: frozenset[str]
    labels: Runs = field(default_factory=Runs)
    anchors: Runs = field(default_factory=Runs)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.labels.nbytes + self.anchors.nbytes

    def add(self, hashed: pl.DataFrame, lane: Lane) -> LaneIndex:
        """With the events of a batch whose columns are all there."""
        kind = pl.col("event_type")
        keyed = hashed.select(
            "at",
            "place",
            key=match_key(lane, hashed=True),
            label=kind.is_in(sorted(self.label_types)),
            anchor=kind.is_in(sorted(self.anchor_types)),
        ).drop_nulls("key")
        whole = _entries(keyed)
        return replace(
            self,
            labels=self.labels.add(whole.at(keyed["label"].to_numpy())),
            anchors=self.anchors.add(whole.at(keyed["anchor"].to_numpy())),
        )

    def drop_before(self, low_ms: int) -> LaneIndex:
        """Without what is older altogether."""
        return replace(
            self, labels=self.labels.drop_before(low_ms), anchors=self.anchors.drop_before(low_ms)
        )

    def places(
        self, keys: Keys, low_ms: int, high_ms: int, *, alone: bool = False
    ) -> tuple[Numbers, Numbers]:
        """Where the events of the keys (sorted, distinct) of a span stand, ends inclusive.

        Anchors only of those keys that have events for labels, unless asked for ``alone``.
        """
        labels = self.labels.find(keys, low_ms, high_ms)
        wanted = keys if alone else distinct(labels.keys)
        return labels.rows, self.anchors.find(wanted, low_ms, high_ms).rows


@dataclass(frozen=True)
class GroupIndex:
    """Where all events of a group stand, by ``match_key``, for the rules of those columns."""

    types: frozenset[str]
    events: Runs = field(default_factory=Runs)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.events.nbytes

    def add(self, hashed: pl.DataFrame, group: Lane) -> GroupIndex:
        """With the events of a batch whose columns are all there."""
        mine = hashed.filter(pl.col("event_type").is_in(sorted(self.types)))
        keyed = mine.select("at", "place", key=match_key(group, hashed=True)).drop_nulls("key")
        return replace(self, events=self.events.add(_entries(keyed)))

    def drop_before(self, low_ms: int) -> GroupIndex:
        """Without what is older altogether."""
        return replace(self, events=self.events.drop_before(low_ms))

    def places(self, keys: Keys, low_ms: Whole, high_ms: int) -> Numbers:
        """Where the events of the keys (sorted, distinct) stand, each from its own time on.

        Args:
            keys: of groups.
            low_ms: for each key the first time, inclusive.
            high_ms: the last time of all, inclusive.
        """
        if not len(keys):
            return np.empty(0, np.int64)
        found = self.events.find(keys, int(low_ms.min()), high_ms)
        return found.rows[found.times >= low_ms[np.searchsorted(keys, found.keys)]]


def _entries(keyed: pl.DataFrame) -> Entries:
    places, at, key = (keyed[c].to_numpy() for c in ("place", "at", "key"))
    return Entries(key, at, places)
