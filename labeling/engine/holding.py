"""What is held of which event, and how a held event is named.

Always holds: an event is held once, whatever rules read it, in the log of its type. There are four:
types that anchors have, with all columns that rules read; others that actions have, with all that
their rules read; others that those rules read, with all but what only actions carry; and what
labels alone read, with the columns that labels are made of. Each is held as long as its rules need.

Not promised: that a column is read of every type that has it. A log has one set of columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeGuard

import polars as pl

from labeling.engine.evaluate import label_columns
from labeling.engine.log import Numbers
from labeling.model.attribution import AttributionRule
from labeling.model.kinds import Rule
from labeling.model.rule import LabelRule

#: The logs: where an event is held, as the low bits of its place say.
ANCHOR: Final = 0
OTHER: Final = 1
ACTION: Final = 2
TOUCH: Final = 3
_BITS: Final = 2
_KIND: Final = (1 << _BITS) - 1
#: Columns that a rule reads.
_Read = tuple[Rule, Iterable[str]]


@dataclass(frozen=True)
class Holding:
    """The types that a log holds, and the columns of it."""

    types: frozenset[str]
    schema: pl.Schema


def place_of(number: pl.Expr, kind: int) -> pl.Expr:
    """The place of a row of a log, from its number."""
    return number * (_KIND + 1) + kind


def places_of(numbers: Numbers, kind: int) -> Numbers:
    """The places of rows of a log, from their numbers."""
    return (numbers << _BITS) + kind


def numbers_of(places: Numbers, kind: int) -> Numbers:
    """The numbers of those places that are in a log."""
    found: Numbers = places[(places & _KIND) == kind] >> _BITS
    return found


def by_lane(rule: Rule) -> TypeGuard[LabelRule]:
    """Whether the rule's rows follow from events of equal lane columns, label by label.

    Those of other rules need all that the rule reads of a group.
    """
    return isinstance(rule, LabelRule) and not rule.sources


def row_types(rule: Rule) -> frozenset[str]:
    """The types of the events that may have rows: anchors, actions."""
    return frozenset(
        (rule.action if isinstance(rule, AttributionRule) else rule.anchor_event).types
    )


def holdings(rules: Sequence[Rule]) -> tuple[Holding, ...]:
    """What each log holds, by its number; ``event_type`` is an Enum of all types that are held."""
    in_lanes, grouped = _parted(rules)
    read = frozenset[str]().union(*(r.event_types for r in rules))
    anchors = frozenset[str]().union(*(row_types(r) for r in in_lanes))
    actions = frozenset[str]().union(*(row_types(r) for r in grouped)) - anchors
    touches = frozenset[str]().union(*(r.event_types for r in grouped)) - anchors - actions
    types = {
        ANCHOR: anchors,
        OTHER: read - anchors - actions - touches,
        ACTION: actions,
        TOUCH: touches,
    }
    columns: dict[int, list[_Read]] = {
        ANCHOR: [(r, r.event_columns) for r in rules],
        OTHER: [(r, label_columns(r)) for r in in_lanes],
        ACTION: [(r, r.event_columns) for r in grouped],
        TOUCH: [(r, replace(r, carry=()).event_columns) for r in grouped],
    }
    for kind in (ACTION, TOUCH):
        columns[kind] += [(r, label_columns(r)) for r in in_lanes if r.event_types & types[kind]]
    enum = pl.Enum(sorted(read))
    return tuple(Holding(types[kind], _schema(columns[kind], enum)) for kind in types)


def _parted(rules: Sequence[Rule]) -> tuple[list[LabelRule], list[Rule]]:
    """The rules that are evaluated by lane, and the others."""
    return [r for r in rules if by_lane(r)], [r for r in rules if not by_lane(r)]


def _schema(read: Iterable[_Read], kind: pl.Enum) -> pl.Schema:
    """The columns that some rules read."""
    found: dict[str, pl.DataType] = {}
    for rule, columns in read:
        found |= {c: rule.event_schema[c] for c in sorted(columns)}
    return pl.Schema(found | {"event_type": kind})
