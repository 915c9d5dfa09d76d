"""One transaction of a repair: rows, the hours that they are of, and how far the repair has come.

Always holds: rows go through ``changes``, so that what is published again changes nothing; an hour
is noted complete in the transaction that publishes its last point. What fits the memory is
evaluated before the transaction begins, so that others need not wait for it.

Not promised: that nobody else publishes the rule's rows meanwhile. Whoever repairs holds
``leases.publishing``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from backfill.due import instant
from backfill.groups import Groups
from backfill.standing import Standing
from labeling.engine.changes import changes
from labeling.engine.watermark import FOREVER
from labeling.io.pruned import Tally
from labeling.io.store import Commit, Store
from labeling.io.store.repairs import Cost, Repaired
from labeling.model.kinds import Rule
from labeling.model.table import ROW_KEY, RuleTable, table_of

_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True)
class Published:
    """What a transaction of a repair did: how many rows changed, and what it cost.

    ``f_ms``: points before it are published; None for a rule that a stream publishes.
    """

    f_ms: int | None
    inserted: int
    updated: int
    retracted: int
    hours: int
    cost: Cost


@dataclass
class Record:
    """Writes a rule's repairs.

    Args:
        store: open for writing, unless ``dry``.
        rule: whose rows.
        through: events archived up to this commit were read.
        tally: of what is read.
        dry: evaluate, and write nothing.
    """

    store: Store
    rule: Rule
    through: int
    tally: Tally
    dry: bool = False
    _events: int = 0
    _bytes: int = 0

    def publish(
        self,
        found: Groups,
        reason: pl.Expr,
        f_ms: int | None,
        standing: Standing,
        passed_ms: int,
        closed: Collection[int] = (),
    ) -> Published:
        """Publish rows, in one transaction.

        Args:
            found: what to evaluate.
            reason: of each row, from its key and ``point_ts``.
            f_ms: points before it are published then.
            standing: what was published before.
            passed_ms: points before it are published now, epoch ms.
            closed: further hours that are complete now.

        Raises:
            DataError: a file of the archive is missing or damaged.
            StoreError: the store cannot be written; nothing of it is.
        """
        table = table_of(self.rule)
        ready = [found.rows(0)] if found.buckets == 1 else None
        parts = ready if ready is not None else map(found.rows, range(found.buckets))
        if self.dry:
            rows = sum(part.height for part in parts)
            return Published(f_ms, 0, 0, 0, 0, self._cost(rows))
        kinds: dict[str, int] = {}
        hours = set(closed)
        rows = 0
        with self.store.commit(f"repair {self.rule.key}") as commit:
            for part in parts:
                rows += part.height
                made = self._changes(table, part.with_columns(reason=reason))
                if made.height:
                    commit.publish(table, made)
                hours.update(made.select(_hour()).to_series().unique())
                for kind, count in made.group_by("kind").len().iter_rows():
                    kinds[kind] = kinds.get(kind, 0) + count
            noted = self._note(commit, table, hours, standing, passed_ms)
            cost = self._cost(rows)
            settle_ms = self.rule.looks_ahead_ms
            commit.set_repaired(table, Repaired(f_ms, self.through, cost), settle_ms)
        new, changed, gone = (kinds.get(kind, 0) for kind in ("insert", "update", "retract"))
        return Published(f_ms, new, changed, gone, noted, cost)

    def _changes(self, table: RuleTable, rows: pl.DataFrame) -> pl.DataFrame:
        stored = self.store.current(table, rows.select(ROW_KEY).unique())
        return changes(stored, rows, table.keys, whole=table.whole)

    def _note(
        self,
        commit: Commit,
        table: RuleTable,
        hours: Iterable[int],
        standing: Standing,
        passed_ms: int,
    ) -> int:
        """Note the hours that are complete; how many."""
        complete: dict[int | None, dict[datetime, bool]] = {}
        for hour in hours:
            through = max(passed_ms, standing.through_of(hour))
            end = hour + _HOUR_MS
            if through > end + self.rule.window_ms:
                settled = through > end + self.rule.looks_ahead_ms
                to_ms = None if settled or through >= FOREVER else through
                complete.setdefault(to_ms, {})[instant(hour)] = True
        for to_ms, these in complete.items():
            commit.set_hours(
                table,
                these,
                archive_commit=self.through,
                through_ts=None if to_ms is None else instant(to_ms),
            )
        return sum(map(len, complete.values()))

    def _cost(self, rows: int) -> Cost:
        """What was read since the last transaction."""
        cost = Cost(rows, self.tally.events - self._events, self.tally.bytes - self._bytes)
        self._events, self._bytes = self.tally.events, self.tally.bytes
        return cost


def _hour() -> pl.Expr:
    """The start of the anchor's hour, epoch ms."""
    return pl.col("anchor_ts").dt.epoch("ms") // _HOUR_MS * _HOUR_MS
