"""Changes of label rows as changes of samples: clauses S6, S8 and S9 of docs/samples.md.

Always holds: the states of a sample follow one another as those of its label row do; a state that
changes nothing of the sample emits nothing.

Not promised: that a sample is stored where its label row was. ``changes`` looks at what is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from labeling.engine.changes import changes as differences
from labeling.io.store.schema import conform
from labeling.model.event import TS
from labeling.model.table import ROW_KEY, RuleTable
from labeling.products.samples.rows import SampleRows

if TYPE_CHECKING:
    from labeling.io.store.commit import Commit


def relevant(made: SampleRows, table: RuleTable, changes: pl.DataFrame) -> pl.DataFrame:
    """The changes before or after which the row has a sample, in the order of revisions.

    Args:
        made: of the sample rule.
        table: the label rule's.
        changes: of label rows, as for ``Commit.publish``.

    Returns:
        Key and values of the label row after the change, ``present`` (whether it has a sample
        then), ``reason`` and ``point_ts``.
    """
    ordered = changes.sort("revision", maintain_order=True)
    was, now = (_has_sample(made, side) for side in ("old", "new"))
    told = ordered.with_columns(present=now, was=was).filter(pl.col("was") | pl.col("present"))
    # Typed by the table: a struct of changes may hold other widths.
    new = pl.col("new").struct
    return told.select(
        *table.keys,
        *(new.field(c).cast(kind).alias(c) for c, kind in table.values.items()),
        *("present", "reason", "point_ts"),
    )


def _has_sample(made: SampleRows, side: str) -> pl.Expr:
    label = pl.col(side).struct.field(made.sample.label)
    return pl.col(side).is_not_null() & made.exists(label)


def sampled(
    commit: Commit, made: SampleRows, states: pl.DataFrame, *, replay: pl.Series | bool
) -> pl.DataFrame:
    """States of label rows as states of samples.

    Args:
        commit: names the files of features.
        made: of the sample rule.
        states: what ``relevant`` returned.
        replay: whether features count that were too late for the stream: of all, or of each.

    Returns:
        What ``changes`` takes as rows, but that ``point_ts`` is the place in ``states``: points may
        be unknown, and a late correction comes at the point of the value that it replaces.
    """
    place = pl.int_range(pl.len(), dtype=pl.Int64).cast(TS)
    placed = states.with_columns(point_ts=place)
    there = placed["present"]
    each = replay if isinstance(replay, bool) else replay.filter(there)
    rows = made.rows(commit.database, placed.filter(there), replay=each)
    gone = placed.filter(~there)
    return pl.concat([rows, gone], how="diagonal") if gone.height else rows


def publish_between(
    commit: Commit, made: SampleRows, stored: pl.DataFrame, samples: pl.DataFrame, points: pl.Series
) -> None:
    """Publish what takes stored samples to new states.

    Args:
        commit: the transaction.
        made: of the sample rule.
        stored: as ``lookup.current`` returns it, of the keys of ``samples``.
        samples: what ``sampled`` returned.
        points: the time of the point of each place.
    """
    table = made.sample.table
    typed = {**table.schema, "reason": pl.String(), "present": pl.Boolean(), "point_ts": TS}
    changed = differences(stored, conform(samples, typed), ROW_KEY)
    if changed.height:
        at = points.gather(changed["point_ts"].to_physical())
        commit.publish(table, changed.with_columns(at.alias("point_ts")))
