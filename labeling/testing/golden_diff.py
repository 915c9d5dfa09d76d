"""What a drive made of a case, beside what the case expects.

Always holds: rows are paired by their key, changes by key and revision, never by their order; a
column that the expectation does not show is null or false in every row, so that a case shows
what it is about and still says everything.

Not promised: that texts of types beyond those of the event contract can be told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from labeling.model.kinds import Rule
from labeling.testing.golden_layout import NOTHING, changes_sheet, normal_records, rows_sheet
from labeling.testing.golden_table import NULL, Sheet, TableError, table

#: What lines of a file say, table by table.
Records = Sequence[Sequence[Mapping[str, str]]]


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


def compare_rows(rule: Rule, expected: Sheet, rows: pl.DataFrame) -> list[Difference]:
    """Where final rows are not the expected ones; empty where they are."""
    got = normal_records(rule, rows_sheet(rule, rows, rule.row_schema))
    return _compare("rows.txt", rule.row_keys, normal_records(rule, expected), got)


def compare_changes(
    rule: Rule, expected: Sheet, changes: pl.DataFrame, *, reasons: bool = True
) -> list[Difference]:
    """Where changes are not the expected ones; ``reasons=False`` does not look at those."""
    got: Records = normal_records(rule, changes_sheet(rule, changes, rule.row_schema))
    wanted: Records = normal_records(rule, expected)
    if not reasons:
        got, wanted = (
            [[{**r, "reason": NULL} for r in part] for part in side] for side in (got, wanted)
        )
    return _compare("changes.txt", (*rule.row_keys, "revision"), wanted, got)


def compare_outcomes(expected: Iterable[str], got: Iterable[str]) -> list[Difference]:
    """Where events became something else than events.txt says; in its order."""
    pairs = enumerate(zip(expected, got, strict=True), 1)
    return [
        Difference("events.txt", f"event {n}", "outcome", want, became)
        for n, (want, became) in pairs
        if want != became
    ]


def _compare(file: str, key: tuple[str, ...], expected: Records, got: Records) -> list[Difference]:
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
    file: str, key: tuple[str, ...], tables: Records
) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """Key to what is said of it; a line that continues another's in a further table is one."""
    found: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for records in tables:
        here: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for record in records:
            missing = [column for column in key if column not in record]
            if missing:
                raise TableError(
                    f"{file}: no column {missing[0]!r}; lines are found by {', '.join(key)}"
                )
            here.setdefault(tuple(record[column] for column in key), []).append(dict(record))
        for where, said in here.items():
            before = found.setdefault(where, said)
            if before is not said and len(before) == len(said) == 1:
                before[0] |= said[0]
            elif before is not said:
                before += said
    return found


def _same(expected: str | None, got: str) -> bool:
    return got in NOTHING if expected is None else expected == got
