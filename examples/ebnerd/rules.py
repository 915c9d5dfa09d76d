"""What became of each article in view: was it clicked, and how long was it read?

Always holds: one row per impression. Clicks and reads name the list that they came from, so an
article shown again in the next list takes none of the first one's.

Not promised: the time from impression to click, which the log does not record.
"""

from labeling import Event, LabelRule, dwell, happened, label

ARTICLE_LABELS = LabelRule(
    name="article_labels",
    version=1,
    anchor=Event("impression"),
    match=("user_id", "item_id"),
    reference="impression_id",
    window="30m",
    labels={
        "clicked": happened("click"),
        "dwell_ms": dwell(end="view_end", duration="duration_ms"),
        "valid_click": label("clicked") & (label("dwell_ms") >= 3_000),
    },
    carry=("item_id", "impression_id", "position", "session_id", "platform"),
    columns={"duration_ms": "i64"},
)

RULES = (ARTICLE_LABELS,)
