"""How rows and changes of a rule stand in a golden file: which tables, columns and texts.

Always holds: every line begins with the columns that find it, so that what does not fit beside
them continues in a further table below; a column that is null or false in every line is left out;
credit is written in wholes (``0.4``), exactly.

An attribution has a table of its actions, found without ``touch_ts`` and ``touch_id``, and one of
their touches.

Not promised: the order of lines across tables. Nobody finds a line by its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import polars as pl

from labeling.model.attribution import AttributionRule
from labeling.model.credit import WHOLE
from labeling.model.event import TS
from labeling.model.kinds import Rule
from labeling.testing.golden_table import (
    MOST_WIDTH,
    NULL,
    Sheet,
    Table,
    TableError,
    normal,
    table,
    text,
)

#: What a change says before its values, in the order of writing.
MARKS: Final = ("point_ts", "kind", "reason", "revision")
NOTHING: Final = (NULL, "false")
ARROW: Final = ">"
#: An action's own row is named by these as its own time, and nothing.
_TOUCH: Final = ("touch_ts", "touch_id")
#: What is said of actions only, and of what other columns' names begin with.
_OF_ACTIONS: Final = ("verdict", "touches", "path")
_MARK_TYPES: Final[Mapping[str, pl.DataType]] = {
    "point_ts": TS,
    "revision": pl.Int64(),
    "kind": pl.String(),
    "reason": pl.String(),
}


def rows_sheet(rule: Rule, rows: pl.DataFrame, shown: Iterable[str] = ()) -> Sheet:
    """Rows as they stand in rows.txt: the key, then what is not null or false in some row.

    Args:
        rule: whose rows they are.
        rows: columns of the rule's ``row_schema``.
        shown: further columns to show, such as those shown before.
    """
    first = ["anchor_ts", "anchor_id", "user_id"]
    ordered = rows.sort(*first, *(k for k in rule.row_keys if k not in first))
    records = [
        {c: _cell(rule, c, v) for c, v in row.items()} for row in ordered.iter_rows(named=True)
    ]
    return _sheet(rule, records, (), {*shown})


def changes_sheet(rule: Rule, changes: pl.DataFrame, shown: Iterable[str] = ()) -> Sheet:
    """Changes as they stand in changes.txt, in the order of publication.

    A cell is the new value; of an update that changes it, ``old>new``; of a retraction the old.

    Args:
        rule: whose changes they are.
        changes: key, ``revision``, ``kind``, ``reason``, ``point_ts``, ``old``, ``new``.
        shown: further columns to show, such as those shown before.
    """
    records = [
        {c: text(change[c]) for c in (*MARKS, *rule.row_keys)}
        | {c: _moved(rule, change, c) for c in rule.value_schema}
        for change in changes.iter_rows(named=True)
    ]
    return _sheet(rule, records, MARKS, {*shown})


def normal_records(rule: Rule, sheet: Sheet) -> list[list[dict[str, str]]]:
    """What the tables of a sheet say, each with its key and every cell in its one text.

    Raises:
        TableError: a column that the rule does not have, a cell of another type.
    """
    types = {**rule.row_schema, **_MARK_TYPES}
    unknown = [name for name in sheet.header if name not in types]
    if unknown:
        raise TableError(f"column {unknown[0]!r}: rule {rule.key} has none of this name")
    return [
        [
            _whole_key(rule, {c: _one(rule, c, cell, types[c]) for c, cell in record.items()})
            for record in part.records()
        ]
        for part in sheet.tables
    ]


def _whole_key(rule: Rule, record: dict[str, str]) -> dict[str, str]:
    """With the key of an action's own row, where a line names no touch."""
    if isinstance(rule, AttributionRule) and not {*_TOUCH} & record.keys():
        return record | {"touch_ts": record.get("anchor_ts", NULL), "touch_id": text("")}
    return record


def _one(rule: Rule, column: str, cell: str, dtype: pl.DataType) -> str:
    return ARROW.join(
        _cell(rule, column, _parts(part)) if _is_credit(rule, column) else normal(part, dtype)
        for part in cell.split(ARROW)
    )


def _is_credit(rule: Rule, column: str) -> bool:
    return isinstance(rule, AttributionRule) and column in {f"credit{s}" for s in rule.models}


def _parts(cell: str) -> int | None:
    """The parts per billion that a cell says in wholes."""
    if cell == NULL:
        return None
    try:
        parts = Decimal(cell) * WHOLE
    except InvalidOperation:
        parts = Decimal("NaN")
    if not parts.is_finite() or parts != int(parts):
        raise TableError(f"{cell!r} is no credit: 1 is all of it, at most nine decimals")
    return int(parts)


def _cell(rule: Rule, column: str, value: Any) -> str:
    """The text of a value of a column."""
    if value is None or not _is_credit(rule, column):
        return text(value)
    whole, parts = divmod(value, WHOLE)
    return f"{whole}.{parts:09d}".rstrip("0").rstrip(".")


def _moved(rule: Rule, change: Mapping[str, Any], column: str) -> str:
    old, new = (
        NULL if change[side] is None else _cell(rule, column, change[side][column])
        for side in ("old", "new")
    )
    if change["kind"] == "retract":
        return old
    return new if old == new or change["kind"] == "insert" else f"{old}{ARROW}{new}"


def _sheet(
    rule: Rule, records: Sequence[Mapping[str, str]], marks: tuple[str, ...], shown: set[str]
) -> Sheet:
    """A table, or one for each grain, cut where it is wider than a screen."""
    carried = [c for c in rule.value_schema if c in rule.carry]
    values = [*(c for c in rule.value_schema if c not in rule.carry), *carried]
    if not isinstance(rule, AttributionRule):
        return Sheet(tuple(_cut(records, marks, rule.row_keys, values, shown)))
    actions = [r for r in records if r["touch_id"] == text("")]
    touches = [r for r in records if r["touch_id"] != text("")]
    both = {*carried, "value"}
    of_actions = [c for c in values if c in both or c in _OF_ACTIONS]
    of_touches = [c for c in values if c not in _OF_ACTIONS]
    keys = tuple(k for k in rule.row_keys if k not in _TOUCH)
    tables = _cut(actions, marks, keys, of_actions, shown)
    if touches:
        tables += _cut(touches, marks, rule.row_keys, of_touches, shown)
    return Sheet(tuple(tables))


def _cut(
    records: Sequence[Mapping[str, str]],
    marks: tuple[str, ...],
    keys: tuple[str, ...],
    values: Sequence[str],
    shown: set[str],
) -> list[Table]:
    """Lines of the columns that say something, in as many tables as they need."""
    said = [c for c in values if c in shown or any(r[c] not in NOTHING for r in records)]
    tables = []
    head: tuple[str, ...] = (*marks, *keys)
    line: list[str] = []
    for column in said:
        wider = _of(records, (*head, *line, column))
        if line and wider.width > MOST_WIDTH:
            tables.append(_of(records, (*head, *line)))
            head, line = (*keys, *(m for m in marks if m == "revision")), []
        line.append(column)
    return [*tables, _of(records, (*head, *line))]


def _of(records: Sequence[Mapping[str, str]], columns: Sequence[str]) -> Table:
    return table(columns, [[r[c] for c in columns] for r in records])
