"""The shape of records (``record_shape``) in the words of those who read them.

Always holds: a shape has Strings, Structs and Lists only; every form of it has the same names.

Not promised: that a record has the shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
import polars as pl


def instance(dtype: Any) -> pl.DataType:
    """A Polars type that may be given as its class, as the inner types of a shape are."""
    return dtype if isinstance(dtype, pl.DataType) else dtype()


def inner(dtype: pl.List) -> pl.DataType:
    """What a list holds."""
    return instance(dtype.inner)


def members(dtype: pl.Struct) -> dict[str, pl.DataType]:
    """The fields of an object."""
    return {field.name: instance(field.dtype) for field in dtype.fields}


def outline(shape: Mapping[str, pl.DataType], value: Any = None) -> type[msgspec.Struct]:
    """A type that msgspec decodes exactly where every object and list of a record is in its place.

    Args:
        shape: of the record.
        value: what a value must be; None: values are looked at for their syntax only.
    """
    named = {
        name: dtype
        for name, dtype in shape.items()
        if value is not None or not isinstance(dtype, pl.String)
    }
    names = {f"f{number}": name for number, name in enumerate(named)}
    fields = [(f"f{n}", _type(dtype, value), None) for n, dtype in enumerate(named.values())]
    return msgspec.defstruct("Record", fields, rename=names)


def _type(dtype: pl.DataType, value: Any) -> Any:
    if isinstance(dtype, pl.Struct):
        return outline(members(dtype), value) | None
    if isinstance(dtype, pl.List):
        return list[_type(inner(dtype), value)] | None  # type: ignore[misc]  # made at run time
    return msgspec.Raw if value is None else value


def structure(dtype: pl.DataType) -> Any:
    """What DuckDB's ``from_json`` is told of a part of the shape."""
    if isinstance(dtype, pl.Struct):
        return {name: structure(part) for name, part in members(dtype).items()}
    if isinstance(dtype, pl.List):
        return [structure(inner(dtype))]
    return "VARCHAR"


def objects(dtype: pl.DataType) -> Iterator[dict[str, pl.DataType]]:
    """The fields of every object in a part of the shape."""
    if isinstance(dtype, pl.List):
        yield from objects(inner(dtype))
    elif isinstance(dtype, pl.Struct):
        yield members(dtype)
        for part in members(dtype).values():
            yield from objects(part)


def any_text(
    columns: Iterable[tuple[str, pl.DataType]], test: Callable[[pl.Expr], pl.Expr]
) -> pl.Expr:
    """Whether ``test`` holds for any text of these columns, by row; false where it is null."""
    found = [_any_text(pl.col(name), dtype, test) for name, dtype in columns]
    return pl.any_horizontal(found).fill_null(value=False)


def _any_text(value: pl.Expr, dtype: pl.DataType, test: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    if isinstance(dtype, pl.Struct):
        return pl.any_horizontal(
            _any_text(value.struct.field(name), part, test) for name, part in members(dtype).items()
        )
    if isinstance(dtype, pl.List):
        return value.list.eval(_any_text(pl.element(), inner(dtype), test)).list.any()
    return test(value)


def texts(values: pl.Series, dtype: pl.DataType) -> Iterator[pl.Series]:
    """All texts of a column of the shape, as Series of whatever length."""
    if isinstance(dtype, pl.Struct):
        for name, part in members(dtype).items():
            yield from texts(values.struct.field(name), part)
    elif isinstance(dtype, pl.List):
        yield from texts(values.explode(), inner(dtype))
    else:
        yield values
