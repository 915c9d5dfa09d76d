"""What a law that does not hold looks like: cells that differ, beside the events that show it.

Always holds: rows are paired by their key, never by their order; floats that differ in their last
bit differ; null equals null and NaN equals NaN.

Not promised: every difference. A finding shows the first few, which are enough to see the fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from labeling.model.event import IDENTITY
from labeling.model.kinds import Rule
from labeling.testing.golden_table import table, text, texts

#: The column of a difference that is about a row as a whole.
ROW: Final = "(row)"
_SHOWN: Final = 8
_FIRST: Final = ("event_ts", "event_id", "event_type", "user_id")


@dataclass(frozen=True)
class Cell:
    """One cell that is not as expected; all but ``key`` are texts for people.

    ``key``: ``point_ts`` (where it matters) and the row's key; empty where it is about no row.
    """

    key: Mapping[str, Any]
    column: str
    expected: str
    got: str


@dataclass(frozen=True, eq=False)
class Broken:
    """A law that a rule breaks.

    ``said`` tells what is wrong with the cells; ``events`` is what it was found with, in columns of
    the rule's ``event_schema`` (none where no events were needed); ``kept``: those of them
    that were left when others were taken away.
    """

    said: str
    cells: tuple[Cell, ...]
    events: pl.DataFrame
    kept: pl.DataFrame | None = None

    def labels(self, rule: Rule) -> tuple[str, ...]:
        """What differs of what the rule says; empty where rows as a whole do."""
        named = {c.column for c in self.cells}
        return tuple(n for n in rule.value_schema if n in named and n not in rule.carry)

    @property
    def users(self) -> set[str]:
        """The users of the rows that differ."""
        return {c.key["user_id"] for c in self.cells if "user_id" in c.key}

    def __str__(self) -> str:
        """The events and the differences as two small tables."""
        parts = []
        if self.events.height:
            count = f"{self.events.height} event{'s' if self.events.height > 1 else ''}"
            parts.append(f"{count}:\n{_events_table(self.events, self.kept)}")
        if self.cells:
            parts.append(_cells_table(self.cells))
        return "\n".join(parts)


def differences(rule: Rule, expected: pl.DataFrame, got: pl.DataFrame) -> tuple[Cell, ...]:
    """Where two frames of rows differ.

    Args:
        rule: whose rows they are.
        expected: the rule's ``row_schema``, with or without ``point_ts`` and ``present``.
        got: the same columns.

    Returns:
        At most one cell per column of a row, none where both have the same rows bit by bit.
    """
    keys = [k for k in ("point_ts", *rule.row_keys) if k in expected.columns]
    wanted, found = (_exact(f.select(expected.columns).sort(keys)) for f in (expected, got))
    if wanted.equals(found):
        return ()
    sides = [_by_key(f.select(expected.columns), keys) for f in (expected, got)]
    cells: list[Cell] = []
    for key in sorted({*sides[0], *sides[1]}, key=lambda k: tuple(str(v) for v in k)):
        cells += _row_cells(rule, dict(zip(keys, key, strict=True)), *(s.get(key) for s in sides))
    return tuple(cells)


def _row_cells(
    rule: Rule,
    key: Mapping[str, Any],
    want: Mapping[str, Any] | None,
    have: Mapping[str, Any] | None,
) -> list[Cell]:
    if want is None or have is None:
        return [Cell(key, ROW, _there(want), _there(have))]
    if want.get("present") is not have.get("present"):
        return [Cell(key, ROW, _present(want), _present(have))]
    pairs = [(c, text(want[c]), text(have[c])) for c in rule.value_schema]
    return [Cell(key, *pair) for pair in pairs if pair[1] != pair[2]]


def _there(row: object) -> str:
    return "no row" if row is None else "a row"


def _present(row: Mapping[str, Any]) -> str:
    return "a row" if row["present"] else "a repeat"


def _exact(frame: pl.DataFrame) -> pl.DataFrame:
    """Floats as their shortest texts, so that 0.0 and -0.0 differ and NaN equals NaN."""
    return frame.with_columns(pl.col(pl.Float64, pl.Float32).cast(pl.String))


def _by_key(frame: pl.DataFrame, keys: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row[k] for k in keys): row for row in frame.iter_rows(named=True)}


def _events_table(events: pl.DataFrame, kept: pl.DataFrame | None) -> str:
    """Events in order of time, without the columns that are null in all of them."""
    if kept is not None and kept.height < events.height:
        left = set(kept.select(IDENTITY).iter_rows())
        away = [None if e in left else "away" for e in events.select(IDENTITY).iter_rows()]
        events = events.with_columns(taken=pl.Series(away, dtype=pl.String))
    ordered = events.sort("event_ts", "event_id", "user_id") if "event_ts" in events else events
    first = [c for c in _FIRST if c in events.columns]
    said = [c for c in events.columns if c not in first and events[c].null_count() < events.height]
    columns = [*first, *said]
    return str(table(columns, texts(ordered, columns)))


def _cells_table(cells: Sequence[Cell]) -> str:
    header = ("row", "column", "expected", "got")
    rows = [(_where(c.key), c.column, c.expected, c.got) for c in cells[:_SHOWN]]
    more = len(cells) - _SHOWN
    return str(table(header, rows)) + (f"and {more} more\n" if more > 0 else "")


def _where(key: Mapping[str, Any]) -> str:
    if not key:
        return "-"
    at = f" at {text(key['point_ts'])}" if "point_ts" in key else ""
    touch = f" <- {key['touch_id']}" if key.get("touch_id") else ""
    return f"{key['user_id']} {text(key['anchor_ts'])} {key['anchor_id']}{touch}{at}"
