"""JSON records into columns, fast where all are sound, one at a time where one is not.

Always holds: what a record gives depends on its own bytes alone, never on its neighbours. The
fast way (Polars reads the joined batch, every value as its text) is taken back wherever it could
hide something: a batch that raises is split until the record is found, and a record with a value
that may have been an object, or half a surrogate pair, is read again by ``exact``.

Not promised: that a field which the mapping does not read is looked at beyond its syntax.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import polars as pl

from labeling.io.decode_exact import BadJsonError, exact, parse, too_deep
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
    """Reads records of one shape (``record_shape``)."""

    def __init__(self, shape: Mapping[str, pl.DataType]) -> None:
        self.shape = dict(shape)
        self._check = msgspec.json.Decoder(_struct(self.shape, "Record"))
        values = [_doubtful(pl.col(name), dtype) for name, dtype in self.shape.items()]
        self._doubt = pl.any_horizontal(values)
        nuls = [_has_nul(pl.col(name), dtype) for name, dtype in self.shape.items()]
        self._doubt_escaped = pl.any_horizontal(*values, *nuls)

    def read(self, payloads: Sequence[bytes | None]) -> Read:
        """Read a batch."""
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
        doubt = self._doubt_escaped if escaped else self._doubt
        mask = fields.select(doubt.fill_null(value=False)).to_series()
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


def _struct(shape: Mapping[str, pl.DataType], name: str) -> type[msgspec.Struct]:
    """A type that msgspec decodes exactly where every part of a record has its shape."""
    names = {f"f{number}": field_name for number, field_name in enumerate(shape)}
    fields = [(f"f{n}", _type(dtype), None) for n, dtype in enumerate(shape.values())]
    return msgspec.defstruct(name, fields, rename=names)


def _type(dtype: pl.DataType) -> Any:
    if isinstance(dtype, pl.Struct):
        return _struct({f.name: _instance(f.dtype) for f in dtype.fields}, "Part") | None
    if isinstance(dtype, pl.List):
        return list[_type(_instance(dtype.inner))] | None  # type: ignore[misc]  # made at run time
    return msgspec.Raw


def _instance(dtype: Any) -> pl.DataType:
    return dtype if isinstance(dtype, pl.DataType) else dtype()


def _leaves(value: pl.Expr, dtype: pl.DataType, test: Any) -> pl.Expr:
    """Whether ``test`` holds for any text of a value of that shape."""
    if isinstance(dtype, pl.Struct):
        return pl.any_horizontal(
            _leaves(value.struct.field(f.name), _instance(f.dtype), test) for f in dtype.fields
        )
    if isinstance(dtype, pl.List):
        return value.list.eval(_leaves(pl.element(), _instance(dtype.inner), test)).list.any()
    found: pl.Expr = test(value)
    return found


def _doubtful(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Texts that may have been an object or a list."""
    return _leaves(value, dtype, lambda t: t.str.starts_with("{") | t.str.starts_with("["))


def _has_nul(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Texts with a NUL: an escaped one, or what Polars makes of half a surrogate pair."""
    return _leaves(value, dtype, lambda t: t.str.contains("\x00", literal=True))
