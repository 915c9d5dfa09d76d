"""Small attribution rules and logs, worked out by hand, for the tests of their evaluation.

Always holds: what ``made`` returns came out the same from shuffled events, points in another
order, and event types held as the stream holds them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from labeling import AttributionRule, Event
from labeling.engine.evaluate import evaluate, row_schema
from labeling.engine.points import points

T0 = datetime(2026, 11, 20, 10, tzinfo=UTC)
ORDER = ("user_id", "order_id")


def rule(**changed: Any) -> AttributionRule:
    """Orders of a user, and the clicks of 100 s before."""
    fields: dict[str, Any] = {"name": "hand", "action": Event("order"), "match": ("user_id",)}
    return AttributionRule(**(fields | {"touches": (Event("click", within="100s"),)} | changed))


def log(r: AttributionRule, *said: tuple[Any, ...]) -> pl.DataFrame:
    """Events of (id, type, seconds, what else)."""
    rows = [
        {"event_id": i, "event_type": kind, "user_id": "u", **(dict(*more))}
        | {"event_ts": T0 + timedelta(seconds=s)}
        for i, kind, s, *more in said
    ]
    return pl.DataFrame(rows, schema=dict(r.event_schema)).select(sorted(r.event_columns))


def made(r: AttributionRule, events: pl.DataFrame) -> pl.DataFrame:
    """All rows at all points; the same from shuffled events, types as the stream holds them."""
    rows = evaluate(r, events, points(r, events))
    kinds = pl.Enum(sorted({"other", *r.event_types}))
    held = events.with_columns(pl.col("event_type").cast(kinds))
    mixed = held.sample(fraction=1.0, shuffle=True, seed=7)
    asked = points(r, mixed).sample(fraction=1.0, shuffle=True, seed=5)
    assert evaluate(r, mixed, asked).equals(rows)
    assert dict(rows.schema) == dict(row_schema(r))
    return rows


def paths(r: AttributionRule, *said: tuple[Any, ...]) -> dict[str, list[str]]:
    """Action to its touches in the order of the path, at its own time."""
    rows = made(r, log(r, *said)).filter(pl.col("point_ts") == pl.col("anchor_ts"))
    own = rows.filter("present", touch_id="")["anchor_id"].sort().to_list()
    touched = rows.filter(pl.col("touch_id") != "").sort("rank")
    return {a: touched.filter(anchor_id=a)["touch_id"].to_list() for a in own}


def own(r: AttributionRule, *said: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Actions' own rows: point in seconds, action, verdict (of a repeat None) and value."""
    rows = made(r, log(r, *said)).filter(touch_id="")
    at = (rows["point_ts"] - T0).dt.total_seconds()
    value = rows["value"] if r.value else pl.repeat(None, rows.height, eager=True)
    return list(zip(at, rows["anchor_id"], rows["verdict"], value, strict=True))
