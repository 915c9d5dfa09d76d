"""Valid ad clicks: which clicks on ads were meant.

Always holds: one row per click on an ad, thirty minutes later; a click within two seconds of
another on the same ad by the same user is that click once more and has no row, and what follows
it counts for the first.

Not promised: that a click without ``is_ad`` is on no ad. Null is not true: it has no row.
"""

from __future__ import annotations

from labeling import Event, LabelRule, column, dwell, happened, label

AD_CLICK = LabelRule(
    name="ad_click",
    version=1,
    anchor=Event("click", where=column("is_ad")),
    # No reference: what impressions name is the impression, and the anchor here is the click.
    match=("user_id", "item_id"),
    window="30m",
    repeat_within="2s",
    labels={
        "valid": label("interacted") | (label("dwell_ms") >= 3_000),
        "interacted": happened(Event("like", "favorite", "comment", "share", "order")),
        "dwell_ms": dwell(
            start="view_start", heartbeat="view_heartbeat", end="view_end", cap="10m"
        ),
    },
    carry=(
        "item_id",
        "author_id",
        "campaign_id",
        "request_id",
        "scene",
        "position",
        "platform",
        "session_id",
        "experiments",
    ),
    columns={"is_ad": "bool", "campaign_id": "str"},
)
