"""Samples of what is published: clauses S5 to S11 of docs/samples.md.

Always holds: the current samples of a rule are those of its current label rows, for every row that
was published since the sample rule was declared; they are published in the commit that published,
or found features for, the label rows, and heard by all who listen. Revisions of a sample are its
own. Where the tree has no samples nothing is done.

Not promised: samples of label rows that were there before. A replay of their hours makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

import polars as pl

from labeling.engine.changes import empty_stored
from labeling.engine.first import first_changes
from labeling.io.store import lookup
from labeling.io.store.listener import Listener
from labeling.io.store.ownership import REPLAY
from labeling.model.table import ROW_KEY, RuleTable
from labeling.products.samples import books
from labeling.products.samples.derived import publish_between, relevant, sampled
from labeling.products.samples.heal import heal
from labeling.products.samples.late import rejoined
from labeling.products.samples.rows import SampleRows

if TYPE_CHECKING:
    from labeling.io.store.commit import Commit
    from labeling.products.context import Context

#: What a publication may say of a first row beside its values.
_SAID: Final = ("point_ts", "reason")


class SampleMaker(Listener):
    """Samples of what is published.

    Args:
        context: what all listeners know.
    """

    def __init__(self, context: Context) -> None:
        self._made: dict[tuple[str, int, str], list[SampleRows]] = {}
        for sample in context.tree.samples:
            of = (sample.labels.name, sample.labels.version, sample.labels.digest)
            self._made.setdefault(of, []).append(SampleRows(sample, context.features))

    def _of(self, table: RuleTable) -> list[SampleRows]:
        return self._made.get((table.name, table.version, table.digest), [])

    def publish(self, commit: Commit, table: RuleTable, changes: pl.DataFrame) -> None:
        """See ``Listener``."""
        if changes.is_empty():
            return
        for made in self._of(table):
            books.begin(commit, made.sample)
            _publish(commit, made, table, changes)

    def publish_first(
        self, commit: Commit, table: RuleTable, rows: pl.DataFrame, updates: pl.DataFrame
    ) -> None:
        """See ``Listener``."""
        for made in self._of(table):
            books.begin(commit, made.sample)
            first = rows
            if books.outlived(commit, made.sample, rows):
                _publish(commit, made, table, first_changes(table, rows, updates))
                continue
            if updates.height:
                moved = updates.select(ROW_KEY).unique()
                first = rows.join(moved, on=ROW_KEY, how="anti", maintain_order="left")
                moving = rows.join(moved, on=ROW_KEY, how="semi", maintain_order="left")
                _publish_moving(commit, made, table, moving, updates)
            _publish_still(commit, made, table, first)

    def hours(
        self,
        commit: Commit,
        table: RuleTable,
        complete: Mapping[datetime, bool],
        through_ts: datetime | None,
        published_by: str,
    ) -> None:
        """See ``Listener``."""
        for made in self._of(table):
            books.follow(commit, made.sample)
            if published_by == REPLAY:
                for hour in sorted(complete):
                    if not books.is_made(commit, made.sample, hour):
                        heal(commit, made, hour, through_ts)
            books.note_hours(commit, made.sample, complete, through_ts, published_by)

    def passed(self, commit: Commit, table: RuleTable, before_ms: int, f_ms: int) -> None:
        """See ``Listener``."""
        for made in self._of(table):
            books.follow(commit, made.sample)
            commit.passed(made.sample.table, before_ms, f_ms)

    def features(self, commit: Commit, source: str, late: pl.DataFrame) -> None:
        """See ``Listener``."""
        if late.is_empty():
            return
        for made in self._each():
            if made.sample.features.source == source:
                rejoined(commit, made, late)

    def _each(self) -> Iterator[SampleRows]:
        for these in self._made.values():
            yield from these


def _publish(commit: Commit, made: SampleRows, table: RuleTable, changes: pl.DataFrame) -> None:
    """Samples of changes of rows, whatever the store has had of them."""
    states = relevant(made, table, changes)
    if states.is_empty():
        return
    healed = books.healed(commit.database, made.sample, states)
    samples = sampled(commit, made, states, replay=healed | states["reason"].eq(REPLAY))
    stored = lookup.current(commit.database, made.sample.table, states)
    publish_between(commit, made, stored, samples, states["point_ts"])


def _publish_still(commit: Commit, made: SampleRows, table: RuleTable, rows: pl.DataFrame) -> None:
    """Samples of rows whose keys the store has never had, and which do not change again here."""
    said = [c for c in _SAID if c in rows.columns]
    there = rows.filter(made.exists()).select(*table.schema, *said)
    if there.is_empty():
        return
    healed = books.healed(commit.database, made.sample, there)
    samples = made.rows(commit.database, there, replay=healed)
    samples = samples.with_columns(revision=pl.lit(1, pl.Int32))
    commit.publish_first(made.sample.table, samples, pl.DataFrame())


def _publish_moving(
    commit: Commit, made: SampleRows, table: RuleTable, rows: pl.DataFrame, updates: pl.DataFrame
) -> None:
    """Samples of such rows that do change here, through all their states."""
    states = relevant(made, table, first_changes(table, rows, updates))
    if states.is_empty():
        return
    healed = books.healed(commit.database, made.sample, states)
    samples = sampled(commit, made, states, replay=healed)
    stored = empty_stored(made.sample.table.schema, ROW_KEY)
    publish_between(commit, made, stored, samples, states["point_ts"])
