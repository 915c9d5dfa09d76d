"""Decoded values (dicts, lists, scalars) as columns of a shape, for the mapper.

Always holds: a value is what the same value in JSON is, but that times, dates and bytes keep their
type; where the values of a column are of several types they are texts. What is of another form
than the shape asks for (an object for a text) begins with ``WRONG_TYPE``.

Not promised: digits of a float that its type does not hold.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from itertools import accumulate, chain
from typing import Any, Final

import msgspec
import polars as pl
import pyarrow as pa

from labeling.io.decode_exact import number_text
from labeling.io.decode_shape import inner, members
from labeling.io.mapping_numbers import BAD_VALUE, WRONG_TYPE

_TYPED: Final[dict[type, pl.DataType]] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    bytes: pl.Binary(),
    dt.date: pl.Date(),
}
_SHOWN: Final = 80
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_US: Final = dt.timedelta(microseconds=1)


def columns(records: Sequence[Mapping[str, Any]], shape: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The fields of a shape, one row per record."""
    return pl.DataFrame(
        [_column([r.get(n) for r in records], dtype).alias(n) for n, dtype in shape.items()]
    )


def rest_json(record: Mapping[str, Any], used: Collection[str]) -> str | None:
    """The fields of a record that are not used, as a JSON object; None where there are none.

    Times are ISO 8601, decimals numbers, bytes text or base64.
    """
    kept = {name: _plain(value) for name, value in record.items() if name not in used}
    return msgspec.json.encode(kept).decode() if kept else None


def _plain(value: Any) -> Any:
    """A value that msgspec writes as JSON does."""
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, Decimal):
        return msgspec.Raw((_text(value) or "null").encode())
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, bytes):
        text = _text(value)
        return value if text is None or text.startswith(BAD_VALUE) else text
    return value


def _column(values: list[Any], dtype: pl.DataType) -> pl.Series:
    if isinstance(dtype, pl.Struct):
        parts = [
            _column([_part(value, name) for value in values], part).alias(name)
            for name, part in members(dtype).items()
        ]
        return pl.DataFrame(parts).to_struct()
    if isinstance(dtype, pl.List):
        return _list(values, inner(dtype))
    return _leaf(values)


class _Misplaced:
    """Stands, at every place below it, for a value that is not of the form asked for."""

    def __init__(self, value: Any) -> None:
        self.text: str = value.text if isinstance(value, _Misplaced) else WRONG_TYPE + _shown(value)


def _part(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name)
    return value if value is None or isinstance(value, _Misplaced) else _Misplaced(value)


def _list(values: list[Any], dtype: pl.DataType) -> pl.Series:
    lists = [
        value if value is None or isinstance(value, list) else [_Misplaced(value)]
        for value in values
    ]
    items = _column(list(chain.from_iterable(one or () for one in lists)), dtype)
    offsets = [0, *accumulate(len(one or ()) for one in lists)]
    mask = pa.array([one is None for one in lists], pa.bool_())
    made = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), items.to_arrow(), mask=mask)
    return pl.Series(values=pl.from_arrow(made))


def _leaf(values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values} - {type(None)}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is dt.datetime and len({value.tzinfo is None for value in values if value}) == 1:
        return _times(values)
    if kind in _TYPED:
        try:
            return pl.Series(values, dtype=_TYPED[kind])
        except (OverflowError, TypeError, pl.exceptions.PolarsError):
            pass  # whole numbers past 64 bits, and texts that are not UTF-8
    return pl.Series([None if value is None else _text(value) for value in values], dtype=pl.String)


def _times(values: list[dt.datetime | None]) -> pl.Series:
    some = next(value for value in values if value is not None)
    zone = None if some.tzinfo is None else "UTC"
    epoch = _EPOCH if zone else _EPOCH.replace(tzinfo=None)
    us = [None if value is None else (value - epoch) // _US for value in values]
    return pl.Series(us, dtype=pl.Int64).cast(pl.Datetime("us", zone))


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return None if math.isnan(value) else number_text(repr(value))
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return f"{BAD_VALUE}{value[:40]!r} is not UTF-8"
    if isinstance(value, _Misplaced):
        return value.text
    if isinstance(value, (dict, list)):
        return WRONG_TYPE + _shown(value)
    return str(value).encode("utf-8", "replace").decode()


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:_SHOWN]
