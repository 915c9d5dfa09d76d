"""Rows of rules that other rules read (clauses R1 to R4 of docs/rows-of.md), in plain Python.

Always holds: what a row says is made anew for each point that somebody looks from; a row is a fact
with what it says under ``said``.

Not promised: speed: each reader's point evaluates the whole chain behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from labeling.model.attribution import AttributionRule
from labeling.model.kinds import Rule
from labeling.model.rule import LabelRule
from tests.model import attribution, oracle
from tests.model.actions import AsOf as ActionsAsOf
from tests.model.assign import AsOf, Fact, Twins


def rows_as_of(source: Rule, facts: Sequence[Fact], point: int, twins: Twins) -> Iterator[Fact]:
    """R1 and R2: the rows of a rule as a reader at a point sees them, as facts."""
    if isinstance(source, AttributionRule):
        yield from _touches_as_of(source, facts, point, twins)
        return
    as_of = AsOf(source, facts, point, twins)
    for anchor in filter(as_of.is_there, as_of.anchors):
        yield anchor | {"event_type": f"rows of {source.key}", "said": said(as_of, anchor)}


def said_as_of(
    source: LabelRule, facts: Sequence[Fact], e: Fact, point: int, twins: Twins
) -> Fact | None:
    """What the row of an event says at a point; None: it has no row."""
    as_of = AsOf(source, facts, point, twins)
    return said(as_of, e) if as_of.is_there(e) else None


def said(as_of: AsOf, anchor: Fact) -> Fact:
    """The labels of an anchor."""
    return {name: oracle.value(as_of, anchor, root) for name, root in as_of.rule.labels.items()}


def _touches_as_of(
    source: AttributionRule, facts: Sequence[Fact], point: int, twins: Twins
) -> Iterator[Fact]:
    as_of = ActionsAsOf(source, facts, point, twins)
    for action in as_of.actions:
        for row in attribution.set_of(as_of, action):
            if row["touch_id"]:
                columns = {c: None for c in facts[0] if c not in ("user_id", "event_type")}
                yield columns | {
                    **{c: row[f"touch_{c}"] for c in source.touch_carry},
                    "user_id": action["user_id"],
                    "event_ts": action["event_ts"],
                    "event_id": f"{action['event_id']} {row['touch_id']}",
                    "event_type": f"rows of {source.key}",
                    "said": {c: row[c] for c in source.value_schema if c not in source.carry},
                }
