"""JSON records into columns of texts by DuckDB: the cheapest way, for what it surely gives right.

Always holds: what it takes has the values that ``exact`` gives. Syntax, and the places of objects
and lists, are checked by msgspec, which is strict where DuckDB is not. What DuckDB may write in
another way (a number with an exponent or an odd fraction, an object where a value should be, a
NUL) is left out, and so is whatever either of them refuses.

Not promised: that it takes a record. The caller reads in another way what it leaves.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress, count
from operator import itemgetter
from typing import Final

import duckdb
import msgspec
import polars as pl

from labeling.io.decode_shape import any_text, objects, outline, structure, texts

#: A query costs a ms or two whatever it reads: for fewer records it does not pay.
MIN_ROWS: Final = 2_000
#: Texts that may stand for an object or a list.
_NESTED: Final = r"^[{\[]"
#: Texts that may stand for a number that Polars writes in another way.
_ODD_NUMBER: Final = (
    r"^(?:-0$|-?[0-9]+\.0000|-?[0-9]{16,}\.|-?[0-9]+\.(?:[0-9]*0|[0-9]{12,})$"
    r"|-?[0-9.]+[eE][0-9+-]+$)"
)
_VALUE: Final = str | int | float | bool | None
_REFUSED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError)


class BulkReader:
    """Reads records of one shape; holds a connection to a DuckDB of its own, with nothing in it."""

    def __init__(self, shape: Mapping[str, pl.DataType]) -> None:
        self.shape = dict(shape)
        self._check = msgspec.json.Decoder(outline(self.shape)).decode
        self._check_values = msgspec.json.Decoder(outline(self.shape, _VALUE)).decode
        told = json.dumps(structure(pl.Struct(self.shape))).replace("'", "''")
        self._query = f"SELECT unnest(from_json(j, '{told}')) FROM records"
        self._duck: duckdb.DuckDBPyConnection | None = None

    def read(self, payloads: Sequence[bytes | None]) -> tuple[pl.DataFrame, pl.Series] | None:
        """Read what can be read so.

        Returns:
            The fields of the records that it takes and their rows (UInt32, rising); None where it
            takes none.
        """
        rows = pl.int_range(len(payloads), dtype=pl.UInt32, eager=True)
        passed: Sequence[bytes | None] = payloads
        if refused := [*self._refused(payloads)]:
            good = bytearray(b"\x01") * len(payloads)
            for row in refused:
                good[row] = 0
            passed = list(compress(payloads, good))
            rows = rows.filter(~rows.is_in(refused))
        records = _utf8(passed)
        unfit = records.is_null() | records.str.contains(r"\u0000", literal=True)
        if unfit.any():
            rows, records = rows.filter(~unfit), records.filter(~unfit)
        if not len(rows):
            return None
        try:
            fields = self._fields(records.to_frame())
        except duckdb.Error:
            # One of them has what DuckDB alone refuses: rare enough to leave them all.
            return None
        sure = self._sure(fields, rows, payloads)
        return (fields, rows) if sure is None else (fields.filter(sure), rows.filter(sure))

    def _refused(self, payloads: Sequence[bytes | None]) -> Iterator[int]:
        """Rows of the records that msgspec refuses."""
        # No Python runs for a good record: after a bad one the same iterators go on behind it.
        places = count()
        fed = map(itemgetter(0), zip(payloads, places, strict=False))
        looked = 0
        while True:
            try:
                deque(map(self._check, fed), maxlen=0)
            except _REFUSED:
                yield next(places) - 1 - looked
                looked += 1
            else:
                return

    def _fields(self, records: pl.DataFrame) -> pl.DataFrame:
        if self._duck is None:
            self._duck = duckdb.connect(config={"threads": 1, "produce_arrow_string_view": True})
        self._duck.register("records", records)
        try:
            found: pl.DataFrame = self._duck.sql(self._query).pl()
        finally:
            self._duck.unregister("records")
        found.columns = list(self.shape)
        return found

    def _sure(
        self, fields: pl.DataFrame, rows: pl.Series, payloads: Sequence[bytes | None]
    ) -> pl.Series | None:
        """Which records have no text but those that ``exact`` gives; None: all of them."""
        columns = [
            (name, dtype)
            for name, dtype in self.shape.items()
            if not all(map(_plain, texts(fields[name], dtype)))
        ]
        if not columns:
            return None
        nested, odd = fields.select(
            nested=any_text(columns, lambda t: t.str.contains(_NESTED)),
            odd=any_text(columns, lambda t: t.str.contains(_ODD_NUMBER)),
        )
        if not (nested.any() or odd.any()):
            return None
        # Most often it is the text of an object inside a text: msgspec tells them apart.
        places = nested.arg_true().to_list()
        wrong = [n for n in places if not _passes(self._check_values, payloads[rows[n]])]
        return (~odd).scatter(wrong, False)


def _passes(check: Callable[[bytes], object], payload: bytes | None) -> bool:
    try:
        check(payload)  # type: ignore[arg-type]  # a None raises
    except _REFUSED:
        return False
    return True


def readable(shape: Mapping[str, pl.DataType]) -> bool:
    """Whether DuckDB can name the fields of a shape: in an object they differ not by case alone."""
    return all(
        len({name.casefold() for name in fields}) == len(fields)
        for fields in objects(pl.Struct(dict(shape)))
    )


def _utf8(payloads: Sequence[bytes | None]) -> pl.Series:
    """The records as texts, null where one is none."""
    try:
        return pl.Series("j", payloads, dtype=pl.Binary).cast(pl.String)
    except pl.exceptions.ComputeError:
        return pl.Series("j", [_text(payload) for payload in payloads], dtype=pl.String)


def _text(payload: bytes | None) -> str | None:
    try:
        return None if payload is None else payload.decode()
    except UnicodeDecodeError:
        return None


def _plain(values: pl.Series) -> bool:
    """Whether all texts begin behind ``[`` and before ``{``, as names and ids mostly do."""
    low, high = values.min(), values.max()
    return low is None or (str(low) >= "\\" and str(high) < "{")
