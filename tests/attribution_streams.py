"""Streams for attribution rules: cases as of ``strategies``, with pages and orders in them.

Always holds: events are what ``rich`` makes of those that ``strategies`` draws, and so is every
repeat of one.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from labeling.model.attribution import AttributionRule
from tests.model.attribution_facts import rich
from tests.strategies import Case, cases


def rich_case(rule: AttributionRule, case: Case) -> Case:
    """The same arrivals in the same steps, each event made richer."""
    arrived = [(rich(rule, e), lane) for e, lane in case.arrived]
    steps = [
        [replace(i, events=tuple(rich(rule, e) for e in i.events)) for i in items]
        for items in case.steps
    ]
    return replace(case, arrived=arrived, steps=steps)


def stream_of(rule: AttributionRule, **flags: bool) -> st.SearchStrategy[Case]:
    """Cases of what a rule reads, and of a type that it does not."""
    made = cases(types=(*sorted(rule.event_types), "other"), **flags)
    return made.map(lambda case: rich_case(rule, case))
