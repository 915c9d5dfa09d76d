"""The kinds of rules there are, as far as everything but their evaluation is alike.

Always holds: every kind has a ``name``, ``version``, ``key`` and ``digest``; ``event_types``,
``event_columns`` and ``event_schema`` of what it reads; ``group`` (what a row is local to);
``row_keys`` (what names a row), ``value_schema`` and ``row_schema``; ``carry`` and ``money``.
An event at ``t`` matters to anchors of ``[t - looks_ahead_ms, t + looks_back_ms]`` alone, and the
rows of an anchor are all there ``window_ms`` after it, but for what takes them back.

Not promised: that kinds share what their evaluation reads; see ``engine.evaluate``.
"""

from __future__ import annotations

from labeling.model.attribution import AttributionRule
from labeling.model.rule import LabelRule

Rule = LabelRule | AttributionRule
