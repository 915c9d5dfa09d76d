"""What is written of the hours of a replay, in one transaction.

Always holds: into an hour without rows go all points one after the other, hence the revisions that
a stream would have made; into another go the differences to what is stored, with reason
``replay``. Publishing the same again changes nothing. The rows of an action are published as a
set: one that is stored and not among them is retracted.

Not promised: that what was published earlier of an hour stays: replay knows better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from backfill.blocks import HOUR, Block
from backfill.evaluating import Part
from backfill.plan import Plan, is_complete, is_over
from labeling.engine.changes import changes
from labeling.engine.keys import user_key
from labeling.io.store import Store
from labeling.io.store.commit import Commit
from labeling.model.table import ROW_KEY, RuleTable


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
        self._complete: dict[datetime, bool] = {}
        self._rows: list[Mapping[datetime, int]] = []

    def write(self, part: Part, user_keys: tuple[int, int] | None) -> None:
        """Publish the part's rows of the hours: all, or those of a range of users."""
        if self._empty:
            first = part.first(self._empty)
            self._commit.publish_first(self._plan.table, first.rows, first.updates)
            self._kinds.append(first.kinds)
        if self._filled:
            stored = of_users(self._stored, user_keys)
            table = self._plan.table
            rows = _replaced(part.rows(self._filled), stored, table)
            made = changes(stored, rows, table.keys, whole=table.whole)
            self._commit.publish(self._plan.table, made)
            self._kinds.append(made.select("kind", hour=pl.col("anchor_ts").dt.truncate("1h")))

    def finish(self, block: Block) -> None:
        """Say in the books what was read and published.

        Raises:
            StoreError: an hour has become the stream's; nothing of the commit is kept.
        """
        plan = self._plan
        self._complete = {h: is_complete(plan.rule, h, plan.mark) for h in self._hours}
        over = [h for h in self._hours if is_over(plan.rule, h, plan.mark)]
        rest = [h for h in self._hours if h not in over]
        read = max((f.max_archived for f in block.files), default=0)
        read = max(read, plan.served)
        for hours in filter(None, (over, rest)):
            rows = self._commit.set_hours(
                plan.table,
                {h: self._complete[h] for h in hours},
                archive_commit=read,
                through_ts=datetime.fromtimestamp(plan.mark / 1000, UTC) if hours is rest else None,
            )
            self._rows.append(rows)

    def done(self) -> list[HourDone]:
        """What became of the hours; after the commit, since its writer may be another process."""
        kinds = pl.concat(self._kinds).group_by("hour", "kind").len()
        counts = {(hour, kind): n for hour, kind, n in kinds.iter_rows()}
        rows = {h: n for told in self._rows for h, n in told.items()}
        return [
            HourDone(
                hour=h,
                rows=rows[h],
                inserted=counts.get((h, "insert"), 0),
                updated=counts.get((h, "update"), 0),
                retracted=counts.get((h, "retract"), 0),
                complete=self._complete[h],
            )
            for h in self._hours
        ]


def of_users(stored: pl.DataFrame, user_keys: tuple[int, int] | None) -> pl.DataFrame:
    """The rows of a range of user keys, both inclusive; all where it is None."""
    if user_keys is None:
        return stored
    low, high = (pl.lit(k, dtype=pl.UInt64) for k in user_keys)
    return stored.filter(user_key().is_between(low, high))


def _replaced(rows: pl.DataFrame, stored: pl.DataFrame, table: RuleTable) -> pl.DataFrame:
    """What is returned of each anchor at its latest point, and anchors without a row as absent."""
    latest = rows.filter(pl.col("point_ts") == pl.col("point_ts").max().over(ROW_KEY))
    gone = stored.join(latest, on=ROW_KEY, how="anti", maintain_order="left")
    absent = gone.select(*table.keys, present=pl.lit(value=False), point_ts="anchor_ts")
    return pl.concat([latest, absent], how="diagonal").with_columns(reason=pl.lit("replay"))
