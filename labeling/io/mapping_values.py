"""A field's values as a column of the event contract, and why one could not be read.

Always holds: a value that cannot be read is null in the result where it was not null before; a
list keeps its order and loses its nulls; which reason a fault has depends on the value alone.

Not promised: that null tokens are nulls: they were taken out before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from labeling.io.mapping_numbers import BAD_VALUE, WRONG_TYPE, as_text, where, whole
from labeling.io.mapping_times import times
from labeling.model.reject import Reason

_ANY_NUMBER: Final = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"


@dataclass(frozen=True)
class How:
    """The options of one field: scaling (numerator, denominator), timezone, list separator."""

    ratio: tuple[int, int] | None = None
    timezone: str | None = None
    split: str | None = None


def read_values(raw: pl.Series, dtype: pl.DataType, how: How, *, clean: bool = False) -> pl.Series:
    """Values of ``dtype``; null where ``raw`` is null, and where it cannot be read.

    Args:
        raw: texts, or values of another type as a Parquet file has them.
        dtype: one of the types of the event contract.
        how: the options of the field.
        clean: no text of ``raw`` holds a NUL, so that need not be looked for.
    """
    if isinstance(dtype, pl.List):
        if dtype.inner == pl.Float64():
            return _numbers(raw, how.split)
        return _lists(raw, how.split, clean=clean)
    if isinstance(dtype, pl.Datetime):
        return times(raw, how.ratio, how.timezone)
    if dtype.is_integer():
        return whole(raw, how.ratio or (1, 1), exact=how.ratio is None).cast(dtype, strict=False)
    text = as_text(raw)
    if isinstance(dtype, pl.String):
        return text if clean else where(text, ~text.str.contains("\x00", literal=True))
    if isinstance(dtype, pl.Boolean):
        return _booleans(text)
    values = text.cast(pl.Float64, strict=False)
    return where(values, values.is_finite())


def why(shown: pl.Series, dtype: pl.DataType, how: How) -> pl.Series:
    """The reason code of each unreadable value; ``shown`` has no nulls."""
    text = as_text(shown)
    if isinstance(dtype, pl.Datetime):
        other = pl.lit(Reason.BAD_TIMESTAMP)
    elif isinstance(dtype, pl.String):
        other = pl.lit(Reason.BAD_VALUE)
    elif dtype.is_numeric():
        impossible = pl.col("t").str.contains(_ANY_NUMBER)
        if isinstance(dtype, pl.Float64):
            impossible = pl.col("t").cast(pl.Float64, strict=False).is_not_null()
        elif how.ratio is None:
            impossible &= ~pl.col("t").str.contains(r"\.[0-9]*[1-9]|[eE]-")
        other = (
            pl.when(impossible).then(pl.lit(Reason.BAD_VALUE)).otherwise(pl.lit(Reason.WRONG_TYPE))
        )
    else:
        other = pl.lit(Reason.WRONG_TYPE)
    reason = (
        pl.when(pl.col("t").str.starts_with(WRONG_TYPE))
        .then(pl.lit(Reason.WRONG_TYPE))
        .when(pl.col("t").str.starts_with(BAD_VALUE))
        .then(pl.lit(Reason.BAD_VALUE))
        .otherwise(other)
        .cast(pl.String)
    )
    return pl.DataFrame({"t": text}).select(reason).to_series()


def _numbers(raw: pl.Series, split: str | None) -> pl.Series:
    """Lists of numbers, each finite: a place in a vector means something, so none is left out."""
    if split is not None and not raw.dtype.is_nested():
        raw = as_text(raw).str.split(split)
    dtype = raw.dtype
    if isinstance(dtype, pl.Array):
        raw, dtype = raw.arr.to_list(), pl.List(dtype.inner)
    if not isinstance(dtype, pl.List) or dtype.inner.is_nested():
        return pl.Series(raw.name, [None], dtype=pl.List(pl.Float64)).new_from_index(0, len(raw))
    lists = raw.cast(pl.List(pl.Float64), strict=False)
    bad = lists.list.eval(~pl.element().is_finite().fill_null(value=False)).list.any()
    return where(lists, ~bad.fill_null(value=False))


def _booleans(text: pl.Series) -> pl.Series:
    column = pl.col("t").str.to_lowercase()
    yes, no = column.is_in(["true", "1"]), column.is_in(["false", "0"])
    return (
        pl.DataFrame({"t": text})
        .select(pl.when(yes).then(pl.lit(True)).when(no).then(pl.lit(False)))
        .to_series()
    )


def _lists(raw: pl.Series, split: str | None, *, clean: bool) -> pl.Series:
    if split is not None and not raw.dtype.is_nested():
        text = as_text(raw)
        raw = where(text, ~text.str.contains("\x00", literal=True)).str.split(split)
    dtype = raw.dtype
    if not isinstance(dtype, pl.List) or dtype.inner.is_nested():
        empty = pl.Series(raw.name, [None], dtype=pl.List(pl.String))
        return empty.new_from_index(0, len(raw))
    lists = raw.cast(pl.List(pl.String))
    if lists.drop_nulls().explode().null_count():
        lists = lists.list.drop_nulls()
    if clean:
        return lists
    bad = lists.list.eval(pl.element().str.contains("\x00", literal=True)).list.any()
    return where(lists, ~bad.fill_null(value=False))
