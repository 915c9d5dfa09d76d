"""Follow causes: which of the author's notes a user saw before following, and from which scene.

Always holds: one row per follow, and one for each cause: a view of one of the author's notes within
24 hours before it, or a search within ten minutes; both bounds are inclusive. ``direct`` marks the
last one before the follow. The first and the last have 40 % of the credit each. An unfollow
within a day takes the latest follow back; to follow again is another action.

Not promised: that a search was for the author. It is the user's, whatever was looked for.
"""

from __future__ import annotations

from labeling import AttributionRule, Event, position_based

FOLLOW_CAUSES = AttributionRule(
    name="follow_causes",
    version=1,
    action=Event("follow"),
    match=("user_id", "author_id"),
    touches=(
        Event("view_start", within="24h"),
        Event("search", match=("user_id",), within="10m"),
    ),
    credit=position_based(first=0.4, last=0.4),
    undone_by=Event("unfollow"),
    undone_within="1d",
)
