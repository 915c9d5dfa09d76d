"""The shipped rules, one file each, and two rollups. ``RULES`` is what a configuration names.

Always holds: each rule has another name or another version.

Not promised: that they fit a site as they are. They are the operator's to copy and change; a
changed definition needs a new version.
"""

from __future__ import annotations

from rules.action_sources import ACTION_SOURCES
from rules.ad_click import AD_CLICK
from rules.delayed_conversion import DELAYED_CONVERSION
from rules.effective_play import EFFECTIVE_PLAY
from rules.follow_causes import FOLLOW_CAUSES
from rules.hourly import FOLLOW_HOURLY, NOTE_HOURLY
from rules.note_labels import NOTE_LABELS
from rules.order_attribution import ORDER_ATTRIBUTION

RULES = (
    NOTE_LABELS,
    AD_CLICK,
    EFFECTIVE_PLAY,
    DELAYED_CONVERSION,
    FOLLOW_CAUSES,
    ORDER_ATTRIBUTION,
    ACTION_SOURCES,
    NOTE_HOURLY,
    FOLLOW_HOURLY,
)

__all__ = ["RULES"]
