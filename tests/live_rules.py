"""The rules that tests of the live flow run."""

from __future__ import annotations

from labeling import Event, LabelRule, count, happened
from rules.ad_click import AD_CLICK
from rules.note_labels import NOTE_LABELS
from tests.replay_project import RULE

#: Quick ones: anchors ``show``, a window of half an hour.
RULES = (RULE,)
#: What the simulator's stream is for.
SIMULATED = (NOTE_LABELS, AD_CLICK)
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
