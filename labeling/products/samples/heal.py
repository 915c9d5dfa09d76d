"""The samples of an hour from its current label rows and all features: clause S11.

Always holds: afterwards the samples of the hour are those of its label rows and of all features
archived so far, also those too late for the stream; no more rows are held at once than a few
million, however many the hour has.

Not promised: the states between. What was wrong is set right in one change, with reason ``replay``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import polars as pl

from labeling.engine.changes import changes
from labeling.io.store import lookup
from labeling.io.store.ownership import REPLAY
from labeling.model.event import TS
from labeling.model.table import ROW_KEY, table_of
from labeling.products.samples.rows import SampleRows

if TYPE_CHECKING:
    from labeling.io.store.commit import Commit
    from labeling.io.store.database import Database

_HOUR_MS: Final = 3_600_000
#: Label rows that are held at once, about.
_MOST_ROWS: Final = 1_000_000


def heal(commit: Commit, made: SampleRows, hour: datetime, through_ts: datetime | None) -> None:
    """Make the samples of an hour anew, and publish what differs.

    Args:
        commit: the transaction.
        made: of the sample rule.
        hour: its start, UTC.
        through_ts: points of label rows before it are published; None: all.
    """
    f_ms = None if through_ts is None else round(through_ts.timestamp() * 1000)
    for from_ts, to_ts in slices(commit.database, made, hour):
        _heal(commit, made, from_ts, to_ts, f_ms)


def slices(db: Database, made: SampleRows, hour: datetime) -> Iterator[tuple[datetime, datetime]]:
    """An hour in parts that fit into memory, each from a time up to another, exclusive."""
    table = table_of(made.sample.labels)
    end = hour + timedelta(milliseconds=_HOUR_MS)
    count = 0
    if lookup.known(db, table):
        sql = f'SELECT count(*) FROM "{table.table}" WHERE anchor_ts >= ? AND anchor_ts < ?'
        count = int(db.frame(sql, [hour, end]).item())
    parts = min(_HOUR_MS, -(-max(count, 1) // _MOST_ROWS))
    edges = [hour + timedelta(milliseconds=_HOUR_MS * n // parts) for n in range(parts + 1)]
    yield from pairwise(edges)


def made_anew(
    db: Database, made: SampleRows, from_ts: datetime, to_ts: datetime, *, replay: bool
) -> pl.DataFrame:
    """The samples of ``[from_ts, to_ts)`` by its current label rows: the columns of its table."""
    table = table_of(made.sample.labels)
    labels = lookup.rows_between(db, table, from_ts, to_ts).select(list(table.schema))
    there = labels.filter(made.exists())
    return made.rows(db, there, replay=replay).select(list(made.sample.table.schema))


def _heal(
    commit: Commit, made: SampleRows, from_ts: datetime, to_ts: datetime, f_ms: int | None
) -> None:
    db, table = commit.database, made.sample.table
    rows = made_anew(db, made, from_ts, to_ts, replay=True)
    stored = lookup.stored_between(db, table, from_ts, to_ts)
    said = {"point_ts": made.latest_point(f_ms).cast(TS), "reason": pl.lit(REPLAY)}
    if stored.is_empty():
        if rows.height:
            first = rows.with_columns(**said, revision=pl.lit(1, pl.Int32))
            commit.publish_first(table, first, pl.DataFrame())
        return
    gone = stored.filter("present").join(rows, on=ROW_KEY, how="anti").select(ROW_KEY)
    states = pl.concat(
        [
            rows.with_columns(present=pl.lit(value=True)),
            gone.with_columns(present=pl.lit(value=False)),
        ],
        how="diagonal",
    )
    changed = changes(stored, states.with_columns(**said), ROW_KEY)
    if changed.height:
        commit.publish(table, changed)
