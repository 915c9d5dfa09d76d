"""Features that were served and never shown: clause S12 of docs/samples.md.

Always holds: a record is unused while there is no label row of its request and item for which it
could count (clause S3), whether or not another record counts before it. Nothing is written.

Not promised: that a record stays unused. Its impression may come late.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import polars as pl

from labeling.io.feature_archive import feature_archive
from labeling.io.store import lookup
from labeling.model.event import TS
from labeling.model.sample import SampleRule
from labeling.model.table import table_of

if TYPE_CHECKING:
    from labeling.io.store import Store
    from labeling.products.context import Context

_HOUR: Final = timedelta(hours=1)
#: ``hour`` of served time, how many records were served, and how many of them are unused.
UNUSED: Final = {"hour": TS, "records": pl.Int64(), "unused": pl.Int64()}


def unused(
    store: Store, context: Context, sample: SampleRule, hours: Iterable[datetime]
) -> pl.DataFrame:
    """How many records of a sample rule's source were served for nothing.

    Args:
        store: open, for reading; through an endpoint too.
        context: knows where features lie.
        sample: names the source and the label rule.
        hours: starts of hours of served time, UTC.

    Returns:
        ``UNUSED``, by hour; hours without a record are left out.

    Raises:
        DataError: a file of features is missing or damaged.
    """
    found = [(hour, *_of_hour(store, context, sample, hour)) for hour in sorted(hours)]
    counted = [each for each in found if each[1]]
    return pl.DataFrame(counted, schema=UNUSED, orient="row")


def _of_hour(store: Store, context: Context, sample: SampleRule, hour: datetime) -> tuple[int, int]:
    """Records of an hour, and those of them that are unused."""
    source, end = sample.features.source, hour + _HOUR
    archive = feature_archive(context.config, context.config.source(source))
    files = store.feature_files(source, hour, end)
    served = archive.read(
        files, ["request_id", "item_id", "event_ts"], from_ts=hour, to_ts=end
    ).with_row_index("record")
    if served.is_empty():
        return 0, 0
    before = timedelta(milliseconds=sample.served_after_ms)
    after = timedelta(milliseconds=sample.features.within_ms)
    rows = lookup.rows_between(
        store.database, table_of(sample.labels), hour - before, end + after
    ).select("request_id", "item_id", "anchor_ts")
    pairs = served.join(rows, on=["request_id", "item_id"], how="inner")
    at, anchor = pl.col("event_ts"), pl.col("anchor_ts")
    used = pairs.filter(at.is_between(anchor - after, anchor + before))["record"].n_unique()
    return served.height, served.height - used
