"""Running a plan: read a block, evaluate, publish its hours, each in one transaction.

Always holds: an hour is published whole or not at all, so that whatever stops a replay, the store
is right and the next run goes on behind it; publishing the same again changes nothing. Into an hour
that was never published go all points one after the other, hence the revisions that a stream
would have made; into another go the differences, with reason ``replay``.

Not promised: that what was published earlier of an hour stays: replay knows better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import polars as pl

from backfill.plan import HOUR, Block, Plan, is_complete
from labeling.engine.changes import KEYS, changes, empty_stored
from labeling.engine.evaluate import labels_at, widened
from labeling.engine.keys import user_key
from labeling.engine.points import points
from labeling.engine.watermark import FOREVER, NEVER
from labeling.io.archive import Archive, user_bucket
from labeling.io.store import Store
from labeling.io.store.commit import Commit
from labeling.model.event import IDENTITY, TS
from labeling.model.rule import LabelRule

#: The order in which events were archived: of one identity the first counts.
_ARRIVED: Final = ("archived", "source", "topic", "partition", "offset", "index")


@dataclass(frozen=True)
class HourDone:
    """One published hour and what of it changed."""

    hour: datetime
    rows: int
    inserted: int
    updated: int
    retracted: int
    complete: bool

    @property
    def changed(self) -> bool:
        """Whether the store now says anything else than before."""
        return bool(self.inserted or self.updated or self.retracted)


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
            yield _publish_parts(store, archive, plan, block, progress)
            continue
        part = _evaluated(archive, plan, block, 0, progress)
        for hour in block.hours:
            with store.commit(_what(plan, hour)) as commit:
                writer = _HourWriter(store, commit, plan, hour)
                writer.write(part, None)
                done = writer.finish(block)
            yield done


def _publish_parts(
    store: Store, archive: Archive, plan: Plan, block: Block, progress: Callable[[int], None]
) -> HourDone:
    """One hour that is more than memory holds: parts of its users, all in one transaction."""
    (hour,) = block.hours
    with store.commit(_what(plan, hour)) as commit:
        writer = _HourWriter(store, commit, plan, hour)
        for bucket in range(block.buckets):
            part = _evaluated(archive, plan, block, bucket, progress)
            writer.write(part, user_bucket(bucket, block.buckets))
        return writer.finish(block)


def _what(plan: Plan, hour: datetime) -> str:
    return f"replay {plan.rule.key} {hour:%Y-%m-%dT%H}"


@dataclass(frozen=True)
class _Part:
    """Events of a block, and the labels of its anchors at every point passed.

    ``labels`` is what ``labels_at`` returns, with ``anchor_ts``.
    """

    rule: LabelRule
    events: pl.DataFrame
    labels: pl.DataFrame

    def of_hour(self, hour: datetime) -> pl.DataFrame:
        """The labels of one hour's anchors."""
        inside = pl.col("anchor_ts").is_between(hour, hour + HOUR, closed="left")
        return self.labels.filter(inside).drop("anchor_ts")

    def rows(self, hour: datetime) -> pl.DataFrame:
        """The hour's rows at every point, in full."""
        return widened(self.rule, self.events, self.of_hour(hour))

    def first_changes(self, hour: datetime) -> pl.DataFrame:
        """What ``changes`` makes of the hour's rows where nothing is stored.

        Rows of one anchor differ in labels alone, and are told apart by its number: a tenth of
        the work of comparing whole rows by their keys.
        """
        labels = self.of_hour(hour).with_columns(reason=pl.lit("point"))
        nothing = empty_stored(labels.schema, ("row",))
        made = changes(nothing, labels, ("row",))
        wide = widened(self.rule, self.events, made.with_columns(present=pl.lit(value=True)))
        return wide.with_columns(self._in_full("old"), self._in_full("new")).select(
            *KEYS, *(c for c in made.columns if c != "row")
        )

    def _in_full(self, side: str) -> pl.Expr:
        carried = [pl.col(c) for c in self.rule.carry]
        labels = [pl.col(side).struct.field(c) for c in self.rule.label_schema]
        return pl.when(pl.col(side).is_not_null()).then(pl.struct(*carried, *labels)).alias(side)


def _evaluated(
    archive: Archive, plan: Plan, block: Block, bucket: int, progress: Callable[[int], None]
) -> _Part:
    """One part of a block, evaluated at every passed point of its anchors."""
    events = _events(archive, plan.rule, block, bucket)
    mark = pl.lit(max(NEVER, min(plan.mark, FOREVER)), dtype=pl.Int64).cast(TS)
    asked = points(plan.rule, events).filter(
        pl.col("event_ts").is_between(block.from_ts, block.to_ts, closed="left"),
        pl.col("point_ts") < mark,
    )
    labels = labels_at(plan.rule, events, asked).with_columns(anchor_ts=asked["event_ts"])
    progress(events.height)
    return _Part(plan.rule, events, labels)


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


class _HourWriter:
    """One hour's rows into the store, in one or more parts of its users, in an open transaction."""

    def __init__(self, store: Store, commit: Commit, plan: Plan, hour: datetime) -> None:
        self._commit = commit
        self._plan = plan
        self._hour = hour
        self._stored = store.stored_of_hour(plan.table, hour)
        self._counts = [0, 0, 0]

    def write(self, part: _Part, user_keys: tuple[int, int] | None) -> None:
        """Publish the part's rows of the hour: all, or those of a range of users."""
        if self._stored.is_empty():
            made = part.first_changes(self._hour)
        else:
            stored = _of_users(self._stored, user_keys)
            made = changes(stored, _whole(part.rows(self._hour), stored))
        told = self._commit.publish(self._plan.table, made)
        for i, n in enumerate((told.inserted, told.updated, told.retracted)):
            self._counts[i] += n

    def finish(self, block: Block) -> HourDone:
        """Say in the books what was read and published."""
        plan = self._plan
        complete = is_complete(plan.rule, self._hour, plan.mark)
        rows = self._commit.set_hour(
            plan.table,
            self._hour,
            archive_commit=max((f.max_archived for f in block.files), default=0),
            complete=complete,
            through_ts=None if complete else datetime.fromtimestamp(plan.mark / 1000, UTC),
        )
        inserted, updated, retracted = self._counts
        return HourDone(self._hour, rows, inserted, updated, retracted, complete)


def _of_users(stored: pl.DataFrame, user_keys: tuple[int, int] | None) -> pl.DataFrame:
    if user_keys is None:
        return stored
    low, high = (pl.lit(k, dtype=pl.UInt64) for k in user_keys)
    return stored.filter(user_key().is_between(low, high))


def _whole(rows: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Each row at its latest point, and what is stored without one as absent."""
    latest = rows.sort(*KEYS, "point_ts").unique(KEYS, keep="last", maintain_order=True)
    gone = stored.join(latest, on=KEYS, how="anti", maintain_order="left")
    absent = gone.select(*KEYS, present=pl.lit(value=False), point_ts="anchor_ts")
    return pl.concat([latest.drop("row"), absent], how="diagonal").with_columns(
        reason=pl.lit("replay")
    )
