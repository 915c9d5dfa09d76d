"""Running a plan: read a block, evaluate it, publish its hours.

Always holds: an hour is published whole or not at all, so that whatever stops a replay, the store
is right and the next run goes on behind it. Hours of few rows share a transaction.

Not promised: that the estimate of the plan was right: a block may turn out larger than it said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final

import polars as pl

from backfill.plan import Block, Plan
from backfill.publish import HourDone, HoursWriter, Part
from labeling.engine.evaluate import labels_at
from labeling.engine.points import points
from labeling.engine.watermark import FOREVER, NEVER
from labeling.io.archive import Archive, user_bucket
from labeling.io.store import Store
from labeling.model.event import IDENTITY, TS
from labeling.model.rule import LabelRule

#: The order in which events were archived: of one identity the first counts.
_ARRIVED: Final = ("archived", "source", "topic", "partition", "offset", "index")
#: Hours share a transaction up to so many rows at points: small ones would cost one each.
_SHARE_ROWS: Final = 500_000


def replay(
    store: Store,
    archive: Archive,
    plan: Plan,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[HourDone]:
    """Publish the hours of a plan.

    Args:
        store: open for writing.
        archive: where the plan's files lie.
        plan: from ``backfill.plan.plan``.
        progress: told how many events were evaluated, after each part.

    Yields:
        Each hour, once it is published.

    Raises:
        DataError: a file is missing or damaged; hours yielded before stay published.
        StoreError: the store cannot be written, or the disk is full; likewise.
    """
    for block in plan.blocks:
        if block.buckets > 1:
            yield from _publish_parts(store, archive, plan, block, progress)
            continue
        part = _evaluated(archive, plan, block, 0, progress)
        for hours in part.shares(block.hours, _SHARE_ROWS):
            with store.commit(_what(plan, hours)) as commit:
                writer = HoursWriter(store, commit, plan, hours)
                writer.write(part, None)
                done = writer.finish(block)
            yield from done


def _publish_parts(
    store: Store, archive: Archive, plan: Plan, block: Block, progress: Callable[[int], None]
) -> list[HourDone]:
    """One hour that is more than memory holds: parts of its users, all in one transaction."""
    with store.commit(_what(plan, block.hours)) as commit:
        writer = HoursWriter(store, commit, plan, block.hours)
        for bucket in range(block.buckets):
            part = _evaluated(archive, plan, block, bucket, progress)
            writer.write(part, user_bucket(bucket, block.buckets))
        return writer.finish(block)


def _what(plan: Plan, hours: Sequence[datetime]) -> str:
    more = f" and {len(hours) - 1} more hours" if len(hours) > 1 else ""
    return f"replay {plan.rule.key} {hours[0]:%Y-%m-%dT%H}{more}"


def _evaluated(
    archive: Archive, plan: Plan, block: Block, bucket: int, progress: Callable[[int], None]
) -> Part:
    """One part of a block, evaluated at every passed point of its anchors."""
    events = _events(archive, plan.rule, block, bucket)
    mark = pl.lit(max(NEVER, min(plan.mark, FOREVER)), dtype=pl.Int64).cast(TS)
    asked = points(plan.rule, events).filter(
        pl.col("event_ts").is_between(block.from_ts, block.to_ts, closed="left"),
        pl.col("point_ts") < mark,
    )
    labels = labels_at(plan.rule, events, asked).with_columns(
        hour=asked["event_ts"].dt.truncate("1h")
    )
    progress(events.height)
    return Part(plan.rule, events, labels)


def _events(archive: Archive, rule: LabelRule, block: Block, bucket: int) -> pl.DataFrame:
    """The events of a part, each identity once.

    Events too late for the stream were archived without a look for repeats.
    """
    users = None if block.buckets == 1 else user_bucket(bucket, block.buckets)

    def scan(*columns: str) -> pl.LazyFrame:
        return archive.scan(
            block.files, columns, from_ts=block.read_from, to_ts=block.read_to, user_keys=users
        )

    columns = sorted(rule.event_columns)
    with archive.damage_explained(block.files):
        late = scan("arrival").filter(pl.col("arrival") == "too_late").head(1).collect().height
        if not late:
            return scan(*columns).collect()
        events = scan(*dict.fromkeys((*columns, *_ARRIVED))).collect()
    return events.sort(_ARRIVED).unique(IDENTITY, keep="first", maintain_order=True).select(columns)
