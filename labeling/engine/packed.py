"""Columns held small: distinct values once, and for each row a short number of one of them.

Always holds: what is read back is what was put in, value by value and of the same type.

Not promised: that a column becomes smaller. One whose values mostly differ stays as it is.

Of a few hundred thousand neighbouring events most columns say little: users, items, requests and
sessions come again, platforms are a handful, and what the type of event lacks is null throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.interchange import CompatLevel

from labeling.engine.runs import Places
from labeling.model.event import TS

#: What a text takes in a column, and from which length on its letters take room beside it.
_VIEW_BYTES: Final = 16
_INLINE: Final = 12
#: Numbers of values are made only where they leave at most this part of the bytes.
_WORTH: Final = 0.8
#: Times of so many milliseconds are told by 32 bits.
_NARROW: Final = 2**32
_SAMPLE: Final = 1_000
_TEXTS: Final = pl.List(pl.String())


@dataclass(frozen=True)
class Column:
    """A column of rows: ``values``, and at which of them each row is (None: at its own)."""

    values: pl.Series
    codes: pl.Series | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        return bytes_of(self.values) + (0 if self.codes is None else bytes_of(self.codes))

    def take(self, rows: pl.Series) -> pl.Series:
        """The values of some rows (UInt32), in their order."""
        return self.values[rows if self.codes is None else self.codes[rows]]

    def every(self) -> pl.Series:
        """The values of all rows."""
        return self.values if self.codes is None else self.values[self.codes]


@dataclass(frozen=True)
class Constant:
    """A column of so many rows of one value."""

    value: pl.Series
    height: int

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        return bytes_of(self.value)

    def take(self, rows: pl.Series) -> pl.Series:
        """As often as there are rows."""
        return self.value.new_from_index(0, len(rows))

    def every(self) -> pl.Series:
        """The values of all rows."""
        return self.value.new_from_index(0, self.height)


@dataclass(frozen=True)
class Times:
    """A column of times, each as milliseconds after the first of them."""

    low_ms: int
    after: pl.Series

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        return bytes_of(self.after)

    def take(self, rows: pl.Series) -> pl.Series:
        """The values of some rows (UInt32), in their order."""
        return self._times(self.after[rows])

    def every(self) -> pl.Series:
        """The values of all rows."""
        return self._times(self.after)

    def _times(self, after: pl.Series) -> pl.Series:
        return (after.cast(pl.Int64) + self.low_ms).cast(TS)


Packed = Column | Constant | Times


def packed(series: pl.Series) -> Packed:
    """A column held as small as it can be."""
    if series.dtype == TS and not series.has_nulls() and len(series):
        times = series.to_physical().to_numpy()
        low = int(times.min())
        if int(times.max()) - low < _NARROW:
            return Times(low, pl.Series((times - low).astype(np.uint32)))
    if not _comparable(series.dtype) or series.is_empty():
        return Column(series)
    # What a row takes is told by some.
    some, height = series.head(_SAMPLE), len(series)
    keys, width = _keys(series), bytes_of(some) / len(some)
    distinct = int(keys.to_frame("k").select(pl.col("k").approx_n_unique()).item())
    # A number takes a byte or two where there are few values.
    if distinct > 1 and distinct * width + 2 * height > _WORTH * width * height:
        return Column(_alone(series))
    coded = _arrow(keys).dictionary_encode("encode")
    codes, count = coded.indices.to_numpy(), len(coded.dictionary)
    if series.dtype == pl.String():
        values = pl.Series(series.name, coded.dictionary)
    else:
        values = _alone(series.gather(_first_of_each(codes, count)))
    if count == 1:
        return Constant(values, height)
    small = Column(values, pl.Series(codes.astype(np.min_scalar_type(count - 1))))
    return small if small.nbytes <= _WORTH * width * height else Column(_alone(series))


def bytes_of(series: pl.Series) -> int:
    """Bytes of memory behind a column: what is estimated, but short texts at their full size."""
    if series.dtype == _TEXTS:
        return 8 * len(series) + bytes_of(series.explode(empty_as_null=False))
    if series.dtype != pl.String():
        return int(series.estimated_size())
    lengths = series.str.len_bytes()
    outside = lengths.filter(lengths > _INLINE).sum()
    return _VIEW_BYTES * len(series) + int(outside) + (len(series) + 7) // 8


def _comparable(dtype: pl.DataType) -> bool:
    """Whether equal values of a type are one value. Of floats 0.0 and -0.0 are two."""
    return dtype == _TEXTS or not (dtype.is_nested() or dtype.is_float())


def _keys(series: pl.Series) -> pl.Series:
    """The values, or texts that differ as they do."""
    if series.dtype == _TEXTS:
        return series.to_frame().select(pl.struct(pl.all()).struct.json_encode()).to_series()
    if isinstance(series.dtype, pl.Enum):
        return series.to_physical()
    return series


def _alone(series: pl.Series) -> pl.Series:
    """The same values. Texts may share memory with all those that they were chosen from."""
    return (
        pl.Series(series.name, _arrow(series)) if series.dtype in (pl.String(), _TEXTS) else series
    )


def _arrow(series: pl.Series) -> Any:
    """The values with their texts side by side, nothing else beside them."""
    return series.to_arrow(compat_level=CompatLevel.oldest())


def _first_of_each(codes: npt.NDArray[Any], count: int) -> Places:
    """Where each of so many numbers stands first."""
    first = np.empty(count, np.intp)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return first
