"""CSV lines into rows of texts, a bad line being one record.

Always holds: every line of the file is in exactly one good or bad row; a quote that is not
closed costs the line that it is in, not those that it would swallow.

Not promised: speed of Polars' reader, which does not tell which line was bad.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from labeling.errors import DataError


@dataclass(frozen=True, slots=True)
class Row:
    """A record: ``offset`` is the line it begins at, from 1."""

    offset: int
    values: list[str]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that is no record."""

    offset: int
    detail: str
    raw: bytes


class _Lines:
    """The lines of a stream as text, with a way to take some back; goes on after its end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._back: deque[str] = deque()
        self.taken: list[str] = []
        self.read = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else self._next()
        self.taken.append(line)
        self.read += 1
        return line

    def _next(self) -> str:
        line = self._stream.readline()
        if not line:
            raise StopIteration
        return line.decode("utf-8", "surrogateescape")

    def keep_first(self) -> str:
        """Put back all lines taken since ``taken`` was cleared but the first."""
        first, *rest = self.taken
        self._back.extendleft(reversed(rest))
        self.read -= len(rest)
        return first


class CsvRows:
    """Reads a CSV stream."""

    def __init__(self, stream: IO[bytes], delimiter: str) -> None:
        self._lines = _Lines(stream)
        self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True)

    def names(self, fields: Sequence[str] | None, *, header: bool, place: str) -> tuple[str, ...]:
        """The names of the fields: declared, or those of the header line, which is read.

        Raises:
            DataError: no header, or a name that is there twice.
        """
        names = tuple(fields or ())
        if header:
            try:
                found = tuple(next(self._reader))
            except (StopIteration, csv.Error):
                raise DataError(f"{place}: no header line; set header = false and fields") from None
            if any("\ud800" <= char <= "\udfff" for name in found for char in name):
                raise DataError(f"{place}: the header is not UTF-8; convert the file")
            found = (found[0].removeprefix("\ufeff"), *found[1:]) if found else found
            names = names or found
        if len(set(names)) < len(names) or not names:
            raise DataError(f"{place}: the fields {', '.join(names)} are not different names")
        return names

    def batches(self, width: int, rows: int) -> Iterator[tuple[list[Row], list[BadRow]]]:
        """Good and bad rows, up to about ``rows`` at a time, in the order of the file."""
        good: list[Row] = []
        bad: list[BadRow] = []
        for row in self._rows(width):
            if isinstance(row, Row):
                good.append(row)
            else:
                bad.append(row)
            if len(good) + len(bad) >= rows:
                yield good, bad
                good, bad = [], []
        if good or bad:
            yield good, bad

    def _rows(self, width: int) -> Iterator[Row | BadRow]:
        lines, reader = self._lines, self._reader
        while True:
            lines.taken.clear()
            offset = lines.read + 1
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._bad(offset, str(error))
                continue
            if not values:
                continue  # a blank line
            if len(values) != width:
                yield self._bad(offset, f"{len(values)} fields, not {width}")
            elif lines.taken[0].isascii() or all(_is_utf8(value) for value in values):
                if offset == 1:
                    values[0] = values[0].removeprefix("\ufeff")
                yield Row(offset, values)
            else:
                yield self._bad(offset, "not UTF-8")

    def _bad(self, offset: int, detail: str) -> BadRow:
        line = self._lines.keep_first().rstrip("\r\n")
        return BadRow(offset, f"line {offset}: {detail}", line.encode("utf-8", "surrogateescape"))


def _is_utf8(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)
