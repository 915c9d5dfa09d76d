"""Features that came late, and the samples that they reach: clause S10.

Always holds: a sample says the first features that count for it, as soon as they are archived.

Not promised: samples of label rows that have none: late features change what a sample says, never
whether it is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from labeling.engine.changes import changes
from labeling.io.store import lookup
from labeling.io.store.schema import conform
from labeling.model.event import TS
from labeling.model.sample import SAMPLE_SCHEMA
from labeling.model.table import ROW_KEY
from labeling.products.samples import books
from labeling.products.samples.rows import SampleRows

if TYPE_CHECKING:
    from labeling.io.store.commit import Commit

_REASON: Final = "late"


def rejoined(commit: Commit, made: SampleRows, late: pl.DataFrame) -> None:
    """Publish the samples that late features change.

    Args:
        commit: the transaction; it names the files that the features are in.
        made: of the sample rule.
        late: of its source, with ``user_id`` (the request), ``event_id`` (the item),
            ``event_ts`` (when they were served) and ``features_key``.
    """
    db, table = commit.database, made.sample.table
    if not lookup.known(db, table):
        return
    stored = _reached(commit, made, late)
    if stored.is_empty():
        return
    labels = stored.drop("revision", "present", *SAMPLE_SCHEMA)
    rows = made.rows(db, labels, replay=books.healed(db, made.sample, labels))
    f_ms = books.passed_ms(db, made.sample.labels.key)
    states = rows.with_columns(
        present=pl.lit(value=True),
        point_ts=made.latest_point(f_ms).cast(TS),
        reason=pl.lit(_REASON),
    )
    changed = changes(stored, states, ROW_KEY)
    if changed.height:
        commit.publish(table, changed)


def _reached(commit: Commit, made: SampleRows, late: pl.DataFrame) -> pl.DataFrame:
    """Stored samples for which some of the features may count before what they say.

    As ``lookup.current`` returns them.
    """
    table, db = made.sample.table, commit.database
    before, after = made.sample.served_after_ms, made.sample.features.within_ms
    served = late.select(
        "user_id", "event_id", "features_key", ms=pl.col("event_ts").dt.epoch("ms")
    )
    ts = pl.col("event_ts")
    low, high = late.select(
        (ts - pl.duration(milliseconds=before)).min().alias("low"),
        (ts + pl.duration(milliseconds=after)).max().alias("high"),
    ).row(0)
    columns = ", ".join(f't."{c}"' for c in table.schema)
    at = "epoch_ms(t.anchor_ts)"
    with db.given("given_served", served):
        found = db.frame(
            f'SELECT {columns}, t.revision, TRUE AS present FROM "{table.table}" t SEMI JOIN '
            "given_served s ON t.request_id = s.user_id AND t.item_id = s.event_id "
            f"AND {at} BETWEEN s.ms - {before} AND s.ms + {after} "
            "AND (t.served_ts IS NULL OR s.ms < epoch_ms(t.served_ts) OR "
            "s.ms = epoch_ms(t.served_ts) AND s.features_key < t.features_key) "
            "WHERE t.anchor_ts BETWEEN ? AND ?",
            [low, high],
        )
    schema = {**table.schema, "revision": pl.Int32(), "present": pl.Boolean()}
    return conform(found, schema).sort(table.keys)
