"""Note labels: what a user did with an item after it was shown to them.

Always holds: one row per impression, published after one minute and, finally, after thirty; an
event counts for one impression only: the one it names by ``impression_id``, else the latest one
of the item shown to the user.

Not promised: that a dwell counts as a valid click by itself. A client that opens items without
logging a click has views and no clicks.
"""

from __future__ import annotations

from labeling import Event, LabelRule, active, dwell, happened, label

#: What shows interest in an item whose dwell was not, or hardly, seen.
INTERACTIONS = Event("like", "favorite", "comment", "share")
#: Following is about the author: it need not name the item.
AUTHOR = ("user_id", "author_id")

NOTE_LABELS = LabelRule(
    name="note_labels",
    version=1,
    anchor=Event("impression"),
    match=("user_id", "item_id"),
    reference="impression_id",
    window="30m",
    early=("1m",),
    labels={
        "clicked": happened("click"),
        "valid_click": label("clicked") & ((label("dwell_ms") >= 3_000) | happened(INTERACTIONS)),
        "dwell_ms": dwell(
            start="view_start", heartbeat="view_heartbeat", end="view_end", cap="10m"
        ),
        "liked": active("like", undone_by="unlike"),
        "favorited": happened("favorite"),
        "commented": happened("comment"),
        "shared": happened("share"),
        "followed": active(
            Event("follow", match=AUTHOR), undone_by=Event("unfollow", match=AUTHOR)
        ),
        "hidden": happened("hide"),
    },
)
