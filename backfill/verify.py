"""What a stream published against what a replay makes of the same archive: law 2.

Always holds: nothing is evaluated, compared or read by other code than replay's. Of an hour that a
stream published the events count that were not too late for it; of one that a replay published,
those archived up to the commit that it had read. Every row of the hours is compared in every
column but revision and commits; of a row that no late event could reach, the revision too. A
difference that is left is a ``bug``. What counting the events left out would change is told
apart, as ``too late``: it is what healing brings.

Not promised: hours that are not settled, and those that nobody published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Final

import polars as pl

from backfill import compare
from backfill.evaluating import evaluated
from backfill.publish import of_users
from backfill.reading import Read, read
from backfill.verify_plan import Checked, VerifyPlan
from labeling.io.archive import Archive, user_bucket
from labeling.io.store import Store
from labeling.io.store.ownership import STREAM
from labeling.model.kinds import Rule

BUG: Final = "bug"
TOO_LATE: Final = "too late"
_KINDS: Final = ("missing", "extra", "different", "revision")


@dataclass(frozen=True)
class HourVerified:
    """What was found of one hour.

    ``rows`` were compared; of these ``missing`` are not stored, ``extra`` should not be,
    ``different`` have other values, ``revision`` another count of revisions. ``too_late`` is how
    many rows healing would change. ``differences`` has ``compare.DIFFERENCES`` and ``cause``,
    of so many rows as were asked for.
    """

    hour: datetime
    published_by: str
    rows: int
    missing: int
    extra: int
    different: int
    revision: int
    too_late: int
    differences: pl.DataFrame

    @property
    def bugs(self) -> int:
        """Rows that law 2 does not explain."""
        return self.missing + self.extra + self.different + self.revision

    @property
    def equal(self) -> int:
        """Rows that are as they should be."""
        return self.rows - self.bugs


def verify(
    store: Store,
    archive: Archive,
    plan: VerifyPlan,
    *,
    examples: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[HourVerified]:
    """Compare the hours of a plan, in order.

    Args:
        store: open, for reading.
        archive: where the plan's files lie.
        plan: from ``backfill.verify_plan.plan_verify``.
        examples: rows whose differences are told, of each hour; None: all.
        progress: told how many events were evaluated, after each part.

    Raises:
        DataError: a file is missing or damaged.
    """
    keys = plan.table.keys
    for checked in plan.checked:
        parts = [_part(store, archive, plan, checked, n) for n in _counted(checked, progress)]
        for at in checked.block.hours:
            found = [part.of_hour(at) for part in parts]
            yield _told(at, checked.published_by, reduce(_Found.added, found), keys, examples)


@dataclass(frozen=True)
class _Found:
    """When the anchors of rows made were, differences, and what healing would change."""

    made: pl.DataFrame
    bugs: pl.DataFrame
    revisions: pl.DataFrame
    healing: pl.DataFrame

    def of_hour(self, at: datetime) -> _Found:
        """What is of one hour."""
        frames = (self.made, self.bugs, self.revisions, self.healing)
        return _Found(*(frame.filter(compare.hour() == at) for frame in frames))

    def added(self, other: _Found) -> _Found:
        """Both."""
        return _Found(
            pl.concat([self.made, other.made]),
            pl.concat([self.bugs, other.bugs]),
            pl.concat([self.revisions, other.revisions]),
            pl.concat([self.healing, other.healing]),
        )


def _counted(checked: Checked, progress: Callable[[int], None]) -> Iterator[int]:
    """The parts of a block, with the progress told after each."""
    block = checked.block
    for bucket in range(block.buckets):
        yield bucket
        progress(block.events // block.buckets)


def _part(
    store: Store, archive: Archive, plan: VerifyPlan, checked: Checked, bucket: int
) -> _Found:
    """One part of a block."""
    block, rule, table = checked.block, plan.rule, plan.table
    users = None if block.buckets == 1 else user_bucket(bucket, block.buckets)
    stored = of_users(store.rows_between(table, block.from_ts, block.to_ts), users)
    archived = read(archive, rule, block, bucket, ("arrival", "archived"))
    rows = _rows(rule, archived.events(checked.counts), checked)
    made = compare.compared(table, rows)
    bugs = compare.differing(compare.compared(table, stored), made, table.keys)
    revisions = rows.select(*table.keys, old="revision", new="revision").clear()
    if checked.published_by == STREAM:
        was, now = (_without(each, bugs, table.keys) for each in (stored, rows))
        revisions = _not_reached(rule, compare.revised(was, now, table.keys), archived)
    healing = _without(_healing(plan, checked, archived, made), bugs, table.keys)
    return _Found(made.select("anchor_ts"), bugs, revisions, healing)


def _rows(rule: Rule, events: pl.DataFrame, checked: Checked) -> pl.DataFrame:
    """Key, values and revision of the block's rows, at the last of their points published."""
    return evaluated(rule, events, checked.block, checked.mark).first(checked.block.hours).rows


def _healing(
    plan: VerifyPlan, checked: Checked, archived: Read, made: pl.DataFrame
) -> pl.DataFrame:
    """What the events left out would change, of the users who have any: rows depend on no other."""
    read_by_rule = pl.col("event_type").is_in(sorted(plan.rule.event_types))
    left_out = archived.archived.filter(~checked.counts, read_by_rule)
    mine = pl.col("user_id").is_in(left_out["user_id"].unique().implode())
    base, keys = made.filter(mine), plan.table.keys
    if left_out.is_empty():
        return compare.differing(base, base, keys)
    healed = _rows(plan.rule, archived.events(mine), checked)
    return compare.differing(base, compare.compared(plan.table, healed), keys)


def _not_reached(rule: Rule, rows: pl.DataFrame, archived: Read) -> pl.DataFrame:
    """The rows that no late event of their user could reach."""
    read_by_rule = pl.col("event_type").is_in(sorted(rule.event_types))
    late = archived.archived.filter(pl.col("arrival") == "late", read_by_rule)
    ahead = pl.duration(milliseconds=rule.looks_ahead_ms)
    back = pl.duration(milliseconds=rule.looks_back_ms)
    spans = late.group_by("user_id").agg(
        low=pl.col("event_ts").min() - ahead, high=pl.col("event_ts").max() + back
    )
    near = rows.join(spans, on="user_id", how="left", maintain_order="left")
    reached = pl.col("anchor_ts").is_between("low", "high").fill_null(value=False)
    return near.filter(~reached).select(rows.columns)


def _without(rows: pl.DataFrame, others: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    if others.is_empty():
        return rows
    return rows.join(others.select(keys), on=keys, how="anti", maintain_order="left")


def _told(
    at: datetime, published_by: str, found: _Found, keys: Sequence[str], examples: int | None
) -> HourVerified:
    kinds: Mapping[str, int] = dict(found.bugs["kind"].value_counts().iter_rows())
    counts = {kind: kinds.get(kind, 0) for kind in _KINDS} | {"revision": found.revisions.height}
    bugs, revisions, healing = (
        frame if examples is None else frame.head(examples)
        for frame in (found.bugs, found.revisions, found.healing)
    )
    causes = (
        (compare.told(bugs, keys), BUG),
        (compare.told_revisions(revisions, keys), BUG),
        (compare.told(healing, keys), TOO_LATE),
    )
    return HourVerified(
        hour=at,
        published_by=published_by,
        rows=found.made.height + counts["extra"],
        too_late=found.healing.height,
        differences=pl.concat([f.with_columns(cause=pl.lit(cause)) for f, cause in causes]),
        **counts,
    )
