"""What an attribution rule must satisfy to mean anything, checked when it is made.

Always holds: ``check`` raises ``RuleError`` naming the rule, the place and the fix, or the rule
can be evaluated on any events that satisfy the contract.

Not promised: that own weights obey the laws; ``labeling check`` tries that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from labeling.model.credit import Credit, Weighted
from labeling.model.event import IDENTITY, event_schema
from labeling.model.label_types import fail
from labeling.model.rows_of import RowsOf
from labeling.model.selector import Event
from labeling.model.session import SESSION, Session, known_zone

if TYPE_CHECKING:
    from labeling.model.attribution import AttributionRule

Schema = Mapping[str, pl.DataType]
#: What own weights may read beside the columns of the touch.
WEIGHED: Final = ("delay_ms", "rank", "touches")
#: Columns of the store's tables and of changes; a carried column cannot have their names.
_TAKEN: Final = frozenset(
    {"user_id", "anchor_ts", "anchor_id", "touch_ts", "touch_id", "point_ts", "reason", "present"}
    | {"revision", "kind", "rule_version", "rule_digest", "first_commit", "commit", "fresh"}
    | {"verdict", "touches", "path", "rank", "direct", "delay_ms", "touch_type", "touch_class"}
)


def check(rule: AttributionRule) -> None:
    """Raise ``RuleError`` unless the rule means something."""
    check_name(rule)
    try:
        schema = event_schema(rule.columns)
        known_zone(rule.day, "day")
        _ = (rule.min_age_ms, rule.repeat_ms, rule.undone_ms)
    except ValueError as error:
        fail(rule, str(error))
    check_match(rule, rule.match, "match", schema)
    _check_action(rule, schema)
    _check_touches(rule, schema)
    check_sources(rule, rule.touches)
    _check_undoing(rule, schema)
    _check_counts(rule)
    _check_choice(rule, schema)
    _check_credit(rule, schema)
    _check_rows(rule, schema)


def _check_action(rule: AttributionRule, schema: Schema) -> None:
    check_selector(rule, rule.action, "action", schema)
    if rule.action.match is not None or rule.action.within_ms is not None:
        fail(rule, "action takes no match or within of its own: the rule's apply")
    if rule.repeat_match is not None:
        if rule.repeat_within is None:
            fail(rule, "repeat_match says what repeats share; give repeat_within with it")
        check_match(rule, rule.repeat_match, "repeat_match", schema)
    if rule.repeat_within is not None and rule.repeat_ms == 0:
        fail(rule, "repeat_within: must be longer than zero")


def _check_touches(rule: AttributionRule, schema: Schema) -> None:
    if not rule.touches:
        fail(rule, "touches: name at least one Event")
    with_session = schema if rule.session is None else {**schema, SESSION: pl.String()}
    for number, touch in enumerate(rule.touches, start=1):
        where = f"touch {number} {touch.types}"
        check_selector(rule, touch, where, with_session)
        if isinstance(touch, RowsOf) and "touch_ts" in touch.source.row_keys:
            fail(rule, f"{where}: rows of an attribution are no touches; name its touches here")
        if touch.within_ms is None:
            fail(rule, f"{where}: say how far back it may lie, such as within='7d'")
        if touch.within_ms < rule.min_age_ms:
            fail(rule, f"{where}: within is shorter than min_age; nothing can be a touch")
    for event in (rule.action, rule.undone_by, rule.refunded_by):
        if isinstance(event, RowsOf):
            fail(rule, "actions and what undoes them are events; rows of another rule are touches")
        if event is not None and SESSION in rule.lane(event):
            fail(rule, f"{SESSION!r} may stand in the match of touches only")
    if SESSION in rule.match:
        fail(rule, f"match: put {SESSION!r} into the match of the touches that it concerns")


def _check_undoing(rule: AttributionRule, schema: Schema) -> None:
    undoing: tuple[tuple[str, Event | None], ...] = (
        ("undone_by", rule.undone_by),
        ("refunded_by", rule.refunded_by),
    )
    for where, event in undoing:
        if event is None:
            continue
        check_selector(rule, event, where, schema)
        if event.within_ms is not None:
            fail(rule, f"{where}: takes no within; undone_within says how long it counts")
        if rule.undone_within is None:
            fail(rule, f"{where}: say how long it counts, such as undone_within='30d'")
    if rule.undone_within is not None and not (rule.undone_by or rule.refunded_by):
        fail(rule, "undone_within: nothing undoes or refunds; drop it, or give undone_by")
    if rule.refunded_by is not None and rule.value is None:
        fail(rule, "refunded_by: there is no value to be refunded; give value='value'")


def _check_counts(rule: AttributionRule) -> None:
    for name in ("max_touches", "max_actions"):
        number = getattr(rule, name)
        if number is not None and number < 1:
            fail(rule, f"{name}={number}: must be at least 1")


def _check_choice(rule: AttributionRule, schema: Schema) -> None:
    if rule.session is not None and not isinstance(rule.session, Session):
        fail(rule, f"session={rule.session!r}: write session=session('30m')")
    if rule.trail and rule.session is None:
        fail(rule, "trail: pages lead on within a session; give session=session('30m')")
    if rule.trail and any(isinstance(t, RowsOf) for t in rule.touches):
        fail(rule, "trail: pages are events; name the views of pages as touches")
    if rule.priority is not None:
        check_column(rule, rule.priority, "priority", schema)
        if not schema[rule.priority].is_integer():
            fail(rule, f"priority: {rule.priority!r} is not an integer column")
    if isinstance(rule.collapse, Session):
        if rule.session is not None and rule.session != rule.collapse:
            fail(rule, "collapse and session speak of different sessions; give them the same")
        return
    for name in rule.collapse:
        check_column(rule, name, "collapse", schema)


def _check_credit(rule: AttributionRule, schema: Schema) -> None:
    if not rule.models:
        fail(rule, "credit: name at least one model")
    for suffix, model in rule.models.items():
        if not isinstance(model, Credit):
            fail(rule, f"credit: {model!r} is no model; call one, such as linear()")
        if suffix and not NAME.fullmatch(suffix[1:]):
            fail(rule, f"credit {suffix[1:]!r}: use lower-case letters, digits and _")
        if isinstance(model, Weighted):
            where = f"credit {suffix[1:] or 'weighted'!r}"
            check_polars(rule, model.expr, where, schema, WEIGHED)
    if rule.value is not None:
        check_column(rule, rule.value, "value", schema)
        if not schema[rule.value].is_integer():
            fail(rule, f"value: {rule.value!r} is not an integer column")


def _check_rows(rule: AttributionRule, schema: Schema) -> None:
    check_column(rule, rule.path, "path", schema)
    if schema[rule.path] != pl.String():
        fail(rule, f"path: {rule.path!r} is not a string column")
    own = {f"credit{s}" for s in rule.models}
    if rule.value is not None:
        own |= {"value", *(f"value{s}" for s in rule.models)}
    _check_carried(rule, "carry", rule.carry, rule.carry, _TAKEN | own, schema)
    named = [f"touch_{c}" for c in rule.touch_carry]
    taken = _TAKEN | own | set(rule.carry)
    _check_carried(rule, "touch_carry", rule.touch_carry, named, taken, schema)


def _check_carried(
    rule: AttributionRule,
    where: str,
    columns: Sequence[str],
    named: Iterable[str],
    taken: frozenset[str] | set[str],
    schema: Schema,
) -> None:
    check_once(rule, columns, where)
    for column, name in zip(columns, named, strict=True):
        check_column(rule, column, where, schema)
        if column in IDENTITY:
            fail(rule, f"{where}: every row has {column!r} already; drop it")
        if name in taken:
            fail(rule, f"{where}: {name!r} is taken by a column of every row; leave it out")
