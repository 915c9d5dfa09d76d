"""What became of every impression within half an hour: the rule of the demo.

Always holds: one row per impression, published after one minute and, finally, after thirty.

Not promised: that it is the rule for your log. `labeling init` writes a project to start from.
"""

from labeling import Event, LabelRule, active, dwell, happened, label

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
        "dwell_ms": dwell(start="view_start", heartbeat="view_heartbeat", end="view_end"),
        "valid_click": label("clicked") & (label("dwell_ms") >= 3_000),
        "liked": active("like", undone_by="unlike"),
        "followed": active(
            Event("follow", match=AUTHOR), undone_by=Event("unfollow", match=AUTHOR)
        ),
    },
)

RULES = (NOTE_LABELS,)
