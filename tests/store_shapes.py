"""Small frames for the tests of store, archive and import."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from labeling.engine.keys import user_key
from labeling.io.archive import Archive, archive_schema
from labeling.model.event import TS
from labeling.model.table import ROW_KEY_SCHEMA, RuleTable

T0 = datetime(2026, 11, 20, 10, tzinfo=UTC)
VALUES: dict[str, pl.DataType] = {
    "item_id": pl.String(),
    "experiments": pl.List(pl.String()),
    "clicked": pl.Boolean(),
    "paid": pl.Int64(),
}
CLICKS = RuleTable("clicks", 1, "digest-1", VALUES, frozenset({"paid"}), window_ms=1_800_000)


def at(ms: int = 0, *, hours: int = 0) -> datetime:
    """A time after ``T0``."""
    return T0 + timedelta(milliseconds=ms, hours=hours)


def key(user: str, ms: int, anchor: str = "a") -> tuple[str, datetime, str]:
    """A row's key."""
    return (user, at(ms), anchor)


def value(paid: int | None = None, *, clicked: bool = False) -> dict[str, Any]:
    """A row's values."""
    return {"item_id": "i", "experiments": ["x", "y"], "clicked": clicked, "paid": paid}


Change = tuple[tuple[str, datetime, str], int, str, dict[str, Any] | None, dict[str, Any] | None]


def changes(rows: Sequence[Change]) -> pl.DataFrame:
    """Rows of (key, revision, kind, old, new) as ``labeling.engine.changes`` returns them."""
    struct = pl.Struct(VALUES)
    return pl.DataFrame(
        [(*k, r, kind, "replay", at(), old, new) for k, r, kind, old, new in rows],
        schema={
            **ROW_KEY_SCHEMA,
            "revision": pl.Int32(),
            "kind": pl.String(),
            "reason": pl.String(),
            "point_ts": TS,
            "old": struct,
            "new": struct,
        },
        orient="row",
    )


def keys(*rows: tuple[str, datetime, str]) -> pl.DataFrame:
    """A frame of keys."""
    return pl.DataFrame(list(rows), schema=dict(ROW_KEY_SCHEMA), orient="row")


def events(
    users: Sequence[str], *, step_ms: int = 1000, commit: int = 1, **more: Any
) -> pl.DataFrame:
    """One event per user entry, ``step_ms`` apart from ``T0``, sorted as the archive wants it."""
    n = len(users)
    frame = pl.DataFrame(
        {
            "event_id": [f"e{i}" for i in range(n)],
            "event_ts": [at(i * step_ms) for i in range(n)],
            "event_type": ["click"] * n,
            "user_id": list(users),
            "source": ["app"] * n,
            "archived": [commit] * n,
            **more,
        }
    )
    schema = archive_schema()
    frame = frame.with_columns(user_key())
    return frame.select(
        (pl.col(c) if c in frame.columns else pl.lit(None).alias(c)).cast(t)
        for c, t in schema.items()
    ).sort("user_key", "event_ts", "event_id")


def write_hour(archive: Archive, frame: pl.DataFrame, stem: str, hours: int = 0) -> Any:
    """Write a frame as one file of the hour ``hours`` after ``T0``."""
    return archive.write(frame, at(hours=hours), stem, kind="import", source="app")
