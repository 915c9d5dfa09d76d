"""Everything that is kept by adding differences, held against a count of what is there.

Always holds: nothing is written; what is told to differ did so at every look, of which there are
several while a flow goes on writing, since not all that is compared can be read as of one commit.

Not promised: counts of health. What they are made of, the time of each change, is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

import polars as pl

from labeling.io.store import Store, lookup
from labeling.io.store.database import Database
from labeling.io.store.retention import first_day
from labeling.model.rollup import Rollup
from labeling.model.sample import SampleRule
from labeling.model.table import ROW_KEY, RuleTable, table_of
from labeling.products.context import Context
from labeling.products.markers import digests
from labeling.products.rollups import recount as rollup_recount
from labeling.products.rollups import tables as rollup_tables
from labeling.products.rollups.recount import DIFFERENCE
from labeling.products.samples import recount as sample_recount

_LOOKS: Final = 4


class _Named(Protocol):
    """A rule, a sample rule, a rollup or a table."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...


@dataclass(frozen=True)
class Comparison:
    """One product to be compared, hour by hour.

    ``name``: of the product; ``rows_of``: the rule whose rows it is made of; ``hours``: starts,
    UTC, increasing; ``look``: what of an hour differs, as ``DIFFERENCE``.
    """

    name: str
    rows_of: str
    hours: tuple[datetime, ...]
    look: Callable[[datetime], pl.DataFrame]

    def each(self, store: Store) -> Iterator[pl.DataFrame]:
        """What differs, hour by hour; ``store`` is the one that ``look`` reads."""
        for hour in self.hours:
            yield _lasting(store, self.look, hour)


def comparisons(
    store: Store,
    context: Context,
    names: Sequence[str] = (),
    from_ts: datetime | None = None,
    to_ts: datetime | None = None,
) -> list[Comparison]:
    """What there is to compare: digests of all rules, samples, rollups; in this order.

    Hours whose rows retention drops are left out: sums outlive rows.

    Args:
        store: open for reading.
        context: the operator's tree and configuration.
        names: of rules, samples and rollups, with or without version; none: all. A rule's name
            means its digests and the rollups of it.
        from_ts: the first hour; None: the first there is.
        to_ts: the end of the range, exclusive.

    Raises:
        StoreError: a version is known with another digest.
    """
    db, tree = store.database, context.tree
    tables = [table_of(rule) for rule in tree.rules] + [sample.table for sample in tree.samples]
    found = [_of_digests(db, t) for t in tables if _asked(names, t) and lookup.known(db, t)]
    found += [
        _of_sample(store, context, sample)
        for sample in tree.samples
        if _asked(names, sample) and lookup.known(db, sample.table)
    ]
    found += [
        _of_rollup(db, rollup)
        for rollup in tree.rollups
        if (_asked(names, rollup) or _asked(names, rollup.of)) and rollup_tables.known(db, rollup)
    ]
    newest = db.value("SELECT max(newest_ts) FROM commits")
    told = []
    for one in found:
        keep_ms = context.config.retention.get(one.rows_of)
        kept_from = None if keep_ms is None or newest is None else first_day(newest, keep_ms)
        low = max((at for at in (from_ts, kept_from) if at is not None), default=None)
        told.append(replace(one, hours=_within(one.hours, low, to_ts)))
    return told


def _asked(names: Sequence[str], of: _Named) -> bool:
    return not names or of.name in names or _key(of) in names


def _of_rollup(db: Database, rollup: Rollup) -> Comparison:
    def look(hour: datetime) -> pl.DataFrame:
        return rollup_recount.differences(db, rollup, hour)

    hours = rollup_recount.hours(db, rollup)
    return Comparison(f"rollup {rollup.key}", rollup.of.name, tuple(hours), look)


def _of_sample(store: Store, context: Context, sample: SampleRule) -> Comparison:
    def look(hour: datetime) -> pl.DataFrame:
        told = sample_recount.differences(store, context, sample, [hour])
        return _told(
            told,
            sample.key,
            group=pl.struct(ROW_KEY).struct.json_encode(),
            what=pl.format("{} ({})", "kind", "cause"),
            # Of a row that is there and should not be 1 is kept; of one that should be otherwise
            # none of what is kept is counted.
            kept=(pl.col("kind") != "missing").cast(pl.Int64),
            counted=(pl.col("kind") == "missing").cast(pl.Int64),
        )

    hours = _hours_of(store.database, sample.table.table, table_of(sample.labels).table)
    return Comparison(f"samples {sample.key}", sample.name, hours, look)


def _of_digests(db: Database, table: RuleTable) -> Comparison:
    names = list(digests.SUMS)

    def look(hour: datetime) -> pl.DataFrame:
        kept = digests.digests_of(db, table, [hour])
        counted = digests.recounted(db, table, [hour])
        sides = [
            side.unpivot(names, index="hour", variable_name="what", value_name=name)
            for name, side in (("kept", kept), ("counted", counted))
        ]
        sums = pl.concat(sides, how="diagonal").group_by("hour", "what")
        both = sums.agg(pl.col("kept", "counted").sum())
        differing = both.filter(pl.col("kept") != pl.col("counted"))
        return _told(differing, _key(table), group=pl.lit("{}"))

    asked = "SELECT hour FROM digests WHERE rule = ? AND version = ?"
    summed = db.frame(asked, [table.name, table.version])["hour"]
    # A version of which none is kept began before digests were.
    hours = tuple(sorted({*summed, *_hours_of(db, table.table)})) if summed.len() else ()
    return Comparison(f"digests {_key(table)}", table.name, hours, look)


def _told(frame: pl.DataFrame, product: str, **more: pl.Expr) -> pl.DataFrame:
    told = frame.with_columns(product=pl.lit(product), **more)
    return told.select(pl.col(c).cast(kind) for c, kind in DIFFERENCE.items()).sort(
        "hour", "group", "what"
    )


def _hours_of(db: Database, *tables: str) -> tuple[datetime, ...]:
    each = (rollup_tables.hours_of_rows(db, table) for table in tables)
    return tuple(sorted({hour for hours in each for hour in hours}))


def _within(
    hours: Sequence[datetime], from_ts: datetime | None, to_ts: datetime | None
) -> tuple[datetime, ...]:
    after = [h for h in hours if from_ts is None or h >= from_ts]
    return tuple(h for h in after if to_ts is None or h < to_ts)


def _key(of: _Named) -> str:
    return f"{of.name}@{of.version}"


def _lasting(
    store: Store, look: Callable[[datetime], pl.DataFrame], hour: datetime
) -> pl.DataFrame:
    """What differs at every look; one is enough where nothing was committed meanwhile."""
    by = pl.struct("group", "what", pl.col("kept") - pl.col("counted"))
    before = store.last_commit
    found = look(hour)
    for _ in range(_LOOKS - 1):
        now = store.last_commit
        if found.is_empty() or now == before:
            break
        before, earlier = now, found.select(by).to_series()
        found = look(hour).filter(by.is_in(earlier.implode()))
    return found
