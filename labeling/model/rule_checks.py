"""What a label rule must satisfy to mean anything, checked when it is made.

Always holds: ``check`` raises ``RuleError`` naming the rule, the place and the fix, or the rule
can be evaluated on any events that satisfy the contract.

Not promised: that a wrapped Polars expression obeys the laws; ``labeling check`` tries that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, NoReturn

import polars as pl

from labeling.errors import RuleError
from labeling.model.event import IDENTITY, event_schema
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
from labeling.model.selector import Event
from labeling.model.vocabulary import (
    Active,
    Aggregate,
    Count,
    CountDistinct,
    Dwell,
    Happened,
    Measure,
    OfColumn,
    ReportedDwell,
    SumOf,
    TimeTo,
)
from labeling.model.window import Duration

if TYPE_CHECKING:
    from labeling.model.rule import LabelRule

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED: Final = frozenset(
    {"user_id", "anchor_ts", "anchor_id", "point_ts", "reason", "present", "revision", "kind"}
    | {"rule_version", "rule_digest", "first_commit", "commit"}
)
_BOOLEAN: Final = (Happened, Active)
_COUNTED: Final = (Count, CountDistinct, SumOf, TimeTo, Dwell, ReportedDwell)


def check(rule: LabelRule) -> None:
    """Raise ``RuleError`` unless the rule means something."""
    _check_names(rule)
    try:
        schema = event_schema(rule.columns)
    except ValueError as error:
        _fail(rule, str(error))
    _check_times(rule)
    _check_match(rule, rule.match, "match", schema)
    if rule.reference is not None:
        _check_column(rule, rule.reference, "reference", schema)
        if schema[rule.reference] != pl.String():
            _fail(rule, f"reference {rule.reference!r} is not a string column")
    if rule.assign not in ("latest", "every"):
        _fail(rule, f"assign={rule.assign!r}: use 'latest' or 'every'")
    for name in rule.carry:
        _check_column(rule, name, "carry", schema)
        if name in IDENTITY:
            _fail(rule, f"carry: every row has {name!r} already; drop it")
    if rule.anchor.match is not None or rule.anchor.within_ms is not None:
        _fail(rule, "anchor takes no match or within of its own: the rule's apply")
    _check_where(rule, rule.anchor, "anchor", schema)
    for name, root in rule.labels.items():
        _check_label(rule, name, root, schema)
    types = label_types(rule)
    for name in rule.money:
        if types.get(name) != pl.Int64():
            _fail(rule, f"money: {name!r} is not an integer label")


def _check_names(rule: LabelRule) -> None:
    if not _NAME.fullmatch(rule.name):
        _fail(rule, "name: use lower-case letters, digits and _, a letter first")
    if rule.version < 1:
        _fail(rule, f"version={rule.version}: versions count from 1")
    if not rule.labels:
        _fail(rule, "labels: define at least one")
    taken = _RESERVED | set(rule.carry)
    for name in rule.labels:
        if not _NAME.fullmatch(name):
            _fail(rule, f"label {name!r}: use lower-case letters, digits and _, a letter first")
        if name in taken:
            _fail(rule, f"label {name!r}: the name is taken by a column of every row; rename it")


def _check_times(rule: LabelRule) -> None:
    try:
        window, early = rule.bound, rule.early_ms
        _ = rule.repeat_ms
    except ValueError as error:
        _fail(rule, str(error))
    if any(b <= a for a, b in zip((0, *early), early, strict=False)):
        _fail(rule, f"early={rule.early}: delays must be above zero and increasing")
    if early and early[-1] >= window.longest_ms:
        _fail(rule, f"early={rule.early}: a point at or past the window's end {rule.window!r}; drop it")
    if isinstance(window, Duration) and window.ms <= 0:
        _fail(rule, "window: must be longer than zero")


def _check_match(
    rule: LabelRule, match: Iterable[str], where: str, schema: Mapping[str, pl.DataType]
) -> None:
    names = tuple(match)
    if "user_id" not in names:
        _fail(rule, f"{where}={names}: add 'user_id': events are sharded by user")
    if len(set(names)) != len(names):
        _fail(rule, f"{where}={names}: a column is named twice")
    for name in names:
        _check_column(rule, name, where, schema)
        if schema[name] != pl.String():
            _fail(rule, f"{where}: {name!r} is not a string column and cannot be matched")


def _check_column(rule: LabelRule, name: str, where: str, schema: Mapping[str, pl.DataType]) -> None:
    if name not in schema:
        near = get_close_matches(name, schema, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        _fail(
            rule,
            f"{where}: unknown column {name!r}; {hint}A column beyond the contract is declared "
            f"in the rule, columns={{{name!r}: 'str'}}, and in the configuration's [columns]",
        )


def _check_where(
    rule: LabelRule, selector: Event, where: str, schema: Mapping[str, pl.DataType]
) -> None:
    if selector.match is not None:
        _check_match(rule, selector.match, f"{where}, match", schema)
    if selector.within_ms is not None and selector.within_ms > rule.bound.longest_ms:
        _fail(rule, f"{where}: within is longer than the window {rule.window!r}; widen the window")
    if selector.where is None:
        return
    for n in selector.where.walk():
        if isinstance(n, Measure | LabelRef | AnchorColumn):
            _fail(rule, f"{where}, where: reads the event's own columns only, not {type(n).__name__}")
        if isinstance(n, Column):
            _check_column(rule, n.name, f"{where}, where", schema)
        if isinstance(n, Wrapped):
            _check_polars(rule, n.expr, f"{where}, where", schema)
    if not isinstance(selector.where, Wrapped):
        kind = _infer(rule, selector.where, where, schema, {})
        if kind != pl.Boolean():
            _fail(rule, f"{where}, where: is {kind}, not a condition; compare it with something")


def _check_polars(
    rule: LabelRule, expr: pl.Expr, where: str, schema: Mapping[str, pl.DataType]
) -> None:
    text = str(expr)
    if "python_udf" in text:
        _fail(rule, f"{where}: row-wise Python is refused; write it with Polars expressions")
    if "Series" in text:
        _fail(rule, f"{where}: a Series inside an expression has no stable text; use a plain list")
    for name in expr.meta.root_names():
        if name != "delay_ms":
            _check_column(rule, name, where, schema)


def _check_label(
    rule: LabelRule, name: str, root: Node, schema: Mapping[str, pl.DataType]
) -> None:
    where = f"label {name!r}"
    for n in root.walk():
        if isinstance(n, Column):
            _fail(rule, f"{where}: column({n.name!r}) is for where=; use anchor({n.name!r}) or first_value")
        if isinstance(n, Wrapped):
            _fail(rule, f"{where}: a Polars expression over events goes into aggregate(event, expr, dtype)")
        if isinstance(n, AnchorColumn):
            _check_column(rule, n.name, where, schema)
        if isinstance(n, OfColumn):
            _check_column(rule, n.column, where, schema)
            integer = schema[n.column].is_integer()
            if isinstance(n, SumOf | ReportedDwell) and not integer:
                _fail(rule, f"{where}: {n.column!r} is not an integer; sums of floats depend on order")
            if not isinstance(n, CountDistinct) and schema[n.column].is_nested():
                _fail(rule, f"{where}: {n.column!r} is a list and has no such value")
        if isinstance(n, Aggregate):
            _check_polars(rule, n.expr, where, schema)
        if isinstance(n, Measure):
            for selector in n.events():
                _check_where(rule, selector, where, schema)
            if len({rule.lane(s) for s in n.events()}) > 1:
                _fail(rule, f"{where}: the events of one measure share one match; give them the same")


def label_types(rule: LabelRule) -> dict[str, pl.DataType]:
    """The type of each label, in the order of writing.

    Raises:
        RuleError: a label uses one that is not defined, or itself, or adds what cannot be added.
    """
    schema = event_schema(rule.columns)
    known: dict[str, pl.DataType] = {}
    for name in label_order(rule):
        known[name] = _infer(rule, rule.labels[name], f"label {name!r}", schema, known)
    return {name: known[name] for name in rule.labels}


def label_order(rule: LabelRule) -> tuple[str, ...]:
    """Labels such that each comes after those it uses; by order of writing otherwise."""
    done: dict[str, None] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            _fail(rule, f"label {name!r} uses itself: {' -> '.join((*path, name))}")
        if name not in rule.labels:
            near = get_close_matches(name, rule.labels, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; define it in labels"
            _fail(rule, f"label {path[-1]!r} uses the undefined label {name!r}{hint}")
        for n in rule.labels[name].walk():
            if isinstance(n, LabelRef) and n.name not in done:
                visit(n.name, (*path, name))
        done[name] = None

    for name in rule.labels:
        if name not in done:
            visit(name, ())
    return tuple(done)


def _infer(
    rule: LabelRule,
    n: Node,
    where: str,
    schema: Mapping[str, pl.DataType],
    labels: Mapping[str, pl.DataType],
) -> pl.DataType:
    """The type of a node; strings compare with strings, numbers with numbers."""
    if isinstance(n, Op):
        return _infer_op(rule, n, where, [_infer(rule, a, where, schema, labels) for a in n.args])
    if isinstance(n, Lit):
        return pl.Series([n.value]).dtype
    if isinstance(n, LabelRef):
        return labels[n.name]
    if isinstance(n, Column | AnchorColumn):
        return schema[n.name]
    if isinstance(n, Aggregate):
        return n.dtype
    if isinstance(n, _BOOLEAN) or isinstance(n, Wrapped):
        return pl.Boolean()
    if isinstance(n, _COUNTED):
        return pl.Int64()
    if isinstance(n, OfColumn):
        return schema[n.column]
    _fail(rule, f"{where}: {type(n).__name__} cannot stand here")


def _infer_op(rule: LabelRule, op: Op, where: str, kinds: list[pl.DataType]) -> pl.DataType:
    def family(kind: pl.DataType) -> str:
        return "number" if kind.is_numeric() else str(kind)

    families = {family(k) for k in kinds}
    if op.name in LOGIC and families != {"Boolean"}:
        _fail(rule, f"{where}: &, | and ~ join conditions, not {sorted(families)}; compare first")
    if op.name in ARITHMETIC and families != {"number"}:
        _fail(rule, f"{where}: arithmetic on {sorted(families)}; use numbers")
    if op.name in COMPARISONS | {"fill_null"} and len(families) > 1:
        _fail(rule, f"{where}: compares {' with '.join(sorted(families))}; make them one type")
    if op.name in LOGIC | COMPARISONS:
        return pl.Boolean()
    if op.name == "truediv" or any(k.is_float() for k in kinds):
        return pl.Float64()
    return pl.Int64() if families == {"number"} else kinds[0]


def _fail(rule: LabelRule, message: str) -> NoReturn:
    raise RuleError(f"rule {rule.name!r} (version {rule.version}): {message}")

