"""The faults of a view's rows, in the order in which the columns meet them.

Always holds: a row has at most one fault, the first; ``bad`` is true for exactly the rows that
have one; a detail names the column and shows the value, cut to ``_SHOWN`` characters.

Not promised: speed where most rows are bad: a detail is made by Python, one per reject.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from labeling.io.mapping_fill import Filled
from labeling.io.mapping_values import why
from labeling.io.mapping_view import View
from labeling.model.reject import Reason

#: A reject before it gets its record's position and bytes: ``row`` is the record in its batch.
FAULT_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "row": pl.UInt32(),
    "index": pl.Int32(),
    "reason": pl.String(),
    "detail": pl.String(),
}
_SHOWN: Final = 80


@dataclass(frozen=True)
class Clock:
    """What "now" is for each record, null where unknown, and how far ahead a time may be."""

    now: pl.Series
    skew_ms: int


class Issues:
    """The faults of a view's rows, told in the order of the columns; the first of a row counts."""

    def __init__(self, view: View, index: pl.Series) -> None:
        self.view, self.index = view, index
        self.bad: pl.Series | None = None
        self._parts: list[pl.DataFrame] = []

    def unreadable(self, name: str, filled: Filled, dtype: pl.DataType) -> None:
        """Values that are there and cannot be read."""
        faults = self._new(filled.faults())
        if faults is not None:
            shown = filled.shown.filter(faults)
            self._add(faults, why(shown, dtype, filled.how), _details(name, shown, _hint(dtype)))

    def missing(self, name: str, values: pl.Series) -> None:
        """Nulls, and empty texts, in a required column."""
        gone = values.is_null() if values.null_count() else None
        if isinstance(values.dtype, pl.String) and (empty := values == "").any():
            gone = empty.fill_null(value=True)
        faults = self._new(gone)
        if faults is not None:
            self._add(faults, Reason.MISSING_FIELD, f"{name}: null or empty")

    def future(self, times: pl.Series, clock: Clock) -> None:
        """Times further ahead of the clock than it allows."""
        skew = timedelta(milliseconds=clock.skew_ms)
        latest, soonest = times.max(), clock.now.min()
        if not isinstance(latest, datetime) or not isinstance(soonest, datetime):
            return
        if latest <= soonest + skew:
            return
        now = clock.now if self.view.rows is None else clock.now.gather(self.view.rows)
        late = (times > now + skew).fill_null(value=False)
        faults = self._new(late)
        if faults is not None:
            details = _details("event_ts", times.filter(faults), "is ahead of the clock")
            self._add(faults, Reason.FUTURE_TIMESTAMP, details)

    def unmapped(self, rows: pl.Series | None, shown: pl.Series) -> None:
        """Logged types that ``only_mapped`` refuses."""
        faults = self._new(rows)
        if faults is not None:
            details = _details("event_type", shown.filter(faults), "is not in types")
            self._add(faults, Reason.UNMAPPED_TYPE, details)

    def faults(self, refused: Mapping[int, str], index: int) -> pl.DataFrame:
        """All faults; ``refused`` are records whose list could not be taken."""
        records = pl.DataFrame(
            {
                "row": list(refused),
                "index": [index] * len(refused),
                "reason": [str(Reason.WRONG_TYPE)] * len(refused),
                "detail": list(refused.values()),
            },
            schema=FAULT_SCHEMA,
        )
        return pl.concat([records, *self._parts])

    def _new(self, faults: pl.Series | None) -> pl.Series | None:
        """Those of the faults whose row has none yet, noted; None where there are none."""
        if faults is None:
            return None
        if self.bad is not None:
            faults &= ~self.bad
        if not faults.any():
            return None
        self.bad = faults if self.bad is None else self.bad | faults
        return faults

    def _add(self, faults: pl.Series, reason: pl.Series | str, detail: pl.Series | str) -> None:
        rows = self.view.record_rows().filter(faults)
        data = {
            "row": rows,
            "index": self.index.filter(faults),
            "reason": reason,
            "detail": detail,
        }
        height = len(rows)
        full = {
            name: pl.Series([str(v)]).new_from_index(0, height) if isinstance(v, str) else v
            for name, v in data.items()
        }
        self._parts.append(
            pl.DataFrame(full).select(
                pl.col(name).cast(dtype) for name, dtype in FAULT_SCHEMA.items()
            )
        )


def _hint(dtype: pl.DataType) -> str:
    return "is not a time" if isinstance(dtype, pl.Datetime) else f"is not a {_word(dtype)}"


def _word(dtype: pl.DataType) -> str:
    if dtype.is_integer():
        return "whole number in range"
    words = {"String": "text", "Boolean": "truth value", "Float64": "number"}
    words["List(Float64)"] = "list of numbers"
    return words.get(str(dtype), "list of texts")


def _details(name: str, shown: pl.Series, what: str) -> pl.Series:
    """``column: 'value' what``, each value cut; per reject, not per event."""
    texts = [f"{name}: {_show(value)} {what}" for value in shown.to_list()]
    return pl.Series("detail", texts, dtype=pl.String)


def _show(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_show, value))[:_SHOWN]
    if isinstance(value, str) and value.startswith("\x00"):
        return value[2 : 2 + _SHOWN]
    return repr(value)[:_SHOWN] if isinstance(value, str) else str(value)[:_SHOWN]
