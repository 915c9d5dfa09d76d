"""What a drive made of a case, beside what the case expects.

Always holds: rows are paired by their key, changes by key and revision, never by their order; a
column that the expectation does not show is null or false in every row, so that a case shows
what it is about and still says everything.

Not promised: that texts of types beyond those of the event contract can be told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from labeling.model.event import TS
from labeling.model.rule import KEY_SCHEMA, LabelRule
from labeling.testing.golden_table import NULL, Table, TableError, normal, table, text, texts

KEY: Final = tuple(KEY_SCHEMA)
#: What a change says before its values, in the order of writing.
MARKS: Final = ("point_ts", "kind", "reason", "revision")
_NOTHING: Final = (NULL, "false")
_ARROW: Final = ">"


@dataclass(frozen=True)
class Difference:
    """One cell, or with the column ``(row)`` one line, that is not as expected."""

    file: str
    where: str
    column: str
    expected: str
    got: str


def difference_table(differences: Iterable[Difference]) -> str:
    """The differences as a table: where, column, expected, got."""
    header = ("file", "where", "column", "expected", "got")
    return str(table(header, [(d.file, d.where, d.column, d.expected, d.got) for d in differences]))


def rows_table(rule: LabelRule, rows: pl.DataFrame, shown: Iterable[str] = ()) -> Table:
    """Rows as they stand in rows.txt: the key, then what is not null or false in some row.

    Args:
        rule: whose rows they are.
        rows: columns of the rule's ``row_schema``.
        shown: further columns to show, such as those shown before.
    """
    columns = [*KEY, *rule.label_schema, *rule.carry]
    cells = texts(rows.sort("anchor_ts", "anchor_id", "user_id"), columns)
    return _shown(table(columns, cells), {*KEY, *shown})


def changes_table(rule: LabelRule, changes: pl.DataFrame, shown: Iterable[str] = ()) -> Table:
    """Changes as they stand in changes.txt, in the order of publication.

    A cell is the new value; of an update that changes it, ``old>new``; of a retraction the old.

    Args:
        rule: whose changes they are.
        changes: key, ``revision``, ``kind``, ``reason``, ``point_ts``, ``old``, ``new``.
        shown: further columns to show, such as those shown before.
    """
    values = [*rule.label_schema, *rule.carry]
    head = [*MARKS, *KEY]
    cells = [
        (*(text(change[c]) for c in head), *(_moved(change, v) for v in values))
        for change in changes.iter_rows(named=True)
    ]
    return _shown(table([*head, *values], cells), {*head, *shown})


def _moved(change: Mapping[str, Any], column: str) -> str:
    old, new = (text((change[side] or {}).get(column)) for side in ("old", "new"))
    if change["kind"] == "retract":
        return old
    return new if old == new or change["kind"] == "insert" else f"{old}{_ARROW}{new}"


def _shown(full: Table, always: set[str]) -> Table:
    keep = [
        i
        for i, name in enumerate(full.header)
        if name in always or any(row[i] not in _NOTHING for row in full.rows)
    ]
    return table([full.header[i] for i in keep], [[row[i] for i in keep] for row in full.rows])


def compare_rows(rule: LabelRule, expected: Table, rows: pl.DataFrame) -> list[Difference]:
    """Where final rows are not the expected ones; empty where they are."""
    got = rows_table(rule, rows, rule.row_schema)
    return _compare("rows.txt", KEY, _normal(rule, expected), got.records())


def compare_changes(
    rule: LabelRule, expected: Table, changes: pl.DataFrame, *, reasons: bool = True
) -> list[Difference]:
    """Where changes are not the expected ones; ``reasons=False`` does not look at those."""
    got = changes_table(rule, changes, rule.row_schema).records()
    wanted = _normal(rule, expected)
    if not reasons:
        got, wanted = ([{**r, "reason": NULL} for r in side] for side in (got, wanted))
    return _compare("changes.txt", (*KEY, "revision"), wanted, got)


def compare_outcomes(expected: Iterable[str], got: Iterable[str]) -> list[Difference]:
    """Where events became something else than events.txt says; in its order."""
    pairs = enumerate(zip(expected, got, strict=True), 1)
    return [
        Difference("events.txt", f"event {n}", "outcome", want, became)
        for n, (want, became) in pairs
        if want != became
    ]


def _normal(rule: LabelRule, expected: Table) -> list[dict[str, str]]:
    """The expected records, each cell in its one text."""
    types = {
        **rule.row_schema, "point_ts": TS, "revision": pl.Int64(), "kind": pl.String(),
        "reason": pl.String(),
    }  # fmt: skip
    unknown = [name for name in expected.header if name not in types]
    if unknown:
        raise TableError(f"column {unknown[0]!r}: rule {rule.key} has none of this name")

    def one(cell: str, dtype: pl.DataType) -> str:
        return _ARROW.join(normal(part, dtype) for part in cell.split(_ARROW))

    return [{c: one(cell, types[c]) for c, cell in r.items()} for r in expected.records()]


def _compare(
    file: str, key: tuple[str, ...], expected: list[dict[str, str]], got: list[dict[str, str]]
) -> list[Difference]:
    sides = [_by_key(file, key, side) for side in (expected, got)]
    wanted, made = sides
    found = []
    for where in dict.fromkeys((*wanted, *made)):
        want, have = (side.get(where, []) for side in sides)
        name = " ".join(where)
        if len(want) != 1 or len(have) != 1:
            times = [f"{len(side)} times" if side else NULL for side in (want, have)]
            if times[0] != times[1] or len(want) > 1:
                found.append(Difference(file, name, "(row)", *times))
            continue
        found += [
            Difference(file, name, column, want[0].get(column, NULL), cell)
            for column, cell in have[0].items()
            if not _same(want[0].get(column), cell)
        ]
    return found


def _by_key(
    file: str, key: tuple[str, ...], records: list[dict[str, str]]
) -> dict[tuple[str, ...], list[dict[str, str]]]:
    found: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for record in records:
        missing = [column for column in key if column not in record]
        if missing:
            raise TableError(
                f"{file}: no column {missing[0]!r}; lines are found by {', '.join(key)}"
            )
        found.setdefault(tuple(record[column] for column in key), []).append(record)
    return found


def _same(expected: str | None, got: str) -> bool:
    return got in _NOTHING if expected is None else expected == got
