"""Rows in the order in which they came, each by its number: held once, never sorted.

Always holds: a row keeps its number for good; numbers grow from 0 without gaps as rows come.

Not promised: that a row is gone once it is old. It goes with its chunk, when all of that is old;
an old number then finds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

#: So many neighbours of one size class become one chunk.
_FAN_IN: Final = 4
_LARGEST: Final = 200_000
#: What a text takes in a column, and from which length on its letters take room beside it.
_VIEW_BYTES: Final = 16
_INLINE: Final = 12
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Chunk:
    """Rows from number ``first`` on, with the span of their ``event_ts`` in epoch milliseconds."""

    first: int
    rows: pl.DataFrame
    low_ms: int
    high_ms: int

    @property
    def end(self) -> int:
        """The number behind the last row's."""
        return self.first + self.rows.height


@dataclass(frozen=True)
class Log:
    """Held rows of one shape, ``event_ts`` among their columns; ``end`` is the next number."""

    schema: pl.Schema
    chunks: tuple[Chunk, ...] = ()
    end: int = 0

    @property
    def height(self) -> int:
        """How many rows are held."""
        return sum(c.rows.height for c in self.chunks)

    @property
    def nbytes(self) -> int:
        """Bytes of memory behind the columns held."""
        return sum(_bytes(s) for c in self.chunks for s in c.rows.get_columns())

    def add(self, rows: pl.DataFrame) -> Log:
        """With more rows, of exactly the schema."""
        if rows.is_empty():
            return self
        low, high = rows.select(
            low=pl.col("event_ts").min().dt.epoch("ms"),
            high=pl.col("event_ts").max().dt.epoch("ms"),
        ).row(0)
        chunks = [*self.chunks, Chunk(self.end, rows.rechunk(), low, high)]
        while _mergeable(tail := chunks[-_FAN_IN:]):
            chunks[-_FAN_IN:] = [_merged(tail)]
        return replace(self, chunks=tuple(chunks), end=self.end + rows.height)

    def drop_before(self, low_ms: int) -> Log:
        """Without the chunks that are older altogether."""
        return replace(self, chunks=tuple(c for c in self.chunks if c.high_ms >= low_ms))

    def between(self, low_ms: int, high_ms: int) -> Iterator[Chunk]:
        """The chunks that can hold rows of a span of time."""
        return (c for c in self.chunks if c.low_ms <= high_ms and c.high_ms >= low_ms)

    def held(self, numbers: Numbers) -> Numbers:
        """Those of the numbers whose rows are held."""
        at = self._chunk_of(numbers)
        ends = np.array([c.end for c in self.chunks] or [0], np.int64)
        return numbers[(at >= 0) & (numbers < ends[at])]

    def take(self, numbers: Numbers, columns: Sequence[str]) -> pl.DataFrame:
        """The rows of some numbers, in their order; all of them held."""
        if not len(numbers):
            return pl.DataFrame(schema={c: self.schema[c] for c in columns})
        at = self._chunk_of(numbers)
        used = np.bincount(at, minlength=len(self.chunks)) > 0
        chunks = [c for c, here in zip(self.chunks, used, strict=True) if here]
        heights = np.array(
            [c.rows.height if u else 0 for c, u in zip(self.chunks, used, strict=True)]
        )
        shift = np.cumsum(heights) - heights - [c.first for c in self.chunks]
        rows: pl.DataFrame = pl.concat([c.rows.select(columns) for c in chunks], rechunk=False)
        found: pl.DataFrame = rows[numbers + shift[at]]
        return found

    def _chunk_of(self, numbers: Numbers) -> npt.NDArray[np.intp]:
        """Which chunk each number would stand in, or -1."""
        return np.searchsorted([c.first for c in self.chunks], numbers, "right") - 1


def _merged(chunks: Sequence[Chunk]) -> Chunk:
    rows = pl.concat([c.rows for c in chunks], rechunk=True)
    low, high = min(c.low_ms for c in chunks), max(c.high_ms for c in chunks)
    return Chunk(chunks[0].first, rows, low, high)


def _mergeable(tail: Sequence[Chunk]) -> bool:
    """Whether the last chunks are enough, neighbours, of like size, and small enough together."""
    sizes = [c.rows.height for c in tail]
    return (
        len(sizes) == _FAN_IN
        and max(sizes) <= _FAN_IN * sizes[-1]
        and sum(sizes) <= _LARGEST
        and tail[0].first + sum(sizes) == tail[-1].end
    )


def _bytes(series: pl.Series) -> int:
    """Bytes of memory behind a column: what is estimated, but short texts at their full size."""
    if series.dtype == pl.List(pl.String()):
        return 8 * len(series) + _bytes(series.explode(empty_as_null=False))
    if series.dtype != pl.String():
        return int(series.estimated_size())
    lengths = series.str.len_bytes()
    outside = lengths.filter(lengths > _INLINE).sum()
    return _VIEW_BYTES * len(series) + int(outside) + (len(series) + 7) // 8
