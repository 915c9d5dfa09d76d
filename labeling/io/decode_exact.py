"""One JSON record at a time, in Python: says exactly what is wrong with it.

Always holds: what ``exact`` gives for a record that Polars reads too is what Polars gives (a
property test holds the two to each other), except that it also sees what Polars cannot tell:
an object where a value should be, a lone surrogate, a NUL. Of a name that an object has twice
the first counts. A number's text is that of its value: ``1.0`` and ``1e0`` are ``1``.

Not promised: speed. It takes the records that the fast way could not.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from labeling.io.mapping_numbers import BAD_VALUE, WRONG_TYPE

#: A record nested deeper than this is refused here.
MAX_DEPTH: Final = 200
_SHOWN: Final = 80
_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])', re.DOTALL)


class BadJsonError(ValueError):
    """The record is not one JSON object in UTF-8; the message says what it is."""


class _Number(str):
    """A number as it was written, apart from a text."""

    __slots__ = ()


def exact(payload: bytes, shape: Mapping[str, pl.DataType]) -> dict[str, Any]:
    """The fields of a record in its shape; a part of another type begins with ``WRONG_TYPE``.

    Raises:
        BadJsonError: not one JSON object in UTF-8, or nested deeper than ``MAX_DEPTH``.
    """
    record = parse(payload)
    return {name: _conform(record.get(name), dtype) for name, dtype in shape.items()}


def parse(payload: bytes) -> dict[str, Any]:
    """A record as Python values, numbers as their texts.

    Raises:
        BadJsonError: see ``exact``.
    """
    if too_deep(payload):
        raise BadJsonError(f"nested deeper than {MAX_DEPTH}")
    try:
        found = _DECODER.decode(payload.decode())
    except UnicodeDecodeError as error:
        raise BadJsonError(f"not UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise BadJsonError(str(error)) from None
    if not isinstance(found, dict):
        raise BadJsonError(f"not an object but {_shown(found)}")
    return found


def too_deep(payload: bytes) -> bool:
    """Whether the brackets of a record nest deeper than ``MAX_DEPTH``."""
    if payload.count(b"[") + payload.count(b"{") <= MAX_DEPTH:
        return False
    level = 0
    for found in _BRACKET.finditer(payload):
        level += {1: 1, 2: -1}.get(found.lastindex or 0, 0)
        if level > MAX_DEPTH:
            return True
    return False


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def number_text(written: str) -> str:
    """The text of a number's value, as the fast way gives it; as written where that refuses it."""
    if written.lstrip("-").isdigit():
        return "0" if written == "-0" else written
    try:
        line = io.BytesIO(b'{"v":%s}' % written.encode())
        found: str = pl.read_ndjson(line, schema={"v": pl.String})["v"][0]
    except pl.exceptions.PolarsError:
        return written
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_first_wins,
    parse_int=_Number,
    parse_float=_Number,
    parse_constant=_no_constant,
)


def _conform(value: Any, dtype: pl.DataType) -> Any:
    if value is None:
        return None
    if isinstance(dtype, pl.Struct):
        if not isinstance(value, dict):
            return _everywhere(dtype, WRONG_TYPE + _shown(value))
        return {
            field.name: _conform(value.get(field.name), field.dtype) for field in _fields(dtype)
        }
    if isinstance(dtype, pl.List):
        if not isinstance(value, list):
            return _everywhere(dtype, WRONG_TYPE + _shown(value))
        return [_conform(one, _dtype(dtype.inner)) for one in value]
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return WRONG_TYPE + _shown(value)
    if isinstance(value, _Number):
        return number_text(value)
    text = str(value)
    if "\x00" in text:
        return f"{BAD_VALUE}a NUL in {_shown(text)}"
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        return f"{BAD_VALUE}half a surrogate pair in {_shown(text)}"
    return text


def _everywhere(dtype: pl.DataType, text: str) -> Any:
    """The text at every value of a shape, so that whatever is read of it is a fault."""
    if isinstance(dtype, pl.Struct):
        return {field.name: _everywhere(field.dtype, text) for field in _fields(dtype)}
    if isinstance(dtype, pl.List):
        return [_everywhere(_dtype(dtype.inner), text)]
    return text


def _fields(dtype: pl.Struct) -> list[Any]:
    return list(dtype.fields)


def _dtype(dtype: Any) -> pl.DataType:
    return dtype if isinstance(dtype, pl.DataType) else dtype()


def _shown(value: Any) -> str:
    return json.dumps(value)[:_SHOWN]
