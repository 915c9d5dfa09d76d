"""What was known of labels, and when: clauses H1 and H2 of docs/health.md, and the brake.

Always holds: the counts of an hour move in the transaction that moves its rows, by differences, so
they are those of all its changes; an hour has counts of all its rows or none at all: where rows
were published before they were counted, that hour is left out.

Not promised: counts of such an hour later. When a value became known is not in the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from labeling.config.health import HealthConfig
from labeling.io.store.commit import Commit
from labeling.io.store.database import Database
from labeling.io.store.listener import Listener
from labeling.model.rule import LabelRule
from labeling.model.table import RuleTable
from labeling.products.context import Context
from labeling.products.health.counts import KEYS, Counted
from labeling.products.renewal import Renewal

_HOUR: Final = timedelta(hours=1)
_KNOWN: Final = "SELECT DISTINCT hour FROM health_counts"
_OF_HOURS: Final = "rule = ? AND version = ? AND hour IN (SELECT unnest(?))"


class HealthKeeper(Listener):
    """Counts the Boolean labels of the operator's label rules by what was known when.

    Args:
        context: what all listeners know.
    """

    def __init__(self, context: Context) -> None:
        counted = (Counted.of(r) for r in context.tree.rules if isinstance(r, LabelRule))
        self._of: Final[Mapping[tuple[str, str], Counted]] = {
            (c.table.table, c.table.digest): c for c in counted if c.labels
        }
        self._renewal: Final = Renewal()
        #: Hours that the transaction found to have rows and no counts.
        self._lacking: Final[set[tuple[str, datetime]]] = set()

    def begin(self) -> None:
        """See ``Listener``."""
        self._renewal.begin()
        self._lacking.clear()

    def publish(self, commit: Commit, table: RuleTable, changes: pl.DataFrame) -> None:
        """See ``Listener``."""
        counted = self._of.get((table.table, table.digest))
        if counted is not None and changes.height:
            self._add(commit, counted, counted.of_changes(changes), changes)

    def publish_first(
        self, commit: Commit, table: RuleTable, rows: pl.DataFrame, updates: pl.DataFrame
    ) -> None:
        """See ``Listener``."""
        counted = self._of.get((table.table, table.digest))
        if counted is not None and (rows.height or updates.height):
            self._add(commit, counted, counted.of_first(rows, updates), None)

    def _add(
        self, commit: Commit, counted: Counted, sums: pl.DataFrame, changes: pl.DataFrame | None
    ) -> None:
        """Add counts, but none of hours that had rows before the commit and no counts of them."""
        db, table = commit.database, counted.table
        mine = [counted.rule.name, counted.rule.version]
        hours = {*sums["hour"]}
        renewed = self._renewal.of(db, table, hours, commit.number)
        if renewed:
            db.run(f"DELETE FROM health_counts WHERE {_OF_HOURS}", [*mine, renewed])
        known = {*db.frame(f"{_KNOWN} WHERE {_OF_HOURS}", [*mine, sorted(hours)])["hour"]}
        if hours - known:
            before = _changed(table, changes)
            self._lacking.update(
                (table.table, h)
                for h in hours - known
                if h in before or _has_rows(db, table, h, commit.number)
            )
        lacking = [h for h in sorted(hours) if (table.table, h) in self._lacking]
        told = sums.filter(~pl.col("hour").is_in(lacking)) if lacking else sums
        commit.add_sums("health_counts", told, KEYS)


def _changed(table: RuleTable, changes: pl.DataFrame | None) -> set[datetime]:
    """The hours of rows that were there before changes."""
    if changes is None:
        return set()
    first = changes.sort("revision").unique(table.keys, keep="first", maintain_order=True)
    were = first.filter(pl.col("old").is_not_null())
    return {*were.select(pl.col("anchor_ts").dt.truncate("1h").unique()).to_series()}


def _has_rows(db: Database, table: RuleTable, hour: datetime, commit: int) -> bool:
    """Whether the hour has a row that no publication of this commit has touched."""
    sql = f'SELECT 1 FROM "{table.table}" WHERE anchor_ts >= ? AND anchor_ts < ? AND commit < ?'
    return db.value(f"{sql} LIMIT 1", [hour, hour + _HOUR, commit]) is not None


def brake(
    db: Database, config: HealthConfig, rule: str, version: int, hour: datetime
) -> str | None:
    """Why an hour of a rule is to be held, or None; ``db`` may be inside a commit.

    Args:
        db: the store's session, as ``commit.database``.
        config: ``config.health``.
        rule: its name.
        version: of the rule.
        hour: its start, UTC.
    """
    if config.max_shift is None and config.min_coverage is None:
        return None
    asked = (
        "SELECT h.*, first(b.rows) AS rows_before FROM health h LEFT JOIN health_counts b ON "
        "(b.rule, b.version, b.label) = (h.rule, h.version, h.label) AND b.delay_ms IS NOT "
        "DISTINCT FROM h.delay_ms AND epoch_ms(b.hour) = epoch_ms(h.hour) - 86400000 "
        "WHERE h.rule = ? AND h.version = ? AND h.hour = ? GROUP BY ALL "
        "ORDER BY h.label, h.delay_ms NULLS LAST"
    )
    known = db.frame(asked, [rule, version, hour])
    window = db.value("SELECT window_ms FROM rules WHERE rule = ? AND version = ?", [rule, version])
    chosen = known.filter(pl.col("label").is_in(list(config.labels))) if config.labels else known
    return _shifted(config, chosen) or _uncovered(config, chosen, window)


def _shifted(config: HealthConfig, known: pl.DataFrame) -> str | None:
    """The label whose rate differs most from that of the day before, if by too much."""
    if config.max_shift is None:
        return None
    enough = (pl.col("rows") >= config.min_rows) & (pl.col("rows_before") >= config.min_rows)
    told = known.filter(pl.col("delay_ms").is_null() & enough).with_columns(
        # Where there were none the day before, any is more than every part of it.
        shift=pl.when(pl.col("rate_day_before") == 0)
        .then(pl.when(pl.col("rate") > 0).then(float("inf")).otherwise(0.0))
        .otherwise("shift")
    )
    far = told.filter(pl.col("shift").abs() > config.max_shift)
    if far.is_empty():
        return None
    worst = far.sort(pl.col("shift").abs(), "label", descending=[True, False]).row(0, named=True)
    return (
        f"{worst['label']}: rate {worst['rate']:.4g}, the same hour a day before "
        f"{worst['rate_day_before']:.4g}: a shift above max_shift = {config.max_shift:g}"
    )


def _uncovered(config: HealthConfig, known: pl.DataFrame, window_ms: int | None) -> str | None:
    """The label of which least was known at the first early point, if too little."""
    if config.min_coverage is None:
        return None
    early = known.filter(pl.col("delay_ms").is_not_null(), pl.col("delay_ms") != (window_ms or -1))
    first = early.filter(pl.col("delay_ms") == pl.col("delay_ms").min().over("label"))
    enough = pl.col("rows") >= config.min_rows
    few = first.filter(enough & (pl.col("coverage") < config.min_coverage))
    if few.is_empty():
        return None
    worst = few.sort("coverage", "label").row(0, named=True)
    return (
        f"{worst['label']}: {worst['coverage']:.4g} of its positives known after "
        f"{worst['delay_ms'] / 1000:g} s, below min_coverage = {config.min_coverage:g}"
    )
