"""The rules that tests of the live flow run."""

from __future__ import annotations

from labeling import (
    AttributionRule,
    Event,
    LabelRule,
    Rollup,
    count,
    happened,
    label,
    last_touch,
    linear,
    rows,
    rows_of,
    sum_of,
    time_decay,
    total,
)
from rules.action_sources import ACTION_SOURCES
from rules.ad_click import AD_CLICK
from rules.hourly import NOTE_HOURLY
from rules.note_labels import NOTE_LABELS
from rules.note_samples import NOTE_SAMPLES
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
#: A label that reads an attribution.
CREDITS = LabelRule(
    name="credits",
    anchor=Event("impression"),
    match=("user_id", "item_id"),
    window="20m",
    early=("1m",),
    labels={"caused": count(rows_of(CAUSES)), "credit": sum_of(rows_of(CAUSES), "credit_linear")},
    carry=("item_id",),
)
#: What the simulator's stream is for.
SIMULATED = (NOTE_LABELS, AD_CLICK, CAUSES, CREDITS, ACTION_SOURCES)
#: Past ``hot_horizon``: an attribution to what a label says, with what takes it back.
VALID_CAUSES = AttributionRule(
    name="valid_causes",
    action=Event("follow", "like", "order"),
    match=("user_id", "author_id"),
    touches=(rows_of(NOTE_LABELS, where=label("valid_click"), within="2h"),),
    credit=time_decay("30m"),
    undone_by=Event("unfollow", "unlike"),
    undone_within="1h",
)
#: Past it too, with a point long before the last.
CONVERTED = LabelRule(
    name="converted",
    anchor=Event("click"),
    match=("user_id", "item_id"),
    window="3h",
    early=("10m",),
    repeat_within="2s",
    labels={"orders": count("order"), "interacted": happened(Event("like", "favorite", "share"))},
    carry=("item_id",),
)
#: Every kind of rule, hot and cold.
CHAOS = (*SIMULATED, VALID_CAUSES, CONVERTED)
#: By what an attribution says of its touches, and over samples.
CAUSES_HOURLY = Rollup(
    name="causes_hourly",
    of=CAUSES,
    by=("touch_type",),
    sums={"rows": rows(), "credit": total("credit_linear")},
)
SAMPLES_HOURLY = Rollup(
    name="samples_hourly",
    of=NOTE_SAMPLES,
    by=("scene", "status", "experiments"),
    sums={"samples": rows(), "clicks": total("clicked"), "dwell_ms": total("dwell_ms")},
)
#: Every kind of rule, with samples and hourly sums of them: it needs a source ``ranker``.
PRODUCTS = (*CHAOS, NOTE_SAMPLES, NOTE_HOURLY, CAUSES_HOURLY, SAMPLES_HOURLY)
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
