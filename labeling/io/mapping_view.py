"""The rows that one block of a mapping gives, and how to take a path out of them.

Always holds: row ``i`` of everything that a view gives is of the same event; a path that a record
does not have is null; a path that leads through a value that is not an object gives a text that
begins with ``WRONG_TYPE``.

Not promised: that an element of a list that is too long is looked at: see ``STRIDE``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from labeling.config.mapcheck import record_path
from labeling.config.paths import INDEX, is_reserved, split_path
from labeling.config.source import Emit
from labeling.io.mapping_numbers import WRONG_TYPE, as_text

#: Indices of a record's events: block number times this, plus the element's place in its list.
#: A longer list is one reject.
STRIDE: Final = 100_000


@dataclass(frozen=True)
class Records:
    """Records as columns: their fields, and beside them their positions (``POSITION_SCHEMA``)."""

    fields: pl.DataFrame
    positions: pl.DataFrame


@dataclass(frozen=True)
class View:
    """One row per event of one block.

    ``rows`` is the record of each row (None: row ``i`` is record ``i``), ``element`` the exploded
    list's elements, ``index`` their places in the list.
    """

    records: Records
    emit: Emit
    rows: pl.Series | None = None
    element: pl.Series | None = None
    index: pl.Series | None = None

    @property
    def height(self) -> int:
        """The number of events."""
        return self.records.fields.height if self.rows is None else len(self.rows)

    def record_rows(self) -> pl.Series:
        """The record of each row."""
        if self.rows is not None:
            return self.rows
        return pl.int_range(self.height, dtype=pl.UInt32, eager=True)

    def get(self, path: str) -> pl.Series:
        """The values at a path, one per row; Strings as logged, or the type that a file has."""
        if path == INDEX and self.index is not None:
            return self.index
        if is_reserved(path):
            return self._of_records(self.records.positions[path[1:]])
        of_element, names = record_path(path, self.emit)
        if of_element and self.element is not None:
            return take(self.element, names)
        fields = self.records.fields
        if names[0] not in fields.columns:
            return pl.Series(path, [None], dtype=pl.String).new_from_index(0, self.height)
        return self._of_records(take(fields[names[0]], names[1:]))

    def position(self, name: str) -> pl.Series:
        """A column of the records' positions, one per row."""
        return self._of_records(self.records.positions[name])

    def filter(self, keep: pl.Series) -> View:
        """The rows where ``keep`` is true; their indices stay."""
        if keep.all():
            return self
        return View(
            self.records,
            self.emit,
            self.record_rows().filter(keep),
            None if self.element is None else self.element.filter(keep),
            None if self.index is None else self.index.filter(keep),
        )

    def _of_records(self, values: pl.Series) -> pl.Series:
        return values if self.rows is None else values.gather(self.rows)


def take(values: pl.Series, names: tuple[str, ...]) -> pl.Series:
    """The values at ``names`` below ``values``."""
    for name in names:
        dtype = values.dtype
        if isinstance(dtype, pl.Struct):
            if name not in {field.name for field in dtype.fields}:
                return pl.Series(name, [None], dtype=pl.String).new_from_index(0, len(values))
            values = values.struct.field(name)
        elif not isinstance(dtype, pl.Null):
            wrong = pl.lit(f"{WRONG_TYPE}{dtype}")
            column = pl.when(pl.col("v").is_not_null()).then(wrong)
            return pl.DataFrame({"v": values}).select(column).to_series()
    return values


def explode(records: Records, emit: Emit) -> tuple[View, dict[int, str]]:
    """The view of a block, before its ``when``, and the records that it cannot take.

    Returns:
        The view, and for records whose field is no list, or too long a one, what is wrong.
    """
    if emit.explode is None:
        return View(records, emit), {}
    names = split_path(emit.explode)
    fields = records.fields
    lists = pl.Series([None], dtype=pl.List(pl.String)).new_from_index(0, fields.height)
    refused: dict[int, str] = {}
    if names[0] in fields.columns:
        found = take(fields[names[0]], names[1:])
        if isinstance(found.dtype, pl.Array):
            found = found.arr.to_list()
        if isinstance(found.dtype, pl.List):
            lists = found
        else:
            shown = as_text(found)
            refused = {
                row: f"{emit.explode}: {shown[row]!r:.80} is not a list"
                for row in shown.is_not_null().arg_true()
            }
    counts = lists.list.len().fill_null(0).to_numpy()
    for row in np.flatnonzero(counts > STRIDE).tolist():
        refused[row] = f"{emit.explode}: {counts[row]} elements, at most {STRIDE} are taken"
    if refused:
        counts = np.where(counts > STRIDE, 0, counts)
    kept = pl.Series(counts > 0)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return View(
        records,
        emit,
        rows=pl.Series(np.repeat(np.arange(len(counts), dtype=np.uint32), counts)),
        element=lists.filter(kept).explode(),
        index=pl.Series((np.arange(int(counts.sum())) - starts).astype(np.int32)),
    ), refused


def matches(view: View, null_tokens: Mapping[str, None]) -> pl.Series:
    """Which rows a block's ``when`` is for."""
    when = view.emit.when
    if when is None:
        return pl.Series([True]).new_from_index(0, view.height)
    values = blank(view.get(when.path), null_tokens)
    if when.equals is None:
        return values.is_not_null()
    return as_text(values).is_in(list(when.equals)).fill_null(value=False)


def blank(values: pl.Series, null_tokens: Mapping[str, None]) -> pl.Series:
    """The values with null tokens (of texts) and NaN (of floats) as nulls."""
    dtype = values.dtype
    if isinstance(dtype, (pl.Float32, pl.Float64)):
        return values.fill_nan(None)
    if not isinstance(dtype, pl.String) or not null_tokens or values.null_count() == len(values):
        return values
    tokens = list(null_tokens)
    empty = values == tokens[0] if len(tokens) == 1 else values.is_in(tokens)
    if not empty.any():
        return values
    column = pl.when(~pl.col("e")).then(pl.col("v"))
    return pl.DataFrame({"v": values, "e": empty}).select(column).to_series()
