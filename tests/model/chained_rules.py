"""Sample rules that read rules: labels of labels, labels of attributions, valid touches.

Always holds: together they use every word of docs/rows-of.md, three rules deep.

Not promised: sense. Windows are of a few instants of ``tests.strategies``.
"""

from __future__ import annotations

from labeling import (
    AttributionRule,
    Event,
    LabelRule,
    active,
    column,
    count,
    dwell,
    first_value,
    happened,
    label,
    linear,
    max_of,
    rows_of,
    sum_of,
)

AUTHOR = ("user_id", "author_id")

READS = LabelRule(
    name="reads",
    anchor=Event("view_start"),
    match=("user_id", "item_id"),
    window="12ms",
    early=("3ms",),
    repeat_within="1ms",
    labels={
        "liked": active("like", undone_by="unlike"),
        "ends": count("view_end"),
        "long": label("ends") > 0,
        "dwell_ms": dwell(start="view_start", heartbeat="view_heartbeat", end="view_end"),
    },
)
FOLLOWS = AttributionRule(
    name="follow_after_read",
    action=Event("follow"),
    match=AUTHOR,
    touches=(rows_of(READS, where=label("liked") | label("long"), within="20ms"),),
    undone_by=Event("unfollow"),
    undone_within="1h",
    touch_carry=("item_id", "author_id", "scene", "impression_id"),
)
AFTER = LabelRule(
    name="follow_credit",
    anchor=Event("impression"),
    match=("user_id", "item_id"),
    reference="impression_id",
    window="1h",
    early=("200ms",),
    labels={
        "followed_after_view": happened(rows_of(FOLLOWS)),
        "follow_credit": sum_of(rows_of(FOLLOWS), "credit"),
    },
)
CHAINS = (
    FOLLOWS,
    AFTER,
    LabelRule(
        name="reads_of_an_impression",
        anchor=Event("impression"),
        match=("user_id", "item_id"),
        window="20ms",
        early=("5ms", "9ms"),
        assign="every",
        labels={
            "reads": count(rows_of(READS)),
            "long_reads": count(rows_of(READS, where=label("long"), within="15ms")),
            "liked_in_feed": happened(
                rows_of(READS, where=label("liked") & (column("scene") == "feed"))
            ),
            "first_ends": first_value(rows_of(READS), "ends"),
            "most_ends": max_of(rows_of(READS, match=AUTHOR), "ends"),
            "clicks": count("click"),
        },
    ),
    AttributionRule(
        name="likes_by_valid_clicks",
        action=Event("like", "follow"),
        match=("user_id",),
        touches=(
            rows_of(READS, where=label("long"), within="20ms", match=AUTHOR),
            Event("click", within="6ms"),
            rows_of(READS, within="9ms"),
        ),
        classes=True,
        credit=linear(),
        repeat_within="4ms",
        value="value",
    ),
    LabelRule(
        name="after_a_long_read",
        anchor=rows_of(READS, where=label("long") | label("liked")),
        match=AUTHOR,
        window="20ms",
        early=("4ms", "8ms"),
        labels={
            "followed": happened("follow"),
            "more_reads": count(rows_of(READS)),
            "credit": sum_of(rows_of(FOLLOWS), "credit"),
        },
    ),
)
