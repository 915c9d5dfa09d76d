"""Batches of records into events and rejects, the same way whatever they came from.

Always holds: a batch never fails for what is in it; every record gives events, rejects, or
nothing where the mapping asks for nothing of it, and ``records`` counts them all; a record that
cannot be opened is one reject. What a record gives depends on its own bytes, position and clock.

Not promised: order beyond that of the batch; that repeats are found. Nothing here reads a clock:
the caller gives the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
import polars as pl

from labeling.config.source import SourceConfig
from labeling.errors import ConfigError
from labeling.io.decode_json import JsonReader
from labeling.io.mapping import Mapped, Mapper, together
from labeling.io.mapping_issues import FAULT_SCHEMA, Clock
from labeling.io.mapping_view import Records
from labeling.model.event import TS
from labeling.model.reject import POSITION_SCHEMA, RAW_LIMIT, REJECT_SCHEMA, REPEAT_LIMIT, Reason

if TYPE_CHECKING:
    from labeling.io.decode_wire import WirePart, WireReader
    from labeling.io.registry import Registry


@dataclass(frozen=True)
class RecordBatch:
    """Records as bytes.

    Attributes:
        payloads: one per record; None is a tombstone.
        positions: ``POSITION_SCHEMA``, one row per record.
        broker_clock: ``broker_ts`` is the time of the append (LogAppendTime), and the clock.
    """

    payloads: Sequence[bytes | None]
    positions: pl.DataFrame
    broker_clock: bool = False


@dataclass(frozen=True)
class FieldBatch:
    """Records as columns, as CSV and Parquet give them.

    Attributes:
        fields: one row per record that could be opened.
        positions: ``POSITION_SCHEMA``, row by row beside ``fields``.
        faults: ``REJECT_SCHEMA``, one row per record that could not; ``source`` is filled here.
    """

    fields: pl.DataFrame
    positions: pl.DataFrame
    faults: pl.DataFrame | None = None


@dataclass(frozen=True)
class Decoded:
    """What a batch gave.

    Attributes:
        events: the contract and the declared columns, then source, cluster, topic, partition,
            offset, index, broker_ts.
        rejects: ``REJECT_SCHEMA``.
        records: how many records there were.
        silent: how many of them gave neither an event nor a reject.
    """

    events: pl.DataFrame
    rejects: pl.DataFrame
    records: int
    silent: int


class Decoder:
    """Decodes the records of one source; made once, used for every batch.

    Args:
        source: the source, as configured.
        extra: the declared columns, as in ``[columns]``.
        max_clock_skew_ms: how far ahead of the clock a time may be, in ms, inclusive.
        registry: of the source's cluster (``source_registry``), for Avro and Protobuf.

    Raises:
        ConfigError: the mapping cannot work; the message names the source and the column. Or the
            format needs a registry and there is none.
    """

    def __init__(
        self,
        source: SourceConfig,
        extra: Mapping[str, str] | None = None,
        *,
        max_clock_skew_ms: int = 5 * 60_000,
        registry: Registry | None = None,
    ) -> None:
        self.source = source
        self._mapper = Mapper(source, extra)
        self._reader = JsonReader(self._mapper.shape)
        self._wire = _wire_reader(source, registry)
        self._skew_ms = max_clock_skew_ms

    def decode(self, batch: RecordBatch | FieldBatch, now: datetime | None = None) -> Decoded:
        """Decode one batch.

        Bytes are read as JSON where the source's format is of files: a reject of a CSV or Parquet
        source keeps its record as JSON, and is fed again so.

        Args:
            batch: the records.
            now: the clock, with a timezone; None: no time is too far ahead (an import), except
                where the batch has the broker's clock.

        Raises:
            RegistryUnavailable: a schema is needed and the registry does not answer. Nothing was
                decoded; the same batch can be given again.
        """
        if isinstance(batch, FieldBatch):
            return self._decode_fields(batch, now)
        return self._decode_bytes(batch, now)

    def _decode_bytes(self, batch: RecordBatch, now: datetime | None) -> Decoded:
        payloads = batch.payloads
        if not payloads:
            return self._decode_fields(FieldBatch(pl.DataFrame(), batch.positions), now)
        if self._wire is not None:
            return self._decode_wire(self._wire, batch, now)
        read = self._reader.read(payloads)
        positions = batch.positions if read.rows is None else batch.positions[read.rows]
        clock = self._clock(positions, now, broker_clock=batch.broker_clock)

        def original(rows: pl.Series) -> pl.Series:
            return rows if read.rows is None else read.rows.gather(rows)

        mapped = self._mapper(
            Records(read.fields, positions),
            rest=lambda rows: _rest_of_json(payloads, original(rows), self._mapper.shape),
            clock=clock,
            clean=read.clean,
        )
        opened = mapped.faults.with_columns(row=original(mapped.faults["row"]))
        return self._ended(batch, mapped.events, opened, read.faults)

    def _decode_wire(self, wire: WireReader, batch: RecordBatch, now: datetime | None) -> Decoded:
        read = wire.read(batch.payloads)
        parts = [self._mapped(part, batch, now) for part in read.parts]
        # With no part the mapper gives its columns all the same.
        whole = together(parts) if parts else self._mapped(wire.no_part(), batch, now)
        return self._ended(batch, whole.events, whole.faults, read.faults)

    def _mapped(self, part: WirePart, batch: RecordBatch, now: datetime | None) -> Mapped:
        """A part's events and faults, their rows those of the batch."""
        rows = pl.Series(part.rows, dtype=pl.UInt32)
        positions = batch.positions[rows]
        mapped = self._mapper(
            Records(part.fields(self._mapper.shape), positions),
            rest=lambda places: part.rest(places, self._mapper.shape),
            clock=self._clock(positions, now, broker_clock=batch.broker_clock),
        )
        faults = mapped.faults.with_columns(row=rows.gather(mapped.faults["row"]))
        return Mapped(mapped.events, rows.gather(mapped.rows), faults)

    def _ended(
        self,
        batch: RecordBatch,
        events: pl.DataFrame,
        opened: pl.DataFrame,
        closed: Mapping[int, tuple[Reason, str]],
    ) -> Decoded:
        """What a batch gave: events, the faults of opened records, and of those that were not."""
        if opened.is_empty() and not closed:
            return _decoded(events, _NO_REJECTS, len(batch.payloads))
        unread = pl.DataFrame(
            [(row, 0, str(reason), detail) for row, (reason, detail) in closed.items()],
            schema=dict(FAULT_SCHEMA),
            orient="row",
        )
        faults = pl.concat([opened, unread]).sort("row", "index")
        rejects = self._rejects(faults, batch.positions, batch.payloads.__getitem__)
        return _decoded(events, rejects, len(batch.payloads))

    def _decode_fields(self, batch: FieldBatch, now: datetime | None) -> Decoded:
        fields = batch.fields
        used = [name for name in fields.columns if name in self._mapper.shape]
        mapped = self._mapper(
            Records(fields, batch.positions),
            rest=lambda rows: _json(fields.drop(used)[rows]),
            clock=self._clock(batch.positions, now, broker_clock=False),
        )
        rows = mapped.faults["row"].unique().sort()
        texts = dict(zip(rows.to_list(), _json(fields[rows]).to_list(), strict=True))
        rejects = self._rejects(mapped.faults, batch.positions, lambda row: texts[row].encode())
        records = fields.height
        if batch.faults is not None:
            records += batch.faults.height
            closed = batch.faults.with_columns(source=pl.lit(self.source.name))
            rejects = pl.concat([rejects, closed.select(list(REJECT_SCHEMA))]).sort(
                "topic", "partition", "offset", "index"
            )
        return _decoded(mapped.events, rejects, records)

    def _clock(
        self, positions: pl.DataFrame, now: datetime | None, *, broker_clock: bool
    ) -> Clock | None:
        if broker_clock:
            return Clock(positions["broker_ts"], self._skew_ms)
        if now is None:
            return None
        times = pl.Series([now]).cast(TS).new_from_index(0, positions.height)
        return Clock(times, self._skew_ms)

    def _rejects(
        self, faults: pl.DataFrame, positions: pl.DataFrame, raw: Callable[[int], bytes | None]
    ) -> pl.DataFrame:
        places = faults.with_columns(nth=pl.int_range(pl.len()).over("row"))
        raws = [_kept(raw(row) or b"", nth) for row, nth in places.select("row", "nth").iter_rows()]
        columns = faults.with_columns(
            source=pl.lit(self.source.name),
            raw=pl.Series([one for one, _ in raws], dtype=pl.Binary),
            truncated=pl.Series([cut for _, cut in raws], dtype=pl.Boolean),
        )
        places = positions.select(list(POSITION_SCHEMA))[faults["row"]]
        return pl.concat([columns, places], how="horizontal").select(
            pl.col(name).cast(dtype) for name, dtype in REJECT_SCHEMA.items()
        )


def _wire_reader(source: SourceConfig, registry: Registry | None) -> WireReader | None:
    if source.format not in ("avro", "protobuf"):
        return None
    if registry is None:
        raise ConfigError(
            f"[[source]] {source.name!r}: format {source.format!r} needs a schema registry; write "
            "[cluster.NAME.registry] with its url"
        )
    # Only who reads these formats waits for the import of their libraries.
    from labeling.io.decode_wire import WireReader  # noqa: PLC0415 - as said

    return WireReader(source.format, registry)


def _kept(raw: bytes, nth: int) -> tuple[bytes | None, bool]:
    """The bytes that a record's ``nth`` reject carries, and whether they are not all of them."""
    if nth and (nth + 1) * min(len(raw), RAW_LIMIT) > REPEAT_LIMIT:
        return None, True
    return raw[:RAW_LIMIT], len(raw) > RAW_LIMIT


_NO_REJECTS: Final = pl.DataFrame(schema=dict(REJECT_SCHEMA))
_PLACE: Final = ("cluster", "topic", "partition", "offset")


def _decoded(events: pl.DataFrame, rejects: pl.DataFrame, records: int) -> Decoded:
    if rejects.is_empty() and events.height == records and not events["index"].max():
        return Decoded(events, rejects, records, 0)
    seen = pl.concat([events.select(_PLACE), rejects.select(_PLACE)]).n_unique()
    return Decoded(events, rejects, records, records - seen)


_RAW_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _rest_of_json(
    payloads: Sequence[bytes | None], rows: pl.Series, used: Mapping[str, object]
) -> pl.Series:
    """The records without the fields that the mapping reads, as JSON; null where none is left."""
    rest: dict[int, str | None] = {}
    for row in rows.unique().to_list():
        payload = payloads[row] or b""
        try:
            kept = {k: v for k, v in _RAW_OBJECT.decode(payload).items() if k not in used}
            rest[row] = msgspec.json.encode(kept).decode() if kept else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            # A name or number that msgspec refuses and the reader does not: the whole record.
            rest[row] = payload.decode(errors="replace")
    return pl.Series([rest[row] for row in rows.to_list()], dtype=pl.String)


def _json(fields: pl.DataFrame) -> pl.Series:
    """Each row as a JSON object; null where there are no columns."""
    if not fields.width:
        return pl.Series([None], dtype=pl.String).new_from_index(0, fields.height)
    binary = [name for name, dtype in fields.schema.items() if dtype == pl.Binary()]
    texts = fields.with_columns(pl.col(binary).bin.encode("base64"))
    return texts.select(pl.struct(pl.all()).struct.json_encode()).to_series()
