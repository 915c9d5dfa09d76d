"""Digests of hours, and the markers that say when an hour may be used: docs/markers.md.

Always holds: a marker is in the commit that makes it true, and says what the hour's rows are as of
that commit; an hour's first marker is ``complete``, its second ``settled``, and each later one
``republished`` by a commit that changed a row; the deltas of an hour's markers sum to the last
one's rows and digest (clauses M1 to M5).

Not promised: a marker for a change between complete and settled. Such corrections are told by the
settled one, together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import polars as pl

from labeling.io.store import Commit
from labeling.io.store.database import Database
from labeling.io.store.listener import Listener
from labeling.io.store.product_tables import MARKERS
from labeling.model.event import TS
from labeling.model.table import RuleTable
from labeling.products.context import Context
from labeling.products.health.keeper import brake
from labeling.products.markers import digests
from labeling.products.markers.rows import (
    last_markers,
    late_counts,
    marker_key,
    marker_lines,
    markers_told,
    newest_marker,
    positions_json,
    unsettled,
)
from labeling.products.markers.settling import Books, Settling
from labeling.products.moved import Moved, of_changes, of_first

COMPLETE: Final = "complete"
SETTLED: Final = "settled"
REPUBLISHED: Final = "republished"
#: Of a sum: what it is more than at the marker before.
_DELTAS: Final = {"rows": "delta_rows", "digest_hi": "delta_hi", "digest_lo": "delta_lo"}
_OF: Final = ("rule", "version", "hour")
_NONE: Final = pl.DataFrame(schema={"hour": TS})
#: Hour, revision and state of a marker that is issued.
_Made = tuple[datetime, int, str]


@dataclass
class _Heard:
    """What a transaction says of one table.

    ``moved``: by how much digests move; ``complete``: hours noted so; ``look``: whether hours may
    have settled.
    """

    table: RuleTable
    moved: list[pl.DataFrame] = field(default_factory=list)
    complete: set[datetime] = field(default_factory=set)
    look: bool = False


@dataclass
class _Known:
    """What is sure of the store, so that it need not be asked each time; by name of the table.

    ``kept``: whose digests are kept; ``last``: the last hour that has a marker. Neither is ever
    taken back by others.
    """

    kept: frozenset[str] = frozenset()
    last: Mapping[str, datetime] = field(default_factory=dict)


class MarkerKeeper(Listener):
    """Keeps ``digests`` and issues ``markers``, all at the end of the transaction.

    Args:
        context: what all listeners know.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settling = Settling(context)
        self._heard: dict[str, _Heard] = {}
        self._sure = self._known = _Known()

    def begin(self) -> None:
        """Forget what a transaction that failed said."""
        self._heard = {}
        self._known = self._sure

    def committed(self) -> None:
        """What the transaction found out and made is so."""
        self._sure = self._known

    def publish(self, commit: Commit, table: RuleTable, changes: pl.DataFrame) -> None:
        """See ``Listener``."""
        del commit
        self._move(table, of_changes(table, changes))

    def publish_first(
        self, commit: Commit, table: RuleTable, rows: pl.DataFrame, updates: pl.DataFrame
    ) -> None:
        """See ``Listener``."""
        del commit, updates
        self._move(table, of_first(table, rows))

    def hours(
        self,
        commit: Commit,
        table: RuleTable,
        complete: Mapping[datetime, bool],
        through_ts: datetime | None,
        published_by: str,
    ) -> None:
        """See ``Listener``."""
        del commit, through_ts, published_by
        heard = self._of(table)
        heard.complete.update(hour for hour, whole in complete.items() if whole)
        heard.look = True

    def passed(self, commit: Commit, table: RuleTable, before_ms: int, f_ms: int) -> None:
        """See ``Listener``."""
        del commit
        if self._settling.crosses(table, before_ms, f_ms):
            self._of(table).look = True

    def end(self, commit: Commit) -> None:
        """Bring digests up to the transaction's end, then issue what follows."""
        moved = [(heard, self._moved(commit.database, heard)) for heard in self._heard.values()]
        digests.add(commit, [(heard.table, frame) for heard, frame in moved])
        books = Books(commit.database)
        made = [self._markers(books, heard, set(frame["hour"])) for heard, frame in moved]
        issued = [frame for frame in made if frame.height]
        if issued:
            self._issue(commit, pl.concat(issued))
        self._heard = {}

    def _of(self, table: RuleTable) -> _Heard:
        return self._heard.setdefault(table.table, _Heard(table))

    def _move(self, table: RuleTable, moved: Moved) -> None:
        self._of(table).moved.append(digests.differences(table, moved))

    # ---- digests ------------------------------------------------------------------------------

    def _moved(self, db: Database, heard: _Heard) -> pl.DataFrame:
        """By how much the digests of a table move, by hour.

        Of a table whose digests are not kept yet, all rows are counted: those of this transaction
        are among them.
        """
        table, moved = heard.table, digests.total(heard.moved)
        if table.table in self._known.kept or (moved.is_empty() and not heard.look):
            return moved
        if not _registered(db, table):
            return moved
        if not digests.counted(db, table):
            moved = digests.recounted(db, table)
        self._known = replace(self._known, kept=self._known.kept | {table.table})
        return moved

    # ---- which markers ------------------------------------------------------------------------

    def _markers(self, books: Books, heard: _Heard, touched: set[datetime]) -> pl.DataFrame:
        """The markers of one table: ``hour``, ``revision``, ``state``, sums and their deltas."""
        db, table = books.db, heard.table
        complete = heard.complete
        newest = self._newest(db, table)
        if heard.look and newest is None:
            complete = complete | _noted_complete(db, table)
        # What is touched is young, mostly: without a marker, and nothing to ask for.
        asked = {h for h in complete | touched if newest is not None and h <= newest}
        known = last_markers(db, table, asked) if asked else _NONE
        last = {row["hour"]: row for row in known.iter_rows(named=True)}
        new = [(hour, 1, COMPLETE) for hour in sorted(complete - set(last))]
        again = [
            (hour, last[hour]["revision"] + 1, REPUBLISHED)
            for hour in sorted(touched & set(last))
            if last[hour]["state"] != COMPLETE
        ]
        if new:
            self._note(table, max([*(hour for hour, _, _ in new), *filter(None, [newest])]))
        settled = self._settled(books, table, new, last) if heard.look else []
        return _with_sums(db, table, [*new, *settled, *again], last)

    def _settled(
        self,
        books: Books,
        table: RuleTable,
        new: Sequence[_Made],
        last: dict[datetime, dict[str, Any]],
    ) -> list[_Made]:
        """Markers of hours that are settled now; what they follow is added to ``last``."""
        waiting = unsettled(books.db, table)
        last |= {row["hour"]: row for row in waiting.iter_rows(named=True)}
        open_at = {hour: revision for hour, revision, _ in new}
        open_at |= dict(waiting.select("hour", "revision").iter_rows())
        found = self._settling.settled(books, table, open_at)
        return [(hour, open_at[hour] + 1, SETTLED) for hour in sorted(found)]

    def _newest(self, db: Database, table: RuleTable) -> datetime | None:
        """The last hour that has a marker."""
        if table.table not in self._known.last:
            found = newest_marker(db, table)
            if found is not None:
                self._note(table, found)
        return self._known.last.get(table.table)

    def _note(self, table: RuleTable, newest: datetime) -> None:
        """Know the last hour of a table that has a marker."""
        self._known = replace(self._known, last={**self._known.last, table.table: newest})

    # ---- issued -------------------------------------------------------------------------------

    def _issue(self, commit: Commit, made: pl.DataFrame) -> None:
        """Write markers, and tell the topic."""
        db = commit.database
        late = late_counts(db, made["hour"].unique())
        reasons = {
            of: brake(db, self._context.config.health, *of)
            for of in made.select(_OF).unique().iter_rows()
        }
        held = [reasons[of] for of in made.select(_OF).iter_rows()]
        rows = made.with_columns(
            held=pl.Series([reason is not None for reason in held], dtype=pl.Boolean),
            held_reason=pl.Series(held, dtype=pl.String),
            late=pl.Series([late[hour][0] for hour in made["hour"]], dtype=pl.Int64),
            too_late=pl.Series([late[hour][1] for hour in made["hour"]], dtype=pl.Int64),
            positions=pl.lit(positions_json(db), pl.String),
            commit=pl.lit(commit.number, pl.Int64),
        )
        commit.append(MARKERS, rows)
        topic = self._context.config.live.markers_topic
        if topic is not None:
            self._context.stage(commit, topic, _records(rows))


def _registered(db: Database, table: RuleTable) -> bool:
    known = "SELECT 1 FROM rules WHERE rule = ? AND version = ?"
    return db.value(known, [table.name, table.version]) is not None


def _noted_complete(db: Database, table: RuleTable) -> set[datetime]:
    """Hours that were complete before markers were made."""
    sql = "SELECT hour FROM hours WHERE rule = ? AND version = ? AND complete"
    return set(db.frame(sql, [table.name, table.version])["hour"])


def _with_sums(
    db: Database,
    table: RuleTable,
    made: Sequence[_Made],
    last: Mapping[datetime, Mapping[str, Any]],
) -> pl.DataFrame:
    """Markers with the digests of now, and what those are more than at the marker before."""
    if not made:
        return pl.DataFrame()
    now = digests.digests_of(db, table, {hour for hour, _, _ in made})
    sums = {row["hour"]: row for row in now.iter_rows(named=True)}
    before = {hour: {c: row[c] for c in digests.SUMS} for hour, row in last.items()}
    rows = []
    for hour, revision, state in made:
        told = {c: sums[hour][c] for c in digests.SUMS}
        was = before.get(hour, dict.fromkeys(digests.SUMS, 0))
        deltas = {_DELTAS[c]: told[c] - was[c] for c in digests.SUMS}
        if state == REPUBLISHED and not any(deltas.values()):
            continue
        rows.append({"hour": hour, "revision": revision, "state": state, **told, **deltas})
        before[hour] = told
    frame = pl.DataFrame(rows)
    named = {"rule": pl.lit(table.name), "version": pl.lit(table.version, pl.Int32)}
    return frame.with_columns(**named) if rows else frame


def _records(markers: pl.DataFrame) -> pl.DataFrame:
    """Markers as records of the topic."""
    told = markers_told(markers)
    return pl.DataFrame(
        {
            "key": [marker_key(marker).encode() for marker in told],
            "value": [marker_lines([marker]).rstrip("\n").encode() for marker in told],
        },
        schema={"key": pl.Binary(), "value": pl.Binary()},
    )
