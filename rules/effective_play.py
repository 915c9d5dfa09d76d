"""Effective plays: which views were long enough to count.

Always holds: one row per started view, published after one minute and, finally, after thirty.
It is effective when at least three seconds were played, or at least half of the item; both
bounds are inclusive. What the client reports at the view's end counts; where nothing is
reported, heartbeats do.

Not promised: a play time where there is neither report nor heartbeat: it is null, and the play
not effective. An item without a duration, or with 0, has no half.
"""

from __future__ import annotations

import polars as pl

from labeling import Event, LabelRule, aggregate, anchor, dwell, label

# The start of a view is its anchor and cannot be one of its own events, so dwell(start=...) has
# nothing to start from here. Steps from beat to beat add up, the first from the anchor;
# longer ones are background.
_STEP = pl.col("delay_ms") - pl.col("delay_ms").shift(1, fill_value=0)
_BEATEN = _STEP.filter(_STEP <= 60_000).sum()

EFFECTIVE_PLAY = LabelRule(
    name="effective_play",
    version=1,
    anchor=Event("view_start"),
    match=("user_id", "item_id"),
    reference="view_id",
    window="30m",
    early=("1m",),
    labels={
        "effective": (label("played_ms") >= 3_000)
        | (
            (anchor("item_duration_ms") > 0)
            & (label("played_ms") * 2 >= anchor("item_duration_ms"))
        ),
        "played_ms": label("reported_ms").fill_null(label("beaten_ms")),
        "reported_ms": dwell(end="view_end", duration="duration_ms", cap="30m"),
        "beaten_ms": aggregate(Event("view_heartbeat"), _BEATEN, pl.Int64),
    },
    carry=(
        "item_id",
        "author_id",
        "view_id",
        "item_duration_ms",
        "request_id",
        "scene",
        "position",
        "platform",
        "session_id",
        "experiments",
    ),
    columns={"duration_ms": "i64", "item_duration_ms": "i64"},
)
