"""What a label rule must satisfy to mean anything, checked when it is made.

Always holds: ``check`` raises ``RuleError`` naming the rule, the place and the fix, or the rule
can be evaluated on any events that satisfy the contract.

Not promised: that a wrapped Polars expression obeys the laws; ``labeling check`` tries that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import polars as pl

from labeling.model.column_checks import (
    NAME,
    check_column,
    check_match,
    check_name,
    check_once,
    check_polars,
    check_selector,
    check_sources,
)
from labeling.model.event import IDENTITY, event_schema
from labeling.model.expr import AnchorColumn, Column, Node, Wrapped
from labeling.model.label_types import fail, label_types
from labeling.model.rows_of import RowsOf, value_type
from labeling.model.selector import Event
from labeling.model.vocabulary import (
    Aggregate,
    CountDistinct,
    Dwell,
    Measure,
    OfColumn,
    ReportedDwell,
    SumOf,
)
from labeling.model.window import Duration

if TYPE_CHECKING:
    from labeling.model.rule import LabelRule

_RESERVED: Final = frozenset(
    {"user_id", "anchor_ts", "anchor_id", "point_ts", "reason", "present", "revision", "kind"}
    | {"rule_version", "rule_digest", "first_commit", "commit"}
    # What evaluation and the difference engine call columns of their own.
    | {"row", "fresh", "was"}
)


def check(rule: LabelRule) -> None:
    """Raise ``RuleError`` unless the rule means something."""
    _check_names(rule)
    try:
        schema = event_schema(rule.columns)
    except ValueError as error:
        fail(rule, str(error))
    _check_times(rule)
    check_match(rule, rule.match, "match", schema)
    _check_assignment(rule, schema)
    _check_carry(rule, schema)
    _check_selector(rule, rule.anchor, "anchor", schema)
    for name, root in rule.labels.items():
        _check_label(rule, name, root, schema)
    check_sources(rule, (rule.anchor, *rule.selectors))
    types = label_types(rule)
    for name in rule.money:
        if types.get(name) != pl.Int64():
            fail(rule, f"money: {name!r} is not an integer label")


def _check_assignment(rule: LabelRule, schema: Mapping[str, pl.DataType]) -> None:
    if rule.reference is not None:
        check_column(rule, rule.reference, "reference", schema)
        if schema[rule.reference] != pl.String():
            fail(rule, f"reference {rule.reference!r} is not a string column")
    if rule.assign not in ("latest", "every"):
        fail(rule, f"assign={rule.assign!r}: use 'latest' or 'every'")
    if isinstance(rule.anchor, RowsOf) and "touch_ts" in rule.anchor.source.row_keys:
        fail(rule, "anchor: an action has several rows; take the action's event, and read its rows")
    if rule.anchor.match is not None or rule.anchor.within_ms is not None:
        fail(rule, "anchor takes no match or within of its own: the rule's apply")


def _check_carry(rule: LabelRule, schema: Mapping[str, pl.DataType]) -> None:
    check_once(rule, rule.carry, "carry")
    for name in rule.carry:
        check_column(rule, name, "carry", schema)
        if name in IDENTITY:
            fail(rule, f"carry: every row has {name!r} already; drop it")


def _check_names(rule: LabelRule) -> None:
    check_name(rule)
    if not rule.labels:
        fail(rule, "labels: define at least one")
    taken = _RESERVED | set(rule.carry)
    for name in rule.labels:
        if not NAME.fullmatch(name):
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


def _check_selector(
    rule: LabelRule, selector: Event, where: str, schema: Mapping[str, pl.DataType]
) -> None:
    check_selector(rule, selector, where, schema)
    if selector.within_ms is not None and selector.within_ms > rule.bound.longest_ms:
        fail(rule, f"{where}: within is longer than the window {rule.window!r}; widen the window")


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
            check_column(rule, n.name, where, schema)
        if isinstance(n, OfColumn):
            _check_measured(rule, n, where, schema)
        if isinstance(n, Aggregate):
            check_polars(rule, n.expr, where, schema)
        if isinstance(n, Measure):
            _check_events(rule, n, where, schema)


def _check_events(
    rule: LabelRule, n: Measure, where: str, schema: Mapping[str, pl.DataType]
) -> None:
    for selector in n.events():
        _check_selector(rule, selector, where, schema)
        if isinstance(n, Dwell | ReportedDwell) and isinstance(selector, RowsOf):
            fail(rule, f"{where}: dwell is measured of events, not of rows")
    if len({rule.lane(s) for s in n.events()}) > 1:
        fail(rule, f"{where}: the events of one measure share one match; give them the same")


def _check_measured(
    rule: LabelRule, n: OfColumn, where: str, schema: Mapping[str, pl.DataType]
) -> None:
    if not (isinstance(n.event, RowsOf) and n.column in n.event.said):
        check_column(rule, n.column, where, schema)
    kind = value_type(n.event, n.column, schema)
    if isinstance(n, SumOf | ReportedDwell) and not kind.is_integer():
        fail(rule, f"{where}: {n.column!r} is not an integer; sums of floats depend on order")
    if not isinstance(n, CountDistinct) and kind.is_nested():
        fail(rule, f"{where}: {n.column!r} is a list and has no such value")
