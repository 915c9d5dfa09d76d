"""The rules that tests of the live flow run."""

from __future__ import annotations

from labeling import AttributionRule, Event, LabelRule, count, happened, last_touch, linear
from rules.ad_click import AD_CLICK
from rules.note_labels import NOTE_LABELS
from tests.replay_project import RULE

#: Quick ones: anchors ``show``, a window of half an hour.
RULES = (RULE,)
#: Near causes alone, so that a stream can hold them; impressions are anchors of labels too.
CAUSES = AttributionRule(
    name="causes",
    action=Event("follow", "like", "favorite"),
    match=("user_id", "author_id"),
    touches=(
        Event("view_start", within="30m"),
        Event("impression", "click", within="10m"),
        Event("search", match=("user_id",), within="10m"),
    ),
    credit={"last": last_touch(), "linear": linear()},
    undone_by=Event("unfollow", "unlike"),
    undone_within="30m",
)
#: What the simulator's stream is for.
SIMULATED = (NOTE_LABELS, AD_CLICK, CAUSES)
#: The same name and version, another meaning.
CHANGED = (
    LabelRule(
        name="shown",
        anchor=Event("show"),
        match=("user_id", "item_id"),
        window="30m",
        early=("1m",),
        labels={"clicked": happened("tap"), "clicks": count("tap")},
        carry=("item_id", "position"),
    ),
)
#: A second version beside the first.
TWO_VERSIONS = (
    RULE,
    LabelRule(
        name="shown",
        version=2,
        anchor=Event("show"),
        match=("user_id", "item_id"),
        window="20m",
        labels={"clicked": happened("click")},
        carry=("item_id",),
    ),
)
