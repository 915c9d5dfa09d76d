"""The shipped label and attribution rules, without what is made of their rows."""

from __future__ import annotations

from typing import Final

import rules
from labeling import AttributionRule, LabelRule
from labeling.model.kinds import Rule

RULES: Final[tuple[Rule, ...]] = tuple(
    rule for rule in rules.RULES if isinstance(rule, LabelRule | AttributionRule)
)
