"""JSON records into columns, fast where all are sound, one at a time where one is not.

Always holds: what a record gives depends on its own bytes alone, never on its neighbours. Large
batches are read in bulk (``decode_bulk``), as far as that goes. What is left is read by Polars, the
joined batch at once, every value as its text; that is taken back wherever it could hide something:
a batch that raises is split until the record is found, and a record with a value that may have
been an object, or half a surrogate pair, is read again by ``exact``.

Not promised: that a field which the mapping does not read is looked at beyond its syntax.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import polars as pl

from labeling.io.decode_bulk import MIN_ROWS, BulkReader, readable
from labeling.io.decode_exact import BadJsonError, exact, parse, too_deep
from labeling.io.decode_shape import any_text, outline
from labeling.model.reject import Reason

_ROW: Final = "row"
_WHITE: Final = b" \t\r\n"


@dataclass
class Read:
    """Fields of the records that could be opened.

    ``rows`` is their places in the batch (None: all of them), ``faults`` what is wrong with the
    others, ``clean`` that no text holds a NUL.
    """

    fields: pl.DataFrame
    rows: pl.Series | None = None
    faults: dict[int, tuple[Reason, str]] = field(default_factory=dict)
    clean: bool = False


class JsonReader:
    """Reads records of one shape (``record_shape``), in bulk from ``bulk_rows`` records on."""

    def __init__(self, shape: Mapping[str, pl.DataType], *, bulk_rows: int = MIN_ROWS) -> None:
        self.shape = dict(shape)
        self._bulk_rows = bulk_rows
        self._check = msgspec.json.Decoder(outline(self.shape, msgspec.Raw))
        self._doubt = any_text(self.shape.items(), _may_be_nested)
        self._nul = any_text(self.shape.items(), _has_nul)
        self._bulk = BulkReader(self.shape) if readable(self.shape) else None

    def read(self, payloads: Sequence[bytes | None]) -> Read:
        """Read a batch."""
        if self._bulk is not None and len(payloads) >= self._bulk_rows:
            taken = self._bulk.read(payloads)
            if taken is not None:
                return self._with_rest(payloads, *taken)
        return self._together(payloads)

    def _with_rest(
        self, payloads: Sequence[bytes | None], fields: pl.DataFrame, rows: pl.Series
    ) -> Read:
        """What was taken in bulk, and the records that it left, in their order."""
        if len(rows) == len(payloads):
            return Read(fields, clean=True)
        every = pl.int_range(len(payloads), dtype=pl.UInt32, eager=True)
        left = every.filter(pl.Series([True]).new_from_index(0, len(every)).scatter(rows, False))
        rest = self._together([payloads[row] for row in left])
        found = _Found(self.shape)
        found.frames.append((rows, fields))
        found.frames.append((left if rest.rows is None else left.gather(rest.rows), rest.fields))
        found.faults = {left[row]: fault for row, fault in rest.faults.items()}
        read = found.read()
        read.clean = rest.clean or not rest.fields.select(self._nul).to_series().any()
        return read

    def _together(self, payloads: Sequence[bytes | None]) -> Read:
        """Read a batch by Polars, in one piece if that can be."""
        fast = self._joined(payloads)
        if fast is None:
            return self._apart(payloads)
        fields, doubtful, clean = fast
        if not doubtful:
            return Read(fields, clean=clean)
        rows = pl.int_range(len(payloads), dtype=pl.UInt32, eager=True)
        found = _Found(self.shape)
        found.add_doubtful(payloads, rows, fields, doubtful)
        return found.read()

    def _joined(
        self, payloads: Sequence[bytes | None]
    ) -> tuple[pl.DataFrame, list[int], bool] | None:
        """Fields, places of doubtful records, cleanness; None where a batch cannot be read."""
        try:
            raw = b"\n".join(payloads)  # type: ignore[arg-type]  # a None raises, and is dealt with
        except TypeError:
            return None
        if raw.count(b"\n") != len(payloads) - 1:
            return None
        try:
            fields = pl.read_ndjson(io.BytesIO(raw), schema=self.shape)
        except (pl.exceptions.PolarsError, OSError):
            return None
        if fields.height != len(payloads):
            return None
        escaped = b"\\u" in raw
        mask = fields.select(self._doubt | self._nul if escaped else self._doubt).to_series()
        return fields, (mask.arg_true().to_list() if mask.any() else []), not escaped

    def _apart(self, payloads: Sequence[bytes | None]) -> Read:
        """As ``read``, for a batch with at least one record that the fast way cannot take."""
        found = _Found(self.shape)
        sound: list[int] = []
        records: dict[int, bytes] = {}
        for row, payload in enumerate(payloads):
            if payload is None or not payload.strip(_WHITE):
                found.faults[row] = (Reason.EMPTY_RECORD, "no bytes" if not payload else "blank")
                continue
            try:
                if b"\n" in payload:
                    parse(payload)  # a line break inside a text raises; others are white space
                    payload = payload.replace(b"\n", b" ")  # noqa: PLW2901 - the same record
                records[row] = payload
                payload.decode()
                self._check.decode(payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._single(row, payload, found)
            except BadJsonError as error:
                found.faults[row] = (Reason.BAD_JSON, str(error))
            else:
                sound.append(row)
        self._halves(sound, records, found)
        return found.read()

    def _halves(self, rows: list[int], records: Mapping[int, bytes], found: _Found) -> None:
        """Read records together, else in halves, down to the ones that cannot be read so."""
        if not rows:
            return
        if len(rows) == 1:
            self._single(rows[0], records[rows[0]], found)
            return
        batch = [records[row] for row in rows]
        fast = self._joined(batch)
        if fast is not None:
            fields, doubtful, _ = fast
            found.add_doubtful(batch, pl.Series(rows, dtype=pl.UInt32), fields, doubtful)
            return
        middle = len(rows) // 2
        self._halves(rows[:middle], records, found)
        self._halves(rows[middle:], records, found)

    def _single(self, row: int, payload: bytes, found: _Found) -> None:
        """One record that could not be read with others: by ``exact``, but for deep ones."""
        fast = self._joined([payload]) if too_deep(payload) else None
        if fast is None or fast[1]:
            found.add_exact(row, payload)
        else:
            found.frames.append((pl.Series([row], dtype=pl.UInt32), fast[0]))


class _Found:
    """What was read of a batch so far, in pieces."""

    def __init__(self, shape: Mapping[str, pl.DataType]) -> None:
        self.shape = dict(shape)
        self.frames: list[tuple[pl.Series, pl.DataFrame]] = []
        self.faults: dict[int, tuple[Reason, str]] = {}
        self._rows: list[int] = []
        self._records: list[dict[str, Any]] = []

    def add_exact(self, row: int, payload: bytes) -> None:
        try:
            record = exact(payload, self.shape)
        except BadJsonError as error:
            self.faults[row] = (Reason.BAD_JSON, str(error))
        else:
            self._rows.append(row)
            self._records.append(record)

    def add_doubtful(
        self,
        payloads: Sequence[bytes | None],
        rows: pl.Series,
        fields: pl.DataFrame,
        doubtful: Sequence[int],
    ) -> None:
        """A batch that was read the fast way, its doubtful records read again."""
        sure = pl.Series([True]).new_from_index(0, len(rows))
        if doubtful:
            sure = sure.scatter(list(doubtful), False)
        self.frames.append((rows.filter(sure), fields.filter(sure)))
        for place in doubtful:
            self.add_exact(rows[place], payloads[place] or b"")

    def read(self) -> Read:
        """All pieces in the order of the batch."""
        exact_rows = pl.Series(self._rows, dtype=pl.UInt32)
        pieces = [*self.frames, (exact_rows, pl.DataFrame(self._records, schema=self.shape))]
        rows = pl.concat([piece[0] for piece in pieces])
        fields = pl.concat([piece[1] for piece in pieces])
        order = rows.arg_sort()
        return Read(fields[order], rows.gather(order), self.faults)


def _may_be_nested(text: pl.Expr) -> pl.Expr:
    """Texts that may have been an object or a list."""
    return text.str.starts_with("{") | text.str.starts_with("[")


def _has_nul(text: pl.Expr) -> pl.Expr:
    """Texts with a NUL: an escaped one, or what Polars makes of half a surrogate pair."""
    return text.str.contains("\x00", literal=True)
