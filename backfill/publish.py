"""What is written of the hours of a replay, in one transaction.

Always holds: into an hour without rows go all points one after the other, hence the revisions that
a stream would have made; into another go the differences to what is stored, with reason
``replay``. Publishing the same again changes nothing.

Not promised: that what was published earlier of an hour stays: replay knows better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from backfill.plan import HOUR, Block, Plan, is_complete
from labeling.engine.changes import KEYS, changes, empty_stored
from labeling.engine.evaluate import widened
from labeling.engine.keys import user_key
from labeling.io.store import Store
from labeling.io.store.commit import Commit
from labeling.model.rule import LabelRule


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


@dataclass(frozen=True)
class First:
    """The first publication of hours.

    ``rows``: key, values and ``revision`` as they end; ``updates``: the changes but the inserts, as
    ``changes`` returns them; ``kinds``: ``kind`` and ``hour`` of every change.
    """

    rows: pl.DataFrame
    updates: pl.DataFrame
    kinds: pl.DataFrame


@dataclass(frozen=True)
class Part:
    """Events of a block, and the labels of its anchors at every point passed.

    ``labels`` is what ``labels_at`` returns, with ``hour`` (of the anchor, Datetime[ms, UTC]).
    """

    rule: LabelRule
    events: pl.DataFrame
    labels: pl.DataFrame

    def shares(self, hours: Sequence[datetime], rows: int) -> Iterator[tuple[datetime, ...]]:
        """The hours cut where more than ``rows`` would come together; never inside an hour."""
        counts = dict(self.labels.group_by("hour").len().iter_rows())
        share: list[datetime] = []
        held = 0
        for hour in hours:
            if share and held + counts.get(hour, 0) > rows:
                yield tuple(share)
                share, held = [], 0
            share.append(hour)
            held += counts.get(hour, 0)
        yield tuple(share)

    def of_hours(self, hours: Sequence[datetime]) -> pl.DataFrame:
        """The labels of the hours' anchors."""
        return self.labels.filter(pl.col("hour").is_in(list(hours))).drop("hour")

    def rows(self, hours: Sequence[datetime]) -> pl.DataFrame:
        """The hours' rows at every point, in full."""
        return widened(self.rule, self.events, self.of_hours(hours)).drop("row")

    def first(self, hours: Sequence[datetime]) -> First:
        """What ``changes`` makes of the hours' rows where nothing is stored.

        Rows of one anchor differ in labels alone, and are told apart by its number: a tenth of
        the work of comparing whole rows by their keys.
        """
        labels = self.of_hours(hours).with_columns(reason=pl.lit("point"))
        made = changes(empty_stored(labels.schema, ("row",)), labels, ("row",))
        later = made.filter(pl.col("kind") != "insert")
        moved = pl.col("row").is_in(later["row"].unique().implode())
        moving = made.filter(moved).sort("row", "revision")
        ends = moving.unique("row", keep="last", maintain_order=True)
        # In the archive's order: what belongs to a user lies together, reads and packs well.
        last = pl.concat([made.filter(~moved), ends.filter(pl.col("kind") != "retract")]).sort(
            "row"
        )
        rows = pl.concat(
            [last.select("row", "revision"), last["new"].struct.unnest()], how="horizontal"
        )
        at = self.events["event_ts"].gather(made["row"]).dt.truncate("1h")
        return First(
            rows=self._wide(rows).drop("row", "present"),
            updates=self._wide(later).select(
                *KEYS,
                *("revision", "kind", "reason", "point_ts"),
                self._in_full("old"),
                self._in_full("new"),
            ),
            kinds=made.select("kind", hour=at),
        )

    def _wide(self, rows: pl.DataFrame) -> pl.DataFrame:
        return widened(self.rule, self.events, rows.with_columns(present=pl.lit(value=True)))

    def _in_full(self, side: str) -> pl.Expr:
        carried = [pl.col(c) for c in self.rule.carry]
        labels = [pl.col(side).struct.field(c) for c in self.rule.label_schema]
        return pl.when(pl.col(side).is_not_null()).then(pl.struct(*carried, *labels)).alias(side)


class HoursWriter:
    """Neighbouring hours into the store, in one or more parts of their users."""

    def __init__(self, store: Store, commit: Commit, plan: Plan, hours: Sequence[datetime]) -> None:
        self._commit = commit
        self._plan = plan
        self._hours = tuple(hours)
        self._stored = store.stored_between(plan.table, hours[0], hours[-1] + HOUR)
        known = set(self._stored.select(pl.col("anchor_ts").dt.truncate("1h")).to_series())
        self._filled = [h for h in hours if h in known]
        self._empty = [h for h in hours if h not in known]
        self._kinds: list[pl.DataFrame] = []

    def write(self, part: Part, user_keys: tuple[int, int] | None) -> None:
        """Publish the part's rows of the hours: all, or those of a range of users."""
        if self._empty:
            first = part.first(self._empty)
            self._commit.publish_first(self._plan.table, first.rows, first.updates)
            self._kinds.append(first.kinds)
        if self._filled:
            stored = _of_users(self._stored, user_keys)
            made = changes(stored, _whole(part.rows(self._filled), stored))
            self._commit.publish(self._plan.table, made)
            self._kinds.append(made.select("kind", hour=pl.col("anchor_ts").dt.truncate("1h")))

    def finish(self, block: Block) -> list[HourDone]:
        """Say in the books what was read and published, and return it."""
        plan = self._plan
        complete = {h: is_complete(plan.rule, h, plan.mark) for h in self._hours}
        partly = not all(complete.values())
        rows = self._commit.set_hours(
            plan.table,
            complete,
            archive_commit=max((f.max_archived for f in block.files), default=0),
            through_ts=datetime.fromtimestamp(plan.mark / 1000, UTC) if partly else None,
        )
        told = pl.concat(self._kinds).group_by("hour", "kind").len()
        counts = {(hour, kind): n for hour, kind, n in told.iter_rows()}
        return [
            HourDone(
                hour=h,
                rows=rows[h],
                inserted=counts.get((h, "insert"), 0),
                updated=counts.get((h, "update"), 0),
                retracted=counts.get((h, "retract"), 0),
                complete=complete[h],
            )
            for h in self._hours
        ]


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
    return pl.concat([latest, absent], how="diagonal").with_columns(reason=pl.lit("replay"))
