"""Hours that begin again: what retention dropped, and a replay now makes anew.

Always holds: before anything of an hour is added to sums that know it, it is known whether rows of
it were there before the transaction; where none was, the sums are of rows that retention dropped,
and whoever keeps them begins from zero.

Not promised: anything where retention drops rows that a stream still corrects. Such a correction
comes as the first row of its hour.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from labeling.io.store.database import Database
from labeling.model.table import RuleTable

_HOUR: Final = timedelta(hours=1)


class Renewal:
    """What one transaction has found of hours; ``begin`` makes it void."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, datetime]] = set()

    def begin(self) -> None:
        """Another transaction."""
        self._seen.clear()

    def of(
        self, db: Database, table: RuleTable, hours: Collection[datetime], commit: int
    ) -> list[datetime]:
        """Those of some hours that had no row before the commit; each is told once in it.

        Args:
            db: in the transaction.
            table: whose rows.
            hours: that rows are published of, and were before.
            commit: the number of the transaction.
        """
        fresh = sorted(h for h in {*hours} if (table.table, h) not in self._seen)
        self._seen.update((table.table, h) for h in fresh)
        return [h for h in fresh if not _had_rows(db, table, h, commit)]


def _had_rows(db: Database, table: RuleTable, hour: datetime, commit: int) -> bool:
    """Whether a row of the hour was published by an earlier commit, and not dropped since."""
    span = [hour, hour + _HOUR, commit]
    old = "anchor_ts >= ? AND anchor_ts < ? AND first_commit < ?"
    if db.value(f'SELECT 1 FROM "{table.table}" WHERE {old} LIMIT 1', span) is not None:
        return True
    gone = f"SELECT 1 FROM retracted WHERE {old} AND rule = ? AND version = ? LIMIT 1"
    return db.value(gone, [*span, table.name, table.version]) is not None
