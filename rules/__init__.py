"""The shipped rules, one file each. ``RULES`` is what a configuration names.

Always holds: each rule has another name or another version.

Not promised: that they fit a site as they are. They are the operator's to copy and change; a
changed definition needs a new version.
"""

from __future__ import annotations

from rules.ad_click import AD_CLICK
from rules.delayed_conversion import DELAYED_CONVERSION
from rules.effective_play import EFFECTIVE_PLAY
from rules.note_labels import NOTE_LABELS

RULES = (NOTE_LABELS, AD_CLICK, EFFECTIVE_PLAY, DELAYED_CONVERSION)

__all__ = ["RULES"]
