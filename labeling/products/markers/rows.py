"""Markers as rows of the store, and as those are told who wait for them: clause M6.

Always holds: a marker's JSON has every column of ``markers``; ``hour`` is ISO 8601 in UTC, and
``positions`` an object. Within a rule's hour markers are told by their ``revision``.

Not promised: that a marker is told once. Who takes one in twice knows it by rule, version, hour and
revision.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl

from labeling.io.store.database import Database
from labeling.io.store.product_tables import MARKERS
from labeling.model.event import TS
from labeling.model.table import RuleTable
from labeling.products.markers.digests import SUMS

#: In this order markers are told.
TOLD: Final = ("commit", "rule", "version", "hour", "revision")
_LAST: Final = """
SELECT hour, max(revision) AS revision, arg_max(state, revision) AS state,
  arg_max(rows, revision) AS rows, arg_max(digest_hi, revision) AS digest_hi,
  arg_max(digest_lo, revision) AS digest_lo
FROM markers WHERE rule = ? AND version = ? {where} GROUP BY hour"""
_LAST_SCHEMA: Final[dict[str, pl.DataType]] = {
    "hour": TS,
    "revision": pl.Int32(),
    "state": pl.String(),
    **dict.fromkeys(SUMS, pl.Int64()),
}
_POSITIONS: Final = """
SELECT CASE WHEN (SELECT count(DISTINCT cluster) FROM positions) > 1 THEN cluster || '/' ELSE '' END
  || topic || '/' || partition AS place, min(next_offset) AS next_offset
FROM positions GROUP BY ALL ORDER BY place"""
_LATE: Final = """
SELECT epoch_ms(event_ts) // 3600000 AS hour, count(*) FILTER (arrival = 'late') AS late,
  count(*) FILTER (arrival = 'too_late') AS too_late
FROM late_events WHERE event_ts >= ? AND event_ts < ? GROUP BY ALL"""
_HOUR_S: Final = 3600


def last_markers(db: Database, table: RuleTable, hours: Iterable[datetime]) -> pl.DataFrame:
    """The last marker of each of those hours that have one: what a next one follows from."""
    frame = db.frame(
        _LAST.format(where="AND hour IN (SELECT unnest(?))"),
        [table.name, table.version, sorted(hours)],
    )
    return frame.cast(_LAST_SCHEMA)  # type: ignore[arg-type] # a mapping of types is one


def unsettled(db: Database, table: RuleTable) -> pl.DataFrame:
    """The last marker of each hour that is complete and not settled."""
    frame = db.frame(
        _LAST.format(where="") + " HAVING arg_max(state, revision) = 'complete'",
        [table.name, table.version],
    )
    return frame.cast(_LAST_SCHEMA)  # type: ignore[arg-type] # a mapping of types is one


def newest_marker(db: Database, table: RuleTable) -> datetime | None:
    """The last hour of the rule's version that has a marker."""
    found: datetime | None = db.value(
        "SELECT max(hour) FROM markers WHERE rule = ? AND version = ?", [table.name, table.version]
    )
    return found


def positions_json(db: Database) -> str | None:
    """Partition to the lowest next offset of any shard; None where no topic was read."""
    found = dict(db.frame(_POSITIONS).iter_rows())
    return json.dumps(found) if found else None


def late_counts(db: Database, hours: Iterable[datetime]) -> dict[datetime, tuple[int, int]]:
    """Late and too late events of hours, all types together."""
    asked = sorted(hours)
    if not asked:
        return {}
    found = db.frame(_LATE, [asked[0], asked[-1] + timedelta(seconds=_HOUR_S)])
    by_hour = {hour: (late, too_late) for hour, late, too_late in found.iter_rows()}
    return {h: by_hour.get(int(h.timestamp()) // _HOUR_S, (0, 0)) for h in asked}


# ---- told ---------------------------------------------------------------------------------------


def markers_told(markers: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of ``markers`` as the values of their JSON, in the frame's order."""
    return [_told(row) for row in markers.select(list(MARKERS.schema)).iter_rows(named=True)]


def marker_key(marker: Mapping[str, Any]) -> str:
    """What a told marker is about: ``rule@version|hour``, such as ``clicks@1|2026-11-20T10``."""
    return f"{marker['rule']}@{marker['version']}|{marker['hour'][: len('2026-11-20T10')]}"


def marker_lines(markers: Iterable[Mapping[str, Any]]) -> str:
    """Told markers as lines of JSON."""
    return "".join(f"{json.dumps(marker)}\n" for marker in markers)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    positions = row["positions"]
    return {
        **row,
        "hour": f"{row['hour'].astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "positions": None if positions is None else json.loads(positions),
    }
