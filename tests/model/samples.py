"""Samples by the clauses of docs/samples.md alone, in plain Python.

Always holds: nothing is remembered of how a sample came to be but what the clauses say is stored:
its row, its revision, and which hours replay has made.

Not promised: speed. Late features look at every row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

WHOLE: Final = 1_000_000_000
_HOUR_MS: Final = 3_600_000

#: ``user_id``, ``anchor_ts`` in epoch ms, ``anchor_id``.
Key = tuple[str, int, str]
Row = dict[str, Any]


@dataclass(frozen=True)
class Served:
    """A record of features (S2); ``arrival`` is ``on_time``, ``late`` or ``too_late``."""

    request_id: str
    item_id: str
    served_ms: int
    features_key: int
    arrival: str = "on_time"


@dataclass(frozen=True)
class Told:
    """A change of a sample."""

    key: Key
    revision: int
    kind: str
    reason: str
    old: Row | None
    new: Row | None


@dataclass(frozen=True)
class Declared:
    """A sample rule; ``weight`` in millionths of a label row, ``hashed`` is xxh3_64 of a text."""

    name: str
    label: str
    within_ms: int
    first_delay_ms: int
    kept_parts: int
    weight: Callable[[Row], int]
    hashed: Callable[[str], int]

    def kept(self, key: Key) -> bool:
        """S6: whether a negative is kept."""
        user, ts, anchor = key
        u = self.hashed(f"{self.name}|{user}|{ts}|{anchor}")
        return u * WHOLE // 2**64 < self.kept_parts

    def features_of(
        self, key: Key, row: Row, served: Iterable[Served], *, replay: bool
    ) -> Served | None:
        """S3: the features that count."""
        if row["request_id"] is None or row["item_id"] is None:
            return None
        low, high = key[1] - self.within_ms, key[1] + self.first_delay_ms
        counting = [
            s
            for s in served
            if (s.request_id, s.item_id) == (row["request_id"], row["item_id"])
            and low <= s.served_ms <= high
            and (replay or s.arrival != "too_late")
        ]
        return min(counting, key=lambda s: (s.served_ms, s.features_key), default=None)

    def sample(
        self, key: Key, row: Row | None, served: Iterable[Served], *, replay: bool
    ) -> Row | None:
        """S6 and S7: the sample of a label row; None: it has none."""
        if row is None:
            return None
        negative = row[self.label] is False
        if negative and not self.kept(key):
            return None
        found = self.features_of(key, row, served, replay=replay)
        return row | {
            "status": "no_features" if found is None else "joined",
            "served_ts": None if found is None else found.served_ms,
            "features_key": None if found is None else found.features_key,
            "kept": self.kept_parts if negative else WHOLE,
            "weight": self.weight(row),
        }


@dataclass
class Samples:
    """The samples of a store. Sorting by key is for the order of ``told`` alone."""

    rule: Declared
    labels: dict[Key, Row] = field(default_factory=dict)
    served: list[Served] = field(default_factory=list)
    healed: set[int] = field(default_factory=set)
    rows: dict[Key, Row] = field(default_factory=dict)
    revisions: dict[Key, int] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)

    def commit(
        self, states: Sequence[tuple[Key, Row | None, str]], served: Sequence[Served] = ()
    ) -> None:
        """S5 to S10: features and states of label rows, each with its reason, in order."""
        self.served += served
        for key, row, reason in states:
            if self.labels.get(key) == row:
                continue
            if row is None:
                self.labels.pop(key, None)
            else:
                self.labels[key] = row
            self._put(key, self._made(key, row, all_of_them=reason == "replay"), reason)
        late = [s for s in served if s.arrival == "late"]
        for key, sample in sorted(self.rows.items()):
            first = self.rule.features_of(key, self.labels[key], late, replay=False)
            if first is not None and (
                sample["status"] == "no_features"
                or (first.served_ms, first.features_key)
                < (sample["served_ts"], sample["features_key"])
            ):
                self._put(key, self._made(key, self.labels[key]), "late")

    def replay(self, hour_ms: int) -> None:
        """S11: the hour from its current label rows and all features."""
        for key in sorted({*self.labels, *self.rows}):
            if key[1] // _HOUR_MS * _HOUR_MS == hour_ms:
                row = self.labels.get(key)
                self._put(key, self._made(key, row, all_of_them=True), "replay")
        self.healed.add(hour_ms)

    def _made(self, key: Key, row: Row | None, *, all_of_them: bool = False) -> Row | None:
        healed = key[1] // _HOUR_MS * _HOUR_MS in self.healed
        return self.rule.sample(key, row, self.served, replay=all_of_them or healed)

    def _put(self, key: Key, new: Row | None, reason: str) -> None:
        """S8: a change with the next revision, where there is one."""
        old = self.rows.get(key)
        if old == new:
            return
        kind = "insert" if old is None else "retract" if new is None else "update"
        self.revisions[key] = self.revisions.get(key, 0) + 1
        self.told.append(Told(key, self.revisions[key], kind, reason, old, new))
        if new is None:
            del self.rows[key]
        else:
            self.rows[key] = new
