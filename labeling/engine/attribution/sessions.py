"""Sessions of users: clause A13 of docs/attribution.md.

Always holds: every event of a type that the rule reads is in one session of its user, and an event
of no other type is; a session is told apart by its first event, not by that one's id alone.

Not promised: sessions of users that nobody asks about.
"""

from __future__ import annotations

import polars as pl

from labeling.engine.attribution.repeats import local_day
from labeling.engine.nearest import lane_sorted
from labeling.model.attribution import AttributionRule
from labeling.model.event import TS
from labeling.model.session import SESSION, Session


def with_sessions(rule: AttributionRule, events: pl.DataFrame, users: pl.Series) -> pl.DataFrame:
    """The events with the session that each is in.

    Args:
        rule: whose ``sessions`` and ``event_types`` apply; all as it is where it has none.
        events: the whole frame.
        users: whose sessions are wanted.

    Returns:
        The frame, in its order, with ``session`` (String: the row of the session's first event)
        and ``#session_ts`` (that one's time); null for what is in none that is wanted.
    """
    if rule.sessions is None:
        return events
    read = pl.col("event_type").is_in(sorted(rule.event_types))
    slim = events.select("user_id", "event_ts", "event_id", "event_type").with_row_index("row")
    slim = slim.filter(read, pl.col("user_id").is_in(users.unique().implode()))
    firsts = _firsts(rule.sessions, slim.drop("event_type"))
    placed = events.select(row=pl.int_range(pl.len(), dtype=pl.UInt32)).join(
        firsts, on="row", how="left", maintain_order="left"
    )
    return events.with_columns(placed[SESSION], placed["#session_ts"])


def _firsts(sessions: Session, slim: pl.DataFrame) -> pl.DataFrame:
    """For each row the first of its session, and that one's time."""
    run = lane_sorted(
        slim.with_columns(local_day(sessions.tz)), ("user_id",), ("event_ts", "event_id")
    )
    pause = pl.col("event_ts") - pl.col("event_ts").shift(1)
    same = (
        (pl.col("key") == pl.col("key").shift(1))
        & (pl.col("day") == pl.col("day").shift(1))
        & (pause <= pl.duration(milliseconds=sessions.gap_ms))
    )
    begins = ~same.fill_null(value=False)
    return run.select(
        "row",
        pl.when(begins).then("row").forward_fill().cast(pl.String).alias(SESSION),
        pl.when(begins).then("event_ts").forward_fill().cast(TS).alias("#session_ts"),
    )
