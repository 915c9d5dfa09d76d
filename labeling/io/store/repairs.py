"""How far repairs have come: the store's table about rules that are made beside the stream.

Always holds: the row of a rule is written in the transaction that holds the effect of what it
speaks of, so that a repair goes on exactly where the last one ended. Of a cold rule every complete
hour holds all events archived up to ``archive_commit``, and its hours say so.

Not promised: a row of a rule that no repair has looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import polars as pl

from labeling.io.store.columns import COMMIT, I64, RULE
from labeling.io.store.database import Database
from labeling.io.store.schema import Column, Table
from labeling.model.table import RuleTable

_HOUR_MS: Final = 3_600_000
#: The last instant that Python has: everything there will be.
_LAST_MS: Final = 253_402_300_799_000

REPAIRS: Final = Table(
    "repairs",
    "How far `labeling repair` has come with a rule, and what it cost so far.",
    (
        *RULE,
        Column("f_ms", I64, "points before it are published, epoch ms; null: the stream publishes this rule, and only what came too late is repaired"),  # noqa: E501 - one text
        Column("archive_commit", I64, "events archived up to this commit are in the rows", required=True),  # noqa: E501 - one text
        Column("rows", I64, "rows evaluated, all repairs together", required=True),
        Column("events", I64, "events read for them", required=True),
        Column("bytes", I64, "bytes of the archive read for them", required=True),
        COMMIT,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """What a repair read and made: ``rows`` evaluated of ``events`` in ``bytes`` of the archive."""

    rows: int = 0
    events: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Repaired:
    """How far a rule's repairs have come; ``f_ms`` is None for a rule that a stream publishes."""

    f_ms: int | None
    archive_commit: int
    cost: Cost


def repaired_of(query: Callable[[str], pl.DataFrame]) -> dict[str, Repaired]:
    """By rule key, how far repairs have come.

    Args:
        query: answers SQL, such as ``Store.query``.
    """
    return {
        f"{row['rule']}@{row['version']}": Repaired(
            row["f_ms"], row["archive_commit"], Cost(row["rows"], row["events"], row["bytes"])
        )
        for row in query("FROM repairs ORDER BY ALL").iter_rows(named=True)
    }


def set_repaired(
    db: Database, table: RuleTable, repaired: Repaired, settle_ms: int, commit: int
) -> None:
    """Note how far a rule's repairs have come.

    With ``f_ms`` the rule's hours are repair's from now on, and no stream's.

    Args:
        db: in a transaction.
        table: the rule's version.
        repaired: all rows hold the events archived up to its commit (0: what a stream published
            is all there is); its cost is added to what is noted.
        settle_ms: how long after its end an hour's rows may still change without a late event.
        commit: the number of the transaction.
    """
    f_ms, cost = repaired.f_ms, repaired.cost
    key = [table.name, table.version]
    known = repaired_of(db.frame).get(f"{table.name}@{table.version}", _NOTHING).cost
    db.run("DELETE FROM repairs WHERE rule = ? AND version = ?", key)
    sums = [known.rows + cost.rows, known.events + cost.events, known.bytes + cost.bytes]
    row = [*key, f_ms, repaired.archive_commit, *sums, commit]
    db.run("INSERT INTO repairs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    if f_ms is None:
        return
    db.run("DELETE FROM streams WHERE rule = ? AND version = ?", key)
    db.run("DELETE FROM watermarks WHERE kind = 'rule' AND name = ?", ["@".join(map(str, key))])
    if repaired.archive_commit == 0:
        return
    at = datetime.fromtimestamp(min(max(f_ms, 0), _LAST_MS) / 1000, UTC)
    db.run(
        "UPDATE hours SET published_by = 'replay', "
        "archive_commit = greatest(archive_commit, ?), "
        "through_ts = CASE WHEN through_ts IS NULL "
        f"OR epoch_ms(hour) + {_HOUR_MS + settle_ms} < ? THEN NULL ELSE "
        "greatest(through_ts, ?) END WHERE rule = ? AND version = ? AND complete",
        [repaired.archive_commit, f_ms, at, *key],
    )


_NOTHING: Final = Repaired(None, 0, Cost())
