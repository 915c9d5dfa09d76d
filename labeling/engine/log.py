"""Rows in the order in which they came, each by its number: held once, never sorted.

Always holds: a row keeps its number for good; numbers grow from 0 without gaps as rows come.

Not promised: that a row is gone once it is old. It goes with its chunk, when all of that is old;
an old number then finds nothing.

The newest rows lie in chunks as they came, merged so that there are few. The others are packed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from labeling.engine.packed import Column, Packed, packed
from labeling.engine.runs import Places

#: So many neighbours of one size class become one chunk.
_FAN_IN: Final = 4
#: From so many young rows on, all of them become one chunk of packed columns.
_PACKED: Final = 200_000
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Chunk:
    """Rows from number ``first`` on, with the span of their ``event_ts`` in epoch milliseconds."""

    first: int
    height: int
    columns: Mapping[str, Packed]
    low_ms: int
    high_ms: int
    packed: bool = False

    @property
    def end(self) -> int:
        """The number behind the last row's."""
        return self.first + self.height

    @property
    def nbytes(self) -> int:
        """Bytes of memory behind the columns."""
        return sum(c.nbytes for c in self.columns.values())

    def rows(self, columns: Iterable[str]) -> pl.DataFrame:
        """Some columns of all rows."""
        return pl.DataFrame([self.columns[c].every().alias(c) for c in columns])

    def select(self, *exprs: pl.Expr, **named: pl.Expr) -> pl.DataFrame:
        """What Polars selects of all rows; no columns are read but those that are named."""
        every = (*exprs, *named.values())
        read = dict.fromkeys(name for expr in every for name in expr.meta.root_names())
        return self.rows(read).select(*exprs, **named)

    def take(self, places: Places, columns: Iterable[str]) -> pl.DataFrame:
        """Some columns of the rows at some places, counted from the chunk's first row."""
        # By ``[]``: Polars plans a query for every ``gather``, which takes thirty times longer.
        rows = pl.Series(places.astype(np.uint32))
        return pl.DataFrame([self.columns[c].take(rows).alias(c) for c in columns])


@dataclass(frozen=True)
class Log:
    """Held rows of one shape, ``event_ts`` among their columns; ``end`` is the next number."""

    schema: pl.Schema
    chunks: tuple[Chunk, ...] = ()
    end: int = 0

    @property
    def height(self) -> int:
        """How many rows are held."""
        return sum(c.height for c in self.chunks)

    @property
    def nbytes(self) -> int:
        """Bytes of memory behind the columns held."""
        return sum(c.nbytes for c in self.chunks)

    def add(self, rows: pl.DataFrame) -> Log:
        """With more rows, of exactly the schema."""
        added = self
        for some in rows.iter_slices(_PACKED):
            added = added._with(some)
        return added

    def _with(self, rows: pl.DataFrame) -> Log:
        """With at most as many rows as are packed together."""
        if rows.is_empty():
            return self
        low, high = rows.select(
            low=pl.col("event_ts").min().dt.epoch("ms"),
            high=pl.col("event_ts").max().dt.epoch("ms"),
        ).row(0)
        chunks = [*self.chunks, Chunk(self.end, rows.height, _plain(rows), low, high)]
        while _mergeable(tail := chunks[-_FAN_IN:]):
            chunks[-_FAN_IN:] = [_merged(tail)]
        young = _young(chunks)
        if self.end + rows.height - young[0].first >= _PACKED:
            chunks[-len(young) :] = [_merged(young, pack=True)]
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
        # By chunk, each of its own: Polars gathers from a column of many chunks ten times slower.
        order = np.argsort(at.astype(np.uint32), kind="stable")
        ordered, numbers = at[order], numbers[order]
        ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(ordered))
        begins = np.append(0, ends[:-1])
        chunks = [self.chunks[i] for i in ordered[begins]]
        places = [numbers[b:e] - c.first for b, e, c in zip(begins, ends, chunks, strict=True)]
        parts = [c.take(p, columns) for c, p in zip(chunks, places, strict=True)]
        found: pl.DataFrame = parts[0] if len(parts) == 1 else pl.concat(parts, rechunk=True)
        if len(parts) > 1 and (order[1:] < order[:-1]).any():
            back = np.empty_like(order)
            back[order] = np.arange(len(order))
            found = found[back]
        return found

    def _chunk_of(self, numbers: Numbers) -> npt.NDArray[np.intp]:
        """Which chunk each number would stand in, or -1."""
        return np.searchsorted([c.first for c in self.chunks], numbers, "right") - 1


def _young(chunks: Sequence[Chunk]) -> Sequence[Chunk]:
    """The last chunks that are neighbours and not packed; at least one."""
    first = len(chunks) - 1
    while first and not chunks[first - 1].packed and chunks[first - 1].end == chunks[first].first:
        first -= 1
    return chunks[first:]


def _plain(rows: pl.DataFrame) -> Mapping[str, Packed]:
    """Columns as they came."""
    return {s.name: Column(s) for s in rows.rechunk().get_columns()}


def _merged(chunks: Sequence[Chunk], *, pack: bool = False) -> Chunk:
    """Neighbours as one."""
    rows = pl.concat([c.rows(c.columns) for c in chunks], rechunk=True)
    low, high = min(c.low_ms for c in chunks), max(c.high_ms for c in chunks)
    columns = {s.name: packed(s) for s in rows.get_columns()} if pack else _plain(rows)
    return Chunk(chunks[0].first, rows.height, columns, low, high, pack)


def _mergeable(tail: Sequence[Chunk]) -> bool:
    """Whether the last chunks are enough, neighbours, of like size, and not packed yet."""
    sizes = [c.height for c in tail]
    return (
        len(sizes) == _FAN_IN
        and not any(c.packed for c in tail)
        and max(sizes) <= _FAN_IN * sizes[-1]
        and tail[0].first + sum(sizes) == tail[-1].end
    )
