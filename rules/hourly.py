"""Hourly sums: how notes do by scene, experiment and platform, and what follows are credited to.

Always holds: the sums are those of the rules' current rows.

Not promised: that experiments add up to the whole: an impression in two of them counts in both.
"""

from __future__ import annotations

import polars as pl

from labeling import Rollup, rows, total
from rules.follow_causes import FOLLOW_CAUSES
from rules.note_labels import NOTE_LABELS

NOTE_HOURLY = Rollup(
    name="note_hourly",
    version=1,
    of=NOTE_LABELS,
    by=("scene", "experiments", "platform"),
    sums={
        "impressions": rows(),
        "clicks": total("clicked"),
        "valid_clicks": total("valid_click"),
        "dwell_ms": total("dwell_ms"),
        "likes": total("liked"),
        "follows": total("followed"),
    },
)
FOLLOW_HOURLY = Rollup(
    name="follow_hourly",
    version=1,
    of=FOLLOW_CAUSES,
    by=("touch_type", "touch_class"),
    sums={
        "follows": rows(pl.col("touch_id") == ""),
        "attributed": rows(pl.col("verdict") == "attributed"),
        "credit": total("credit"),
    },
)
