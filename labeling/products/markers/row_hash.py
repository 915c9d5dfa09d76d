"""A hash of a row: 64 bits that depend on all of its columns and on nothing else.

The formula, all of it modulo 2^64; ``>>`` moves zeros in from above. docs/markers.md has it too::

    h = xxh3(schema)                    schema: name:kind of all columns, joined by ","
    for each column, in order:
        h = (h ^ key) * 0x9E3779B97F4A7C15
        h = h ^ (h >> 32)
    h = h * 0xBF58476D1CE4E5B9
    hash = h ^ (h >> 29)

``xxh3`` is xxh3_64 with seed 0 of bytes, a text in UTF-8. A column's kind and its key:

    text, bytes  xxh3 of it
    integer      the value, in two's complement
    boolean      1, 0
    float        the bits of the IEEE 754 double; -0.0 as 0.0, every NaN as 0x7FF8000000000000
    time         milliseconds since 1970, as an integer
    date         days since 1970, as an integer
    text[]       xxh3 of all elements, each as "<bytes>:<text>", a null one as "-"
    integer[]    the same of the elements in decimal digits
    null         0xA0761D6478BD642F, whatever the kind

Always holds: the same row has the same hash in every process, on every machine and with every
version of the libraries; a null is neither an empty text nor an empty list nor a zero; a value
counts for the column that it stands in.

Not promised: that different rows have different hashes: two of 2^64 may meet, and who wants them to
can make them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from labeling.engine.keys import text_key

_U64: Final = pl.UInt64()
_NAN: Final = 0x7FF8_0000_0000_0000
_NULL: Final = pl.lit(0xA076_1D64_78BD_642F, _U64)
_SPREAD: Final = np.uint64(0x9E37_79B9_7F4A_7C15)
_FINISH: Final = np.uint64(0xBF58_476D_1CE4_E5B9)
_HIGH: Final = np.uint64(32)
_LAST: Final = np.uint64(29)


def row_hashes(rows: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.Series:
    """The hash of each row, UInt64, in the rows' order.

    Args:
        rows: has the columns of ``schema``, in any order; others do not count.
        schema: the columns that count, in the order in which they do, with the types they are
            taken as (those that the store can keep).

    >>> row_hashes(pl.DataFrame({"a": [1]}), {"a": pl.Int64()}).dtype
    UInt64
    """
    told = ",".join(f"{name}:{kind_of(dtype)}" for name, dtype in schema.items())
    seed = pl.select(text_key(pl.lit(told, pl.String()))).item()
    keys = rows.select(
        _key(pl.col(name).cast(dtype), dtype).fill_null(_NULL).alias(name)
        for name, dtype in schema.items()
    )
    # In place: as expressions each step would stand in the next one twice.
    h = np.full(rows.height, seed, dtype=np.uint64)
    for key in keys:
        h ^= key.to_numpy()
        h *= _SPREAD
        h ^= h >> _HIGH
    h *= _FINISH
    h ^= h >> _LAST
    return pl.Series("hash", h, dtype=pl.UInt64)


def kind_of(dtype: pl.DataType) -> str:
    """What a column's type is called in the formula.

    Raises:
        ValueError: no column of the store has it.
    """
    if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.String | pl.Int64):
        return f"{kind_of(dtype.inner)}[]"
    for kind, known in _KINDS.items():
        if isinstance(dtype, known):
            return kind
    raise ValueError(f"type {dtype} has no place in a hash; the store does not keep it")


_KINDS: Final[Mapping[str, tuple[type[pl.DataType], ...]]] = {
    "text": (pl.String,),
    "bytes": (pl.Binary,),
    "integer": (pl.Int64, pl.Int32, pl.UInt32, pl.UInt64),
    "boolean": (pl.Boolean,),
    "float": (pl.Float64,),
    "time": (pl.Datetime,),
    "date": (pl.Date,),
}


def _key(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A column's key, UInt64; null where the value is."""
    kind = kind_of(dtype)
    if kind in ("text", "bytes"):
        return text_key(value)
    if kind.endswith("[]"):
        return text_key(_list_text(value))
    if kind == "float":
        # Not by adding zero: Polars leaves that out.
        nan, zero = pl.lit(_NAN, _U64), pl.lit(0, _U64)
        bits = pl.when(value == 0).then(zero).otherwise(value.reinterpret(dtype=pl.UInt64))
        return pl.when(value.is_nan()).then(nan).otherwise(bits)
    if kind == "boolean" or dtype == _U64:
        return value.cast(_U64)
    if kind == "time":
        value = value.dt.epoch("ms")
    return value.cast(pl.Int64).reinterpret(signed=False)


def _list_text(value: pl.Expr) -> pl.Expr:
    """The elements of a list as one text from which they can be told apart."""
    one = pl.element().cast(pl.String)
    told = pl.concat_str(one.str.len_bytes(), pl.lit(":"), one).fill_null("-")
    return value.list.eval(told).list.join("")
