"""Whether the hours that somebody waits for are there: clause M7.

Always holds: every hour of a range is looked at, also one without rows: what has no marker is not
there. An hour is held where its last marker says so.

Not promised: that a held hour stays held. A later marker of it may say otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from labeling.io.store.database import Database
from labeling.products.markers.keeper import COMPLETE
from labeling.products.markers.rows import markers_told

_HOUR: Final = timedelta(hours=1)
_FIRST: Final = """
SELECT min(hour) FROM (
  SELECT hour FROM hours WHERE rule = ? AND version = ?
  UNION ALL SELECT hour FROM markers WHERE rule = ? AND version = ?
  UNION ALL SELECT since_ts FROM streams WHERE rule = ? AND version = ?)"""
_VERSION: Final = """
SELECT version FROM active_versions WHERE rule = ? ORDER BY from_ts DESC NULLS LAST LIMIT 1"""
_NEWEST: Final = "SELECT max(version) FROM rules WHERE rule = ?"
_MARKERS: Final = """
FROM markers WHERE rule = ? AND version = ? AND hour >= ? AND hour <= ?
QUALIFY revision = max(revision) OVER (PARTITION BY hour) ORDER BY hour"""


@dataclass(frozen=True)
class Awaited:
    """What somebody waits for.

    ``version``: None for the one that the rule's views show; ``first``: the first hour, None for
    the rule's first; ``through``: the last one, inclusive; ``settled``: complete is not enough.
    """

    rule: str
    version: int | None
    through: datetime
    first: datetime | None = None
    settled: bool = False


@dataclass(frozen=True)
class Seen:
    """What is there: the last markers by hour, as told; hours missing; what holds others."""

    version: int | None = None
    markers: list[dict[str, Any]] = field(default_factory=list)
    missing: list[datetime] = field(default_factory=list)
    held: list[str] = field(default_factory=list)


def seen(db: Database, awaited: Awaited) -> Seen:
    """Look at the hours.

    Args:
        db: of the store, or of the process that serves it.
        awaited: what is waited for.
    """
    version = awaited.version or _shown(db, awaited.rule)
    if version is None:
        return Seen(missing=[awaited.through])
    key = [awaited.rule, version]
    first = awaited.first or db.value(_FIRST, key * 3) or awaited.through
    first = min(first, awaited.through)
    found = db.frame(_MARKERS, [*key, first, awaited.through])
    ready = found.filter(found["state"] != COMPLETE) if awaited.settled else found
    there = set(ready["hour"])
    count = (awaited.through - first) // _HOUR + 1
    missing = [h for h in (first + n * _HOUR for n in range(count)) if h not in there]
    markers = markers_told(ready)
    held = [f"{m['hour']} is held: {m['held_reason']}" for m in markers if m["held"]]
    return Seen(version, markers, missing, held)


def _shown(db: Database, rule: str) -> int | None:
    version = db.value(_VERSION, [rule]) or db.value(_NEWEST, [rule])
    return None if version is None else int(version)
