"""The kinds of rules behind one interface: what the stream asks of a rule, whatever its kind.

Always holds: rows of an anchor at a point are all that its kind has there, its own row first.

Not promised: that events of one identity twice are told apart; the stream keeps the first.
"""

from __future__ import annotations

from labeling.model.attribution import AttributionRule
from labeling.model.kinds import Rule
from tests.model import attribution, oracle
from tests.model.actions import AsOf as ActionsAsOf
from tests.model.assign import AsOf, Fact, Twins, points, selects, standing
from tests.model.clock import FOREVER
from tests.model.oracle import Row


def points_of(rule: Rule, events: list[Fact], twins: Twins) -> list[tuple[Fact, list[int]]]:
    """Every candidate with its points, in order (clauses 4 and A5)."""
    if isinstance(rule, AttributionRule):
        known = ActionsAsOf(rule, events, FOREVER, twins)
        return [(c, known.points(c)) for c in known.candidates]
    candidates = [e for e in sorted(events, key=standing) if selects(rule.anchor_event, e, twins)]
    return [(c, points(rule, c["event_ts"])) for c in candidates]


def rows_at(rule: Rule, events: list[Fact], c: Fact, point: int, twins: Twins) -> list[Row]:
    """The rows of one candidate as of a point."""
    if isinstance(rule, AttributionRule):
        return attribution.set_of(ActionsAsOf(rule, events, point, twins), c)
    return [oracle.row(AsOf(rule, events, point, twins), c, point)]


def final_rows(rule: Rule, events: list[Fact], twins: Twins) -> list[Row]:
    """The present rows at the last point of each candidate."""
    if isinstance(rule, AttributionRule):
        return attribution.final_rows(rule, events, twins)
    return oracle.final_rows(rule, events, twins)


def reason_of(rule: Rule, c: Fact, point: int) -> str:
    """Why rows are published at a point that is passed (clauses 18 and A19)."""
    later = isinstance(rule, AttributionRule) and point > c["event_ts"]
    return "undo" if later else "point"
