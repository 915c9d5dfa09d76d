"""Dropping old days, so that the file stays as large as what is kept.

Always holds: whole days (UTC) are dropped, never a part of one; the newest day that the store
knows is the highest event time ever archived, so that how much is kept does not depend on a
clock. A rule's dropped days take their ``hours``, ``retracted`` and ``digests`` rows with them: a
replay of such a day would make its rows anew. Its ``markers`` stay.

Not promised: a smaller file. DuckDB uses freed blocks again, so the file stops growing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from labeling.errors import ConfigError
from labeling.io.store.database import Database
from labeling.io.store.tables import TABLES

_DATED: Final = {t.name: t.dated for t in TABLES if t.dated is not None}


def retain(db: Database, keep_ms: Mapping[str, int | None]) -> dict[str, int]:
    """Drop the days that lie wholly before the newest event time less what is kept.

    Args:
        db: the store's file, inside a transaction.
        keep_ms: a rule's name, ``label_changes``, ``rejects``, ``late_events`` or ``conflicts``,
            to how much of it is kept, in ms; None for all, like what is not named. A rule that
            has no table yet has nothing to drop.

    Returns:
        Table to the number of rows dropped, tables that lost none left out.

    Raises:
        ConfigError: a table of the store that is kept whole always.
    """
    versions = db.frame("SELECT rule, version FROM rules ORDER BY rule, version").rows()
    rules = {rule for rule, _ in versions}
    fixed = sorted(set(keep_ms) & ({t.name for t in TABLES} - set(_DATED)))
    if fixed:
        known = ", ".join(sorted(rules | set(_DATED)))
        raise ConfigError(
            f"[retention] names {', '.join(fixed)}, always kept whole; what can be kept "
            f"shorter: {known}"
        )
    newest = db.value("SELECT max(newest_ts) FROM commits")
    if newest is None:
        return {}
    dropped: dict[str, int] = {}
    for name, ms in keep_ms.items():
        if ms is None:
            continue
        first = first_day(newest, ms)
        if name in _DATED:
            dropped[name] = _drop(db, name, _condition(name), first)
        for rule, version in versions:
            if rule == name:
                dropped[f"{rule}_v{version}"] = _drop_rule(db, rule, version, first)
    return {name: rows for name, rows in dropped.items() if rows}


def first_day(newest: datetime, keep_ms: int) -> datetime:
    """Midnight of the first day that is kept."""
    kept = newest.astimezone(UTC) - timedelta(milliseconds=keep_ms)
    return kept.replace(hour=0, minute=0, second=0, microsecond=0)


def _condition(name: str) -> str:
    if _DATED[name] == "commit":
        return "commit IN (SELECT commit FROM commits WHERE newest_ts < ?)"
    return f"{_DATED[name]} < ?"


def _drop(db: Database, table: str, where: str, first: datetime) -> int:
    rows: int = db.value(f'SELECT count(*) FROM "{table}" WHERE {where}', [first])
    if rows:
        db.run(f'DELETE FROM "{table}" WHERE {where}', [first])
    return rows


def _drop_rule(db: Database, rule: str, version: int, first: datetime) -> int:
    mine = f"rule = '{rule}' AND version = {version}"
    _drop(db, "hours", f"{mine} AND hour < ?", first)
    _drop(db, "retracted", f"{mine} AND anchor_ts < ?", first)
    _drop(db, "digests", f"{mine} AND hour < ?", first)
    return _drop(db, f"{rule}_v{version}", "anchor_ts < ?", first)
