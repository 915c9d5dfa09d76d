"""How the rows of a format's view differ after a commit from before it.

Always holds: what differs is found where the commit changed samples or passed points, and nowhere
else can a row differ; the rows of an hour, or of so many keys, are in memory at a time.

Not promised: an order between hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from labeling.io.store.database import Database
from labeling.io.store.sample_views import FORMATS
from labeling.io.store.views import samples_of
from labeling.model.sample import NO_FEATURES, SampleRule
from labeling.model.table import ROW_KEY
from labeling.products.formats.records import of_observations, of_states

_HOUR_MS: Final = 3_600_000
_KEYS: Final = 50_000
#: Times that a commit of a stream passes are not longer than this.
_SHORT_MS: Final = 600_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: No anchor is later; a watermark of all there will be is.
_LAST_MS: Final = 253_402_300_799_000
_GIVEN: Final = "given_keys"
_KEY: Final = ", ".join(ROW_KEY)
_ROW: Final = ", ".join(f"r.{c}" for c in ROW_KEY)


@dataclass
class Touched:
    """Where a transaction may have changed rows: keys, and anchor times ``[low, high)``."""

    keys: list[pl.DataFrame] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Nothing was touched."""
        return not self.keys and not self.spans

    def add(self, rows: pl.DataFrame) -> None:
        """Rows or changes of samples, with key and ``revision``."""
        self.keys.append(rows.select(*ROW_KEY, "revision"))

    def pass_over(self, low_ms: int, high_ms: int) -> None:
        """Rows of these anchor times have passed a point."""
        low, high = max(low_ms, 0), min(high_ms, _LAST_MS)
        if low < high:
            self.spans.append((low, high))

    def merged(self) -> list[tuple[int, int]]:
        """The times without overlaps, in order."""
        found: list[tuple[int, int]] = []
        for low, high in sorted(self.spans):
            if found and low <= found[-1][1]:
                found[-1] = (found[-1][0], max(high, found[-1][1]))
            else:
                found.append((low, high))
        return found

    def latest(self) -> pl.DataFrame:
        """Each key once, sorted by time, with its last revision."""
        if not self.keys:
            return pl.DataFrame()
        return (
            pl.concat(self.keys)
            .sort("anchor_ts", "anchor_id", "user_id", "revision")
            .unique(ROW_KEY, keep="last", maintain_order=True)
        )


def differences(
    before: Database, after: Database, sample: SampleRule, name: str, touched: Touched
) -> Iterator[tuple[pl.DataFrame, int]]:
    """What a transaction did to the rows of a format.

    Args:
        before: a session that does not see the transaction.
        after: one that does.
        sample: the rule.
        name: of the format, as in ``FORMATS``; not ``changes``.
        touched: by the transaction.

    Yields:
        Rows that are told (see ``sample_formats``), and how many were left out for want of
        features.
    """
    if not _has_table(after, sample):
        return
    view = FORMATS[name]
    made = samples_of(after, sample.name, sample.version)
    known = _has_table(before, sample)
    latest, spans = touched.latest(), touched.merged()
    for where, keys in (*_by_time(after, sample, spans), *_by_key(latest, spans)):
        sql = view(made, where)
        now = _rows(after, sql, keys)
        was = _rows(before, sql, keys) if known else now.clear()
        told = of_observations(was, now) if name == "fnw" else of_states(was, now)
        left_out = now.filter(pl.col("status") == NO_FEATURES).height
        yield _with_revisions(told, latest), left_out


def _has_table(db: Database, sample: SampleRule) -> bool:
    sql = "SELECT count(*) FROM rules WHERE rule = ? AND version = ?"
    return bool(db.value(sql, [sample.name, sample.version]))


def _rows(db: Database, sql: str, keys: pl.DataFrame | None) -> pl.DataFrame:
    if keys is None:
        return db.frame(sql)
    with db.given(_GIVEN, keys):
        return db.frame(sql)


def _by_time(
    db: Database, sample: SampleRule, spans: list[tuple[int, int]]
) -> Iterator[tuple[str, None]]:
    """A condition for short times together, and for each hour of long ones that has rows."""
    short = [(low, high) for low, high in spans if high - low <= _SHORT_MS]
    if short:
        each = " OR ".join(f"({_between(low, high)})" for low, high in short)
        yield f"{_between(short[0][0], short[-1][1])} AND ({each})", None
    for low, high in spans:
        if high - low <= _SHORT_MS:
            continue
        hours = db.frame(
            f"SELECT DISTINCT epoch_ms(r.anchor_ts) // {_HOUR_MS} AS hour "
            f'FROM "{sample.table.table}" r WHERE {_between(low, high)} ORDER BY hour'
        )
        for hour in hours["hour"]:
            first, end = max(low, hour * _HOUR_MS), min(high, (hour + 1) * _HOUR_MS)
            yield _between(first, end), None


def _by_key(
    latest: pl.DataFrame, spans: list[tuple[int, int]]
) -> Iterator[tuple[str, pl.DataFrame]]:
    """A condition for so many keys each, of those that lie outside the times."""
    if latest.is_empty():
        return
    at = pl.col("anchor_ts").dt.epoch("ms")
    inside = [(at >= low) & (at < high) for low, high in spans]
    left = latest.filter(~pl.any_horizontal(inside)) if inside else latest
    for part in left.iter_slices(_KEYS):
        first, last = part.select(low=at.first(), high=at.last()).row(0)
        same = f"({_ROW}) IN (SELECT ({_KEY}) FROM {_GIVEN})"
        yield f"{_between(first, last + 1)} AND {same}", part.select(ROW_KEY)


def _between(low_ms: int, high_ms: int) -> str:
    low, high = (
        f"TIMESTAMPTZ '{_EPOCH + timedelta(milliseconds=ms):%Y-%m-%d %H:%M:%S.%f}+00:00'"
        for ms in (low_ms, high_ms)
    )
    return f"r.anchor_ts >= {low} AND r.anchor_ts < {high}"


def _with_revisions(told: pl.DataFrame, latest: pl.DataFrame) -> pl.DataFrame:
    """A row that went has the revision of its going."""
    if latest.is_empty() or told.is_empty():
        return told
    line = told.join(latest, on=ROW_KEY, how="left", suffix="@last", maintain_order="left")
    went = (pl.col("kind") == "retract") & pl.col("revision@last").is_not_null()
    last = pl.when(went).then("revision@last").otherwise("revision").cast(pl.Int32)
    return line.with_columns(revision=last).drop("revision@last")
