"""Tables that people read and write: aligned text columns between ``|``, a header first.

Always holds: a value has one text, and ``value(text(v)) == v`` for the types of events and rows;
``-`` is null; times are ``HH:MM:SS.mmm`` of the base day, 2026-11-20 in UTC, with ``+1d`` or
``-1d`` before them on other days; ``|`` and ``>`` never occur inside a value's text.

Not promised: that a string looks as it is. What could be misread (an empty string, ``-``, outer
blanks, ``|``, ``>``) is written as a JSON string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl

from labeling.errors import DataError
from labeling.model.event import TS

BASE: Final = datetime(2026, 11, 20, tzinfo=UTC)
NULL: Final = "-"
#: Characters of a line that fit on a screen.
MOST_WIDTH: Final = 160
_TIME: Final = re.compile(r"(?:([+-]\d+)d )?(\d\d):(\d\d):(\d\d)(?:\.(\d{3}))?")
_WORDS: Final = {"true": True, "false": False}
_MS: Final = timedelta(milliseconds=1)


class TableError(DataError):
    """A table cannot be read; the message names the line or the cell."""


@dataclass(frozen=True)
class Table:
    """A header and rows of cells, all of them text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        """The table as it stands in a file, columns aligned."""
        lines = (self.header, *self.rows)
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        return "".join(
            " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() + "\n"
            for line in lines
        )

    @property
    def width(self) -> int:
        """Characters of the longest line."""
        return max(len(line) for line in str(self).splitlines())

    def records(self) -> list[dict[str, str]]:
        """The rows, each as column to cell."""
        return [dict(zip(self.header, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Sheet:
    """Tables one below the other: rows of two grains, or columns that do not fit beside others."""

    tables: tuple[Table, ...]

    def __str__(self) -> str:
        """The tables as they stand in a file, an empty line between them."""
        return "\n".join(map(str, self.tables))

    @property
    def header(self) -> tuple[str, ...]:
        """The columns of all tables, each once."""
        return tuple(dict.fromkeys(c for t in self.tables for c in t.header))

    @property
    def lines(self) -> int:
        """How many lines the tables have under their headers."""
        return sum(len(t.rows) for t in self.tables)


def read_sheet(content: str) -> Sheet:
    r"""The tables in a text; an empty line ends a table, lines that begin with ``#`` are left out.

    Raises:
        TableError: as ``read_table``.

    >>> [t.header for t in read_sheet("a | b\n1 | 2\n\na | c\n1 | 3").tables]
    [('a', 'b'), ('a', 'c')]
    """
    lines = [line for line in content.splitlines() if not line.startswith("#")]
    blocks = [block for block in re.split(r"\n\s*\n", "\n".join(lines)) if block.strip()]
    return Sheet(tuple(read_table(block) for block in blocks or [""]))


def read_table(content: str) -> Table:
    r"""The table in a text; empty lines and those that begin with ``#`` are left out.

    Raises:
        TableError: no header, a column named twice, or a row of another number of cells.

    >>> read_table("user_id | n\nu1 | 3").rows
    (('u1', '3'),)
    """
    numbered = [
        (n, tuple(cell.strip() for cell in line.split("|")))
        for n, line in enumerate(content.splitlines(), 1)
        if line.strip() and not line.startswith("#")
    ]
    if not numbered:
        raise TableError("no header: the first line names the columns, with | between them")
    header = numbered[0][1]
    if "" in header or len(set(header)) != len(header):
        raise TableError(f"header {' | '.join(header)!r}: an empty name, or a column named twice")
    for n, cells in numbered[1:]:
        if len(cells) != len(header) or "" in cells:
            raise TableError(
                f"line {n}: {len([c for c in cells if c])} cells under {len(header)} columns; "
                f"write {NULL} for null"
            )
    return Table(header, tuple(cells for _, cells in numbered[1:]))


def text(value: Any) -> str:
    """The one text of a value.

    >>> text(None), text(True), text(1500), text("-")
    ('-', 'true', '1500', '"-"')
    """
    if value is None:
        return NULL
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return _time_text(value)
    if isinstance(value, list | dict) or (isinstance(value, str) and _misread(value)):
        return json.dumps(value, default=str).replace("|", r"\u007c").replace(">", r"\u003e")
    return str(value)


def value(cell: str, dtype: pl.DataType) -> Any:
    """The value of a cell of a column.

    Raises:
        TableError: the text is none of that type.

    >>> value("+1d 00:00:00", TS).isoformat()
    '2026-11-21T00:00:00+00:00'
    """
    if cell == NULL:
        return None
    try:
        return _typed(cell, dtype)
    except (ValueError, KeyError) as error:
        raise TableError(f"{cell!r} is no {dtype} (null is {NULL})") from error


def texts(frame: pl.DataFrame, columns: Iterable[str]) -> list[tuple[str, ...]]:
    """The cells of the named columns, row by row."""
    return [tuple(text(v) for v in row) for row in frame.select(list(columns)).iter_rows()]


def normal(cell: str, dtype: pl.DataType) -> str:
    """The one text of what a cell says: ``10:00:00`` becomes ``10:00:00.000``."""
    known = dtype in (pl.String(), pl.Boolean(), TS, pl.List(pl.String())) or dtype.is_numeric()
    return text(value(cell, dtype)) if known else cell


def _misread(string: str) -> bool:
    return (
        string in ("", NULL)
        or string != string.strip()
        or string[0] in '"#'
        or "|" in string
        or ">" in string
        or not string.isprintable()
    )


def _typed(cell: str, dtype: pl.DataType) -> Any:
    if dtype == TS:
        return _time(cell)
    if dtype == pl.Boolean():
        return _WORDS[cell]
    if dtype.is_integer():
        return int(cell)
    if dtype.is_float():
        return float(cell)
    return json.loads(cell) if dtype.is_nested() or cell.startswith('"') else cell


def _time(cell: str) -> datetime:
    found = _TIME.fullmatch(cell)
    if found is None:
        raise ValueError(cell)
    days, hours, minutes, seconds, ms = (int(part or 0) for part in found.groups())
    return BASE + timedelta(days, seconds, 0, ms, minutes, hours)


def _time_text(when: datetime) -> str:
    total = (when - BASE) // _MS
    days, ms = divmod(total, 86_400_000)
    clock = (BASE + ms * _MS).strftime("%H:%M:%S")
    day = f"{days:+d}d " if days else ""
    return f"{day}{clock}.{ms % 1000:03d}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of any sequences."""
    return Table(tuple(header), tuple(tuple(row) for row in rows))
