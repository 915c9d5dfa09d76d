"""This project's rules. ``RULES`` is what ``labeling.toml`` names.

A changed definition needs a new version: rows say which one made them.
"""

from labeling import Event, LabelRule, active, happened, time_to

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
        "click_after_ms": time_to("click"),
        "liked": active("like", undone_by="unlike"),
    },
)

RULES = (NOTE_LABELS,)
