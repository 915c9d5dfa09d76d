"""The type of each label, and an order in which labels can be computed.

Always holds: every label comes after those that it uses, and has one type whatever the events.

Not promised: types of wrapped Polars expressions beyond what their rule declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

import polars as pl

from labeling.errors import RuleError
from labeling.model.event import event_schema
from labeling.model.expr import (
    ARITHMETIC,
    COMPARISONS,
    LOGIC,
    AnchorColumn,
    Column,
    LabelRef,
    Lit,
    Node,
    Op,
    Wrapped,
)
from labeling.model.rows_of import value_type
from labeling.model.vocabulary import (
    Active,
    Aggregate,
    Count,
    CountDistinct,
    Dwell,
    Happened,
    OfColumn,
    ReportedDwell,
    SumOf,
    TimeTo,
)

if TYPE_CHECKING:
    from labeling.model.rule import LabelRule

_CONDITIONS: Final = (Happened, Active, Wrapped)
_INTEGERS: Final = (Count, CountDistinct, SumOf, TimeTo, Dwell, ReportedDwell)


class Named(Protocol):
    """A rule, as far as messages go."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def version(self) -> int:
        """Its version."""


def fail(rule: Named, message: str) -> NoReturn:
    """Refuse a rule.

    Raises:
        RuleError: always, with the rule's name and version before the message.
    """
    raise RuleError(f"rule {rule.name!r} (version {rule.version}): {message}")


def label_types(rule: LabelRule) -> dict[str, pl.DataType]:
    """The type of each label, in the order of writing.

    Raises:
        RuleError: a label uses one that is not defined, or itself, or adds what cannot be added.
    """
    schema = event_schema(rule.columns)
    known: dict[str, pl.DataType] = {}
    for name in label_order(rule):
        known[name] = infer(rule, rule.labels[name], f"label {name!r}", schema, known)
    return {name: known[name] for name in rule.labels}


def label_order(rule: LabelRule) -> tuple[str, ...]:
    """Labels such that each comes after those it uses; by order of writing otherwise."""
    done: dict[str, None] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            fail(rule, f"label {name!r} uses itself: {' -> '.join((*path, name))}")
        if name not in rule.labels:
            near = get_close_matches(name, rule.labels, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; define it in labels"
            fail(rule, f"label {path[-1]!r} uses the undefined label {name!r}{hint}")
        for n in rule.labels[name].walk():
            if isinstance(n, LabelRef) and n.name not in done:
                visit(n.name, (*path, name))
        done[name] = None

    for name in rule.labels:
        if name not in done:
            visit(name, ())
    return tuple(done)


def infer(
    rule: Named,
    n: Node,
    where: str,
    schema: Mapping[str, pl.DataType],
    labels: Mapping[str, pl.DataType],
) -> pl.DataType:
    """The type of a node; strings compare with strings, numbers with numbers."""
    if isinstance(n, Op):
        return _infer_op(rule, n, where, [infer(rule, a, where, schema, labels) for a in n.args])
    kind: pl.DataType | None = None
    if isinstance(n, Lit):
        kind = pl.Series([n.value]).dtype
    elif isinstance(n, LabelRef):
        kind = labels[n.name]
    elif isinstance(n, Column | AnchorColumn):
        kind = schema[n.name]
    elif isinstance(n, Aggregate):
        kind = n.dtype
    elif isinstance(n, _CONDITIONS):
        kind = pl.Boolean()
    elif isinstance(n, _INTEGERS):
        kind = pl.Int64()
    elif isinstance(n, OfColumn):
        kind = value_type(n.event, n.column, schema)
    if kind is None:
        fail(rule, f"{where}: {type(n).__name__} cannot stand here")
    return kind


def _infer_op(rule: Named, op: Op, where: str, kinds: list[pl.DataType]) -> pl.DataType:
    def family(kind: pl.DataType) -> str:
        return "number" if kind.is_numeric() else str(kind)

    families = {family(k) for k in kinds}
    if op.name in LOGIC and families != {"Boolean"}:
        fail(rule, f"{where}: &, | and ~ join conditions, not {sorted(families)}; compare first")
    if op.name in ARITHMETIC and families != {"number"}:
        fail(rule, f"{where}: arithmetic on {sorted(families)}; use numbers")
    if op.name in COMPARISONS | {"fill_null"} and len(families) > 1:
        fail(rule, f"{where}: compares {' with '.join(sorted(families))}; make them one type")
    if op.name in LOGIC | COMPARISONS:
        return pl.Boolean()
    if op.name == "truediv" or any(k.is_float() for k in kinds):
        return pl.Float64()
    return pl.Int64() if families == {"number"} else kinds[0]
