"""Rollups of what is published: clauses U1 to U6 of docs/rollups.md.

Always holds: after every commit the sums of a rollup are those of the current rows of its rule, for
they move in the transaction that moves the rows, by what came less what went; a rollup that is new
to a store begins with a count of the rows there are. Where no rollup is of a rule, its publications
cost nothing here.

Not promised: that sums go with rows that retention drops. They stay, until the hour is published
anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import polars as pl

from labeling.io.store import lookup
from labeling.io.store.commit import Commit
from labeling.io.store.listener import Listener
from labeling.model.rollup import Rollup
from labeling.model.table import RuleTable
from labeling.products.context import Context
from labeling.products.moved import Moved, of_changes, of_first
from labeling.products.renewal import Renewal
from labeling.products.rollups.sums import moved_by
from labeling.products.rollups.tables import known, register


class RollupKeeper(Listener):
    """Keeps the rollups of the operator's tree.

    Args:
        context: what all listeners know.
    """

    def __init__(self, context: Context) -> None:
        self._of: Final = _by_table(context)
        self._renewal: Final = Renewal()

    def begin(self) -> None:
        """See ``Listener``."""
        self._renewal.begin()

    def publish(self, commit: Commit, table: RuleTable, changes: pl.DataFrame) -> None:
        """See ``Listener``."""
        self._move(commit, table, changes, of_changes)

    def publish_first(
        self, commit: Commit, table: RuleTable, rows: pl.DataFrame, updates: pl.DataFrame
    ) -> None:
        """See ``Listener``. What came and went again in ``updates`` was never there."""
        del updates
        self._move(commit, table, rows, of_first)

    def hours(
        self,
        commit: Commit,
        table: RuleTable,
        complete: Mapping[datetime, bool],
        through_ts: datetime | None,
        published_by: str,
    ) -> None:
        """See ``Listener``. A rollup that is new need not wait for rows."""
        del complete, through_ts, published_by
        self._kept(commit, table)

    def passed(self, commit: Commit, table: RuleTable, before_ms: int, f_ms: int) -> None:
        """See ``Listener``. Likewise."""
        del before_ms, f_ms
        if self._declared(table) and lookup.known(commit.database, table):
            self._kept(commit, table)

    def _declared(self, table: RuleTable) -> Sequence[Rollup]:
        return self._of.get((table.table, table.digest), ())

    def _kept(self, commit: Commit, table: RuleTable) -> list[Rollup]:
        """The rollups of a table that are kept already; others are made, and count what is there.

        Raises:
            StoreError: a rollup's definition changed under its version, or its name is taken.
        """
        kept = []
        for rollup in self._declared(table):
            if known(commit.database, rollup):
                kept.append(rollup)
            else:
                register(commit, rollup)
        return kept

    def _move(
        self,
        commit: Commit,
        table: RuleTable,
        frame: pl.DataFrame,
        moved_of: Callable[[RuleTable, pl.DataFrame], Moved],
    ) -> None:
        """Move the sums by what a publication, which is in the table by now, made of its rows."""
        if not self._declared(table):
            return
        kept = self._kept(commit, table)
        if frame.is_empty():
            return
        hours = frame.select(pl.col("anchor_ts").dt.truncate("1h").unique()).to_series()
        renewed = self._renewal.of(commit.database, table, hours.to_list(), commit.number)
        moved = moved_of(table, frame)
        for rollup in kept:
            if renewed:
                drop = f'DELETE FROM "{rollup.table}" WHERE hour IN (SELECT unnest(?))'
                commit.database.run(drop, [renewed])
            commit.add_sums(rollup.table, moved_by(rollup, moved), list(rollup.group_schema))


def _by_table(context: Context) -> Mapping[tuple[str, str], tuple[Rollup, ...]]:
    """The rollups of each table, by its name and digest."""
    found: dict[tuple[str, str], list[Rollup]] = defaultdict(list)
    for rollup in context.tree.rollups:
        found[rollup.of_table.table, rollup.of_table.digest].append(rollup)
    return {key: tuple(rollups) for key, rollups in found.items()}
