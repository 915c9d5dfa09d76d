"""A result on its way out: batch by batch into a file, as Arrow or JSON.

Always holds: no more than a batch of it is in memory; times in JSON are ISO 8601 in UTC, bytes are
Base64, decimals are text.

Not promised: JSON for every type. What has none is refused by name; Arrow has them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import IO, Any, Final, Protocol

import polars as pl
import pyarrow as pa

from labeling.errors import StoreError

ARROW: Final = "application/vnd.apache.arrow.stream"
JSON: Final = "application/json"
_TIME: Final = "%Y-%m-%dT%H:%M:%S%.f"


class Writer(Protocol):
    """Writes batches of one result; ``close`` ends it."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Add a batch."""

    def close(self, told: dict[str, Any]) -> None:
        """End the result; ``told`` goes with it where the format has a place for that."""


class ArrowWriter:
    """An Arrow IPC stream."""

    def __init__(self, stream: IO[bytes], schema: pa.Schema) -> None:
        self._writer = pa.ipc.new_stream(stream, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Add a batch."""
        self._writer.write_batch(batch)

    def close(self, told: dict[str, Any]) -> None:
        """End the stream; what is told goes into the headers alone."""
        del told
        self._writer.close()


class JsonWriter:
    """One object: ``columns``, ``rows`` (an object each), and what is told at the end."""

    def __init__(self, stream: IO[bytes], schema: pa.Schema) -> None:
        self._stream = stream
        self._first = True
        columns = [{"name": f.name, "type": str(f.type)} for f in schema]
        stream.write(b'{"columns":' + json.dumps(columns).encode() + b',"rows":[')

    def write(self, batch: pa.RecordBatch) -> None:
        """Add a batch.

        Raises:
            StoreError: a column of it has no JSON.
        """
        if not batch.num_rows:
            return
        text = _frame(batch).write_json().encode()
        self._stream.write((b"" if self._first else b",") + text.strip()[1:-1])
        self._first = False

    def close(self, told: dict[str, Any]) -> None:
        """End the object."""
        self._stream.write(b"]," + json.dumps(told).encode()[1:])


WRITERS: Final[dict[str, tuple[str, Callable[[IO[bytes], pa.Schema], Writer]]]] = {
    "arrow": (ARROW, ArrowWriter),
    "json": (JSON, JsonWriter),
}


def distinct(schema: pa.Schema) -> pa.Schema:
    """The schema with names that differ, also in lower case: as DuckDB names a frame's columns.

    >>> distinct(pa.schema([("a", pa.int8()), ("a", pa.int8()), ("A", pa.int8())])).names
    ['a', 'a_1', 'A_2']
    """
    used: dict[str, int] = {}
    names = []
    for name in schema.names:
        given = name
        while given.lower() in used:
            count = used[name.lower()]
            used[name.lower()] = count + 1
            given = f"{name}_{count}"
        used[given.lower()] = 1
        names.append(given)
    return pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])


def cut(batches: Iterator[pa.RecordBatch], rows: int | None) -> Iterator[pa.RecordBatch | None]:
    """The batches up to so many rows; then None where there are more."""
    left = rows
    for batch in batches:
        if left is not None and batch.num_rows > left:
            yield batch.slice(0, left)
            yield None
            return
        yield batch
        left = None if left is None else left - batch.num_rows


def _frame(batch: pa.RecordBatch) -> pl.DataFrame:
    """A batch whose columns all have a JSON."""
    try:
        frame = pl.from_arrow(batch)
    except (pl.exceptions.PolarsError, pa.ArrowException) as error:
        raise StoreError(f"a column has no JSON, cast it to VARCHAR: {error}") from error
    if not isinstance(frame, pl.DataFrame):
        raise TypeError("a batch became a series")
    return frame.with_columns(_plain(name, dtype) for name, dtype in frame.schema.items())


def _plain(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        zone = "Z" if dtype.time_zone else ""
        return column.dt.replace_time_zone(None).dt.strftime(_TIME) + zone
    if dtype == pl.Binary():
        return column.bin.encode("base64")
    if isinstance(dtype, (pl.Decimal, pl.Categorical, pl.Enum)) or dtype in {
        pl.Date(),
        pl.Time(),
        pl.Int128(),
    }:
        return column.cast(pl.String())
    if not _has_json(dtype):
        raise StoreError(f"column {name} of type {dtype} has no JSON; cast it, or ask for arrow")
    return column


def _has_json(dtype: pl.DataType) -> bool:
    if isinstance(dtype, (pl.List, pl.Array)):
        inner = dtype.inner
        return isinstance(inner, pl.DataType) and _has_json(inner)
    if isinstance(dtype, pl.Struct):
        return all(isinstance(f.dtype, pl.DataType) and _has_json(f.dtype) for f in dtype.fields)
    whole = dtype.is_integer() and dtype != pl.Int128()
    return whole or dtype.is_float() or dtype in {pl.String(), pl.Boolean(), pl.Null()}
