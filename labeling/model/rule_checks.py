"""What a label rule must satisfy to mean anything, checked when it is made.

Always holds: ``check`` raises ``RuleError`` naming the rule, the place and the fix, or the rule
can be evaluated on any events that satisfy the contract.

Not promised: that a wrapped Polars expression obeys the laws; ``labeling check`` tries that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

import polars as pl

from labeling.model.event import IDENTITY, event_schema
from labeling.model.expr import AnchorColumn, Column, LabelRef, Node, Wrapped
from labeling.model.label_types import fail, infer, label_types
from labeling.model.selector import Event
from labeling.model.vocabulary import (
    Aggregate,
    CountDistinct,
    Measure,
    OfColumn,
    ReportedDwell,
    SumOf,
)
from labeling.model.window import Duration

if TYPE_CHECKING:
    from labeling.model.rule import LabelRule

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
#: How Polars prints constants, calls of Python functions, and selectors.
_QUOTED: Final = re.compile(r'"[^"]*"')
_PYTHON: Final = re.compile(r"python_udf|\.fold\(|\.reduce\(|\.rolling_map\(")
_SELECTOR: Final = re.compile(r"\bcs\.")
_RESERVED: Final = frozenset(
    {"user_id", "anchor_ts", "anchor_id", "point_ts", "reason", "present", "revision", "kind"}
    | {"rule_version", "rule_digest", "first_commit", "commit"}
)


def check(rule: LabelRule) -> None:
    """Raise ``RuleError`` unless the rule means something."""
    _check_names(rule)
    try:
        schema = event_schema(rule.columns)
    except ValueError as error:
        fail(rule, str(error))
    _check_times(rule)
    _check_match(rule, rule.match, "match", schema)
    _check_assignment(rule, schema)
    _check_carry(rule, schema)
    _check_where(rule, rule.anchor, "anchor", schema)
    for name, root in rule.labels.items():
        _check_label(rule, name, root, schema)
    types = label_types(rule)
    for name in rule.money:
        if types.get(name) != pl.Int64():
            fail(rule, f"money: {name!r} is not an integer label")


def _check_assignment(rule: LabelRule, schema: Mapping[str, pl.DataType]) -> None:
    if rule.reference is not None:
        _check_column(rule, rule.reference, "reference", schema)
        if schema[rule.reference] != pl.String():
            fail(rule, f"reference {rule.reference!r} is not a string column")
    if rule.assign not in ("latest", "every"):
        fail(rule, f"assign={rule.assign!r}: use 'latest' or 'every'")
    if rule.anchor.match is not None or rule.anchor.within_ms is not None:
        fail(rule, "anchor takes no match or within of its own: the rule's apply")


def _check_carry(rule: LabelRule, schema: Mapping[str, pl.DataType]) -> None:
    for name in rule.carry:
        _check_column(rule, name, "carry", schema)
        if name in IDENTITY:
            fail(rule, f"carry: every row has {name!r} already; drop it")


def _check_names(rule: LabelRule) -> None:
    if not _NAME.fullmatch(rule.name):
        fail(rule, "name: use lower-case letters, digits and _, a letter first")
    if rule.version < 1:
        fail(rule, f"version={rule.version}: versions count from 1")
    if not rule.labels:
        fail(rule, "labels: define at least one")
    taken = _RESERVED | set(rule.carry)
    for name in rule.labels:
        if not _NAME.fullmatch(name):
            fail(rule, f"label {name!r}: use lower-case letters, digits and _, a letter first")
        if name in taken:
            fail(rule, f"label {name!r}: the name is taken by a column of every row; rename it")


def _check_times(rule: LabelRule) -> None:
    try:
        window, early = rule.bound, rule.early_ms
        _ = rule.repeat_ms
    except ValueError as error:
        fail(rule, str(error))
    if any(b <= a for a, b in zip((0, *early), early, strict=False)):
        fail(rule, f"early={rule.early}: delays must be above zero and increasing")
    if early and early[-1] >= window.longest_ms:
        fail(
            rule,
            f"early={rule.early}: a point at or past the window's end {rule.window!r}; drop it",
        )
    if isinstance(window, Duration) and window.ms <= 0:
        fail(rule, "window: must be longer than zero")


def _check_match(
    rule: LabelRule, match: Iterable[str], where: str, schema: Mapping[str, pl.DataType]
) -> None:
    names = tuple(match)
    if "user_id" not in names:
        fail(rule, f"{where}={names}: add 'user_id': events are sharded by user")
    if len(set(names)) != len(names):
        fail(rule, f"{where}={names}: a column is named twice")
    for name in names:
        _check_column(rule, name, where, schema)
        if schema[name] != pl.String():
            fail(rule, f"{where}: {name!r} is not a string column and cannot be matched")


def _check_column(
    rule: LabelRule, name: str, where: str, schema: Mapping[str, pl.DataType]
) -> None:
    if name not in schema:
        near = get_close_matches(name, schema, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        fail(
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
        fail(rule, f"{where}: within is longer than the window {rule.window!r}; widen the window")
    if selector.where is None:
        return
    for n in selector.where.walk():
        if isinstance(n, Measure | LabelRef | AnchorColumn):
            fail(
                rule, f"{where}, where: reads the event's own columns only, not {type(n).__name__}"
            )
        if isinstance(n, Column):
            _check_column(rule, n.name, f"{where}, where", schema)
        if isinstance(n, Wrapped):
            _check_polars(rule, n.expr, f"{where}, where", schema)
    if not isinstance(selector.where, Wrapped):
        kind = infer(rule, selector.where, where, schema, {})
        if kind != pl.Boolean():
            fail(rule, f"{where}, where: is {kind}, not a condition; compare it with something")


def _check_polars(
    rule: LabelRule, expr: pl.Expr, where: str, schema: Mapping[str, pl.DataType]
) -> None:
    text = _QUOTED.sub("", str(expr))
    if _PYTHON.search(text) or _holds_python(expr):
        fail(rule, f"{where}: row-wise Python is refused; write it with Polars expressions")
    if _SELECTOR.search(text):
        fail(rule, f"{where}: a selector may take any column; name the columns that are read")
    for name in expr.meta.root_names():
        if name != "delay_ms":
            _check_column(rule, name, where, schema)


def _holds_python(expr: pl.Expr) -> bool:
    """Whether it cannot be written down without pickling a function."""
    try:
        return "cloudpickle" in expr.meta.serialize(format="json")
    except pl.exceptions.ComputeError:
        return True


def _check_label(rule: LabelRule, name: str, root: Node, schema: Mapping[str, pl.DataType]) -> None:
    where = f"label {name!r}"
    for n in root.walk():
        if isinstance(n, Column):
            fail(
                rule,
                f"{where}: column({n.name!r}) is for where=; use anchor({n.name!r}) or first_value",
            )
        if isinstance(n, Wrapped):
            fail(
                rule,
                f"{where}: a Polars expression over events goes into aggregate(event, expr, dtype)",
            )
        if isinstance(n, AnchorColumn):
            _check_column(rule, n.name, where, schema)
        if isinstance(n, OfColumn):
            _check_measured(rule, n, where, schema)
        if isinstance(n, Aggregate):
            _check_polars(rule, n.expr, where, schema)
        if isinstance(n, Measure):
            for selector in n.events():
                _check_where(rule, selector, where, schema)
            if len({rule.lane(s) for s in n.events()}) > 1:
                fail(
                    rule, f"{where}: the events of one measure share one match; give them the same"
                )


def _check_measured(
    rule: LabelRule, n: OfColumn, where: str, schema: Mapping[str, pl.DataType]
) -> None:
    _check_column(rule, n.column, where, schema)
    kind = schema[n.column]
    if isinstance(n, SumOf | ReportedDwell) and not kind.is_integer():
        fail(rule, f"{where}: {n.column!r} is not an integer; sums of floats depend on order")
    if not isinstance(n, CountDistinct) and kind.is_nested():
        fail(rule, f"{where}: {n.column!r} is a list and has no such value")
