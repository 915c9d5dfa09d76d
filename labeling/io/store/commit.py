"""One transaction of the store, with a number.

Always holds: what is done through a ``Commit`` is in the store whole or not at all; numbers
follow each other without gaps; counts that do not add up are refused.

Not promised: that files written beside it are removed when it fails. They carry the store's
id in their names, and the next import removes those that the store does not name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import polars as pl

from labeling.engine.watermark import NEVER
from labeling.errors import StoreError
from labeling.io.archive import ArchiveFile, hour_start
from labeling.io.store import lookup, ownership, views
from labeling.io.store.columns import POSITION
from labeling.io.store.commit_features import FeatureCommit
from labeling.io.store.database import Database
from labeling.io.store.listener import DEAF, Listener
from labeling.io.store.publish import Published, publish, publish_first
from labeling.io.store.repairs import Repaired, repaired_of, set_repaired
from labeling.io.store.tables import (
    ARCHIVE_FILES,
    CONFLICTS,
    COUNTS,
    HOURS,
    IMPORTS,
    LATE_EVENTS,
    REJECTS,
)
from labeling.model.table import RuleTable

#: What tells a reject from another: its position and its bytes (a file may be corrected in place).
_REJECT = (*POSITION, "reason", "raw")


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of what was read of one source: law 5.

    Raises:
        ValueError: the four outcomes do not add up to the events.
    """

    source: str
    records: int
    events: int
    rejected: int
    too_late: int
    duplicate: int
    accepted: int

    def __post_init__(self) -> None:
        """Hold the counts to law 5."""
        outcomes = self.rejected + self.too_late + self.duplicate + self.accepted
        if outcomes != self.events:
            raise ValueError(
                f"counts of source {self.source!r}: {self.events} events read, "
                f"{outcomes} accounted for"
            )


class Commit(FeatureCommit):
    """An open transaction; made by ``Store.commit``, not by hand."""

    def __init__(
        self, db: Database, number: int, run: int, what: str, listener: Listener = DEAF
    ) -> None:
        super().__init__(db, number)
        self._listener = listener
        self._run = run
        self._what = what
        self._events = self._archived = self._changes = 0
        self._newest: datetime | None = db.value("SELECT max(newest_ts) FROM commits")

    # ---- events -------------------------------------------------------------------------------

    def append_counts(self, counts: Counts) -> None:
        """Add one source's counts."""
        self._events += counts.events
        self._archived += counts.too_late + counts.accepted
        self.append(COUNTS, pl.DataFrame([asdict(counts)]))

    def append_rejects(self, rejects: pl.DataFrame) -> int:
        """Add rejects whose position and bytes are not listed yet; how many were added.

        Args:
            rejects: columns of ``rejects`` but ``commit``; a missing one is null.
        """
        rows = self._conform(REJECTS, rejects).unique(_REJECT, keep="first", maintain_order=True)
        if rows.is_empty():
            return 0
        same = " AND ".join(f't."{c}" IS NOT DISTINCT FROM r."{c}"' for c in _REJECT)
        with self._db.given("given_rejects", rows):
            fresh = self._db.frame(
                f"SELECT r.* FROM given_rejects r WHERE NOT EXISTS "
                f"(SELECT 1 FROM rejects t WHERE {same})"
            )
        fresh = REJECTS.conform(fresh).sort(list(POSITION))
        if fresh.height:
            self._db.append(REJECTS.name, fresh)
        return fresh.height

    def mark_retried(self, rejects: pl.DataFrame) -> None:
        """Note that this commit took rejects in: ``POSITION`` columns and ``raw`` tell which."""
        columns = (*POSITION, "raw")
        same = " AND ".join(f't."{c}" IS NOT DISTINCT FROM k."{c}"' for c in columns)
        with self._db.given("given_keys", rejects.select(columns)):
            self._db.run(
                f"UPDATE rejects t SET retried_commit = ? FROM given_keys k "
                f"WHERE {same} AND t.retried_commit IS NULL",
                [self.number],
            )

    def append_late(self, events: pl.DataFrame) -> None:
        """Add rows of ``late_events``; columns as there, but ``commit``."""
        self.append(LATE_EVENTS, events)

    def append_conflicts(self, pairs: pl.DataFrame) -> None:
        """Add rows of ``conflicts``; columns as there, but ``commit``."""
        self.append(CONFLICTS, pairs)

    def append_imports(self, files: pl.DataFrame) -> None:
        """Add rows of ``imports``; columns as there, but ``commit``."""
        self.append(IMPORTS, files)

    def end_source(self, source: str, end_ts: datetime | None) -> None:
        """Declare a source complete before ``end_ts`` (None: all there is). It never goes back."""
        known = lookup.source_ends(self._db)
        if source in known:
            before = known[source]
            if before is None or (end_ts is not None and end_ts <= before):
                return
            self._db.run("DELETE FROM source_ends WHERE source = ?", [source])
        self._db.run("INSERT INTO source_ends VALUES (?, ?, ?)", [source, end_ts, self.number])

    # ---- files --------------------------------------------------------------------------------

    def add_files(self, files: Sequence[ArchiveFile]) -> None:
        """Name files, written and synced, as part of the archive.

        One whose ``max_archived`` is 0 was written before this commit had a number, and gets it.
        """
        if not files:
            return
        rows = pl.DataFrame(
            [asdict(f) for f in files],
            schema={n: t for n, t in ARCHIVE_FILES.schema.items() if n != "commit"},
        ).with_columns(pl.col("max_archived").replace(0, self.number))
        self.append(ARCHIVE_FILES, rows)
        newest = max(f.max_ts for f in files)
        self._newest = newest if self._newest is None else max(newest, self._newest)

    def remove_files(self, names: Iterable[str]) -> None:
        """Take files out of the archive; ``labeling.io.swapping`` deletes them after the commit.

        Raises:
            StoreError: the archive has not, or no longer, a file of one of the names.
        """
        given = sorted(set(names))
        known = self._db.frame(
            "SELECT name FROM archive_files WHERE name IN (SELECT unnest(?))", [given]
        )["name"]
        gone = sorted({*given} - {*known})
        if gone:
            raise StoreError(
                f"{len(gone)} of {len(given)} archive files are already compacted or forgotten by "
                f"somebody else, {gone[0]} the first; run this again"
            )
        self._db.run("DELETE FROM archive_files WHERE name IN (SELECT unnest(?))", [given])

    # ---- rows ---------------------------------------------------------------------------------

    def publish(self, table: RuleTable, changes: pl.DataFrame) -> Published:
        """Take in the output of ``labeling.engine.changes`` for one rule's version.

        Args:
            table: the rule's version; its table is made if it is new.
            changes: see ``labeling.io.store.publish.publish``.

        Raises:
            StoreError: the version is known with another digest, or its name is taken.
        """
        views.register(self._db, table, self.number)
        published = publish(self._db, table, changes, self.number)
        self._listener.publish(self, table, changes)
        self._changes += published.changes
        return published

    def publish_first(self, table: RuleTable, rows: pl.DataFrame, updates: pl.DataFrame) -> None:
        """Take in rows of one rule's version whose keys the store has never had.

        Args:
            table: the rule's version; its table is made if it is new.
            rows: see ``labeling.io.store.publish.publish_first``.
            updates: likewise.

        Raises:
            StoreError: the version is known with another digest, or its name is taken.
        """
        views.register(self._db, table, self.number)
        publish_first(self._db, table, rows, updates, self.number)
        self._listener.publish_first(self, table, rows, updates)
        self._changes += rows.height + updates.height

    def set_hours(
        self,
        table: RuleTable,
        complete: Mapping[datetime, bool],
        *,
        archive_commit: int,
        through_ts: datetime | None = None,
        published_by: str = "replay",
    ) -> dict[datetime, int]:
        """Record what has been published of hours; their current rows are counted and returned.

        Args:
            table: the rule's version.
            complete: each hour (its start, UTC) to whether every row of it has passed its last
                point.
            archive_commit: events archived up to this commit have been read.
            through_ts: points before it are published (exclusive); None: all.
            published_by: ``stream`` or ``replay``. What a replay noted complete stays its word.

        Raises:
            StoreError: an hour is not the publisher's; see ``labeling.io.store.ownership``.
        """
        if not complete:
            return {}
        views.register(self._db, table, self.number)
        key = f"{table.name}@{table.version}"
        ownership.refuse_foreign(self._db.frame, key, complete, published_by)
        hours = sorted(complete)
        counted = self._db.frame(
            f'SELECT epoch_ms(anchor_ts) // 3600000 AS hour, count(*) FROM "{table.table}" '
            "WHERE anchor_ts >= ? AND anchor_ts < ? GROUP BY ALL",
            [hours[0], hours[-1] + timedelta(hours=1)],
        )
        rows = {hour_start(hour): n for hour, n in counted.iter_rows()}
        if published_by == ownership.STREAM:
            healed = lookup.replayed(self._db, table)
            hours = [hour for hour in hours if hour not in healed]
        self._db.run(
            "DELETE FROM hours WHERE rule = ? AND version = ? AND hour IN (SELECT unnest(?))",
            [table.name, table.version, hours],
        )
        book = [
            (
                table.name,
                table.version,
                hour,
                rows.get(hour, 0),
                complete[hour],
                through_ts,
                archive_commit,
                published_by,
            )
            for hour in hours
        ]
        self.append(HOURS, pl.DataFrame(book, schema=list(HOURS.schema)[:-1], orient="row"))
        self._listener.hours(self, table, complete, through_ts, published_by)
        return {hour: rows.get(hour, 0) for hour in sorted(complete)}

    def set_repaired(self, table: RuleTable, repaired: Repaired, settle_ms: int) -> None:
        """Note how far a rule's repairs have come; see ``labeling.io.store.repairs``."""
        views.register(self._db, table, self.number)
        known = repaired_of(self._db.frame).get(f"{table.name}@{table.version}")
        set_repaired(self._db, table, repaired, settle_ms, self.number)
        if repaired.f_ms is not None:
            before = known.f_ms if known is not None and known.f_ms is not None else NEVER
            self.passed(table, before, repaired.f_ms)

    def features(self, source: str, late: pl.DataFrame) -> None:
        """Tell who listens that this commit archived features of a source, ``late`` of them late.

        Called when the rows of the commit's rules are published.
        """
        self._listener.features(self, source, late)

    def passed(self, table: RuleTable, before_ms: int, f_ms: int) -> None:
        """Tell who listens that ``F`` of a rule's version goes to ``f_ms`` in this commit."""
        if f_ms > before_ms:
            self._listener.passed(self, table, before_ms, f_ms)

    def activate(self, rule: str, version: int, from_ts: datetime | None = None) -> None:
        """Let a rule's views show this version; see ``labeling.io.store.views.activate``."""
        views.activate(self._db, rule, version, from_ts, self.number)

    # ---- the transaction itself ---------------------------------------------------------------

    def finish(self) -> None:
        """Write the commit's own row; ``Store.commit`` calls it last."""
        self._listener.end(self)
        sums = (self._events, self._archived, self._changes, self._newest)
        self._db.run(
            "INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?)",
            [self.number, self._run, self._what, *sums],
        )
