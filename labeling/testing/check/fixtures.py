"""The events of golden cases, as ``check`` takes them: one frame per rule.

Always holds: each case's users are its own (``case.user``); rejected lines and repeats are left
out.

Not promised: a look at what a case expects. That is ``labeling golden``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from labeling.model.event import IDENTITY
from labeling.model.kinds import Rule
from labeling.testing.golden_case import load, places


def fixture_events(root: Path, rules: Sequence[Rule]) -> dict[str, pl.DataFrame]:
    """Events by rule key, of the rules that have cases.

    Args:
        root: a fixtures folder; what lies in it for other rules is left alone.
        rules: the rules to be checked.

    Raises:
        CaseError: a case cannot be read.
    """
    names = {rule.name for rule in rules}
    found: dict[str, list[pl.DataFrame]] = {}
    for place in places(root, rules):
        if place.problem is None and place.path.parent.name in names:
            case = load(place.path, rules, accepting=True)
            own = pl.lit(f"{place.path.name}.") + pl.col("user_id")
            events = case.lines.filter(case.accepted).with_columns(user_id=own)
            once = events.unique(list(IDENTITY), keep="first", maintain_order=True)
            found.setdefault(case.rule.key, []).append(once)
    return {key: pl.concat(frames) for key, frames in found.items()}
