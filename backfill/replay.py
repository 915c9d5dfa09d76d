"""Running a plan: read a block, evaluate it, publish its hours.

Always holds: an hour is published whole or not at all, so that whatever stops a replay, the store
is right and the next run goes on behind it. Hours of few rows share a transaction.

Not promised: that the estimate of the plan was right: a block may turn out larger than it said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final

from backfill.blocks import Block
from backfill.evaluating import Part, evaluated
from backfill.plan import Plan
from backfill.publish import HourDone, HoursWriter
from backfill.reading import read
from labeling.io.archive import Archive, user_bucket
from labeling.io.store import Store

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
        progress: told how many events were read, as the plan estimates them, after each part.

    Yields:
        Each hour, once it is published.

    Raises:
        DataError: a file is missing or damaged; hours yielded before stay published.
        StoreError: the store cannot be written, the disk is full, or an hour has become the
            stream's; likewise.
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
                writer.finish(block)
            yield from writer.done()


def _publish_parts(
    store: Store, archive: Archive, plan: Plan, block: Block, progress: Callable[[int], None]
) -> list[HourDone]:
    """Hours that are more than memory holds: parts of their users, all in one transaction."""
    with store.commit(_what(plan, block.hours)) as commit:
        writer = HoursWriter(store, commit, plan, block.hours)
        for bucket in range(block.buckets):
            part = _evaluated(archive, plan, block, bucket, progress)
            writer.write(part, user_bucket(bucket, block.buckets))
        writer.finish(block)
    return writer.done()


def _what(plan: Plan, hours: Sequence[datetime]) -> str:
    more = f" and {len(hours) - 1} more hours" if len(hours) > 1 else ""
    return f"replay {plan.rule.key} {hours[0]:%Y-%m-%dT%H}{more}"


def _evaluated(
    archive: Archive, plan: Plan, block: Block, bucket: int, progress: Callable[[int], None]
) -> Part:
    """One part of a block, evaluated at every passed point of its anchors."""
    events = read(archive, plan.rule, block, bucket).events()
    part = evaluated(plan.rule, events, block, plan.mark)
    progress(block.events // block.buckets)
    return part
