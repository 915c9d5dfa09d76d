"""Samples counted anew from what the store and the features say now, held against those stored.

Always holds: nothing is derived by other code than that which published the samples; nothing is
written.

Not promised: that a difference is a bug. Samples begin with the rows that were published after
their rule was declared; ``labeling replay`` makes the rest. Features that came too late since an
hour was replayed are told apart, as ``too late``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final

import polars as pl

from labeling.io.store import lookup
from labeling.model.event import TS
from labeling.model.sample import SampleRule
from labeling.model.table import ROW_KEY, ROW_KEY_SCHEMA
from labeling.products.samples import books
from labeling.products.samples.heal import made_anew, slices
from labeling.products.samples.rows import SampleRows

if TYPE_CHECKING:
    from labeling.io.store import Store
    from labeling.products.context import Context

BUG: Final = "bug"
TOO_LATE: Final = "too late"
#: What a difference says. ``kind``: ``missing`` (not stored), ``extra`` (should not be) or
#: ``different``; ``stored`` and ``recounted``: JSON of the columns that differ, else of the row.
DIFFERENCES: Final = {
    "hour": TS,
    **ROW_KEY_SCHEMA,
    "kind": pl.String(),
    "stored": pl.String(),
    "recounted": pl.String(),
    "cause": pl.String(),
}


def differences(
    store: Store, context: Context, sample: SampleRule, hours: Iterable[datetime]
) -> pl.DataFrame:
    """What of a sample rule's rows is not what its label rows and features make of it.

    Args:
        store: open, for reading; through an endpoint too.
        context: knows where features lie.
        sample: the rule.
        hours: starts of hours of anchor time, UTC.

    Returns:
        ``DIFFERENCES``, by hour and key; ``cause`` is ``bug``, or ``too late`` where features
        were archived after the hour had been replayed.

    Raises:
        DataError: a file of features is missing or damaged.
        StoreError: a version is known with another digest.
    """
    db, made = store.database, SampleRows(sample, context.features)
    healed = set(books.healed_hours(db, sample))
    found = [pl.DataFrame(schema=DIFFERENCES)]
    for hour in sorted(hours):
        replay = hour in healed
        cause = TOO_LATE if replay and books.newer_features(db, sample, hour) else BUG
        for from_ts, to_ts in slices(db, made, hour):
            stored = lookup.rows_between(db, sample.table, from_ts, to_ts)
            again = made_anew(db, made, from_ts, to_ts, replay=replay)
            told = _differing(sample, stored, again)
            told = told.with_columns(hour=pl.lit(hour, TS), cause=pl.lit(cause))
            found.append(told.select(list(DIFFERENCES)))
    return pl.concat(found)


def _differing(sample: SampleRule, stored: pl.DataFrame, again: pl.DataFrame) -> pl.DataFrame:
    """Key, ``kind``, ``stored`` and ``recounted``, by key."""
    values = list(sample.table.values)
    was = stored.select(*ROW_KEY, old=pl.struct(values))
    now = again.select(*ROW_KEY, new=pl.struct(values))
    both = was.join(now, on=ROW_KEY, how="full", coalesce=True)
    old, new = pl.col("old"), pl.col("new")
    kind = (
        pl.when(old.is_null()).then(pl.lit("missing"))
        .when(new.is_null()).then(pl.lit("extra"))
        .when(pl.any_horizontal(_differs(c) for c in values)).then(pl.lit("different"))
    )  # fmt: skip
    told = both.with_columns(kind=kind).drop_nulls("kind").sort(*ROW_KEY)
    return told.select(
        *ROW_KEY, "kind", stored=_text("old", values), recounted=_text("new", values)
    )


def _differs(column: str) -> pl.Expr:
    old, new = (pl.col(side).struct.field(column) for side in ("old", "new"))
    return old.ne_missing(new)


def _text(side: str, values: list[str]) -> pl.Expr:
    """One side as JSON: of the columns that differ; whole where there is no other side."""
    parts = [
        pl.when(_differs(c)).then(
            pl.struct(pl.col(side).struct.field(c)).struct.json_encode().str.slice(1)
        ).str.strip_suffix("}")
        for c in values
    ]  # fmt: skip
    some = pl.concat_str(pl.lit("{"), pl.concat_str(parts, separator=",", ignore_nulls=True),
                         pl.lit("}"))  # fmt: skip
    whole = pl.when(pl.col(side).is_not_null()).then(pl.col(side).struct.json_encode())
    return pl.when(pl.col("kind") == "different").then(some).otherwise(whole)
