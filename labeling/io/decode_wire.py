"""Avro and Protobuf records as Kafka has them: a 0, the schema's number, and the body.

Always holds: a record gives its fields or one fault, whatever its neighbours are; records of one
schema are read together; a schema is taken from the registry once. Where the registry does not
answer the whole batch is refused (``RegistryUnavailable``) and nothing of it is lost.

Not promised: order. The parts come by schema; each tells its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import polars as pl

from labeling.errors import LabelingError
from labeling.io.decode_avro import avro_reader
from labeling.io.decode_protobuf import ProtobufSchema, message_path
from labeling.io.decode_values import columns, rest_json
from labeling.io.registry import Registry, UnknownSchemaError
from labeling.model.reject import Reason

WireFormat = Literal["avro", "protobuf"]
_HEAD: Final = 5
_BAD: Final = {"avro": Reason.BAD_AVRO, "protobuf": Reason.BAD_PROTOBUF}


@dataclass
class WirePart:
    """Records of one schema: their rows in the batch, rising, and their values."""

    rows: list[int] = field(default_factory=list)
    values: list[dict[str, Any]] = field(default_factory=list)

    def fields(self, shape: Mapping[str, pl.DataType]) -> pl.DataFrame:
        """The fields of a shape, one row per record."""
        return columns(self.values, shape)

    def rest(self, places: pl.Series, used: Collection[str]) -> pl.Series:
        """The records at these places without the fields used, as JSON; null where none is left."""
        texts = {place: rest_json(self.values[place], used) for place in places.unique().to_list()}
        return pl.Series([texts[place] for place in places.to_list()], dtype=pl.String)


@dataclass
class WireRead:
    """A batch by schema, and what is wrong with the records that could not be read."""

    parts: list[WirePart]
    faults: dict[int, tuple[Reason, str]]


class WireReader:
    """Reads records of one format with the schemas of one registry."""

    def __init__(self, form: WireFormat, registry: Registry) -> None:
        self._form: WireFormat = form
        self._registry = registry
        self._bodies: dict[int, Callable[[bytes], dict[str, Any]]] = {}

    def read(self, payloads: Sequence[bytes | None]) -> WireRead:
        """Read a batch.

        Raises:
            RegistryUnavailable: a schema is needed that the registry cannot be asked for now.
        """
        parts: dict[int, WirePart] = {}
        faults: dict[int, tuple[Reason, str]] = {}
        unknown: dict[int, str] = {}
        for row, payload in enumerate(payloads):
            if not payload:
                faults[row] = (Reason.EMPTY_RECORD, "no bytes")
                continue
            try:
                number = _schema_number(payload)
                values = self._body(number, unknown)(payload[_HEAD:])
            except UnknownSchemaError as error:
                faults[row] = (Reason.UNKNOWN_SCHEMA, str(error))
            except LabelingError:
                raise
            except Exception as error:  # noqa: BLE001 - the libraries raise what comes up in bytes
                faults[row] = (_BAD[self._form], f"{type(error).__name__}: {error}"[:200])
            else:
                part = parts.setdefault(number, WirePart())
                part.rows.append(row)
                part.values.append(values)
        return WireRead(list(parts.values()), faults)

    @staticmethod
    def no_part() -> WirePart:
        """A part of no records."""
        return WirePart()

    def _body(self, number: int, unknown: dict[int, str]) -> Callable[[bytes], dict[str, Any]]:
        """What decodes the bodies of a schema; one that is unknown is asked for once per batch."""
        if number in unknown:
            raise UnknownSchemaError(unknown[number])
        if number not in self._bodies:
            try:
                self._bodies[number] = self._made(number)
            except UnknownSchemaError as error:
                unknown[number] = str(error)
                raise
        return self._bodies[number]

    def _made(self, number: int) -> Callable[[bytes], dict[str, Any]]:
        schema = self._registry.schema(number)
        if schema.kind != self._form.upper():
            said = f"schema {number} is {schema.kind}, the source's format is {self._form}"
            raise UnknownSchemaError(said)
        try:
            if self._form == "avro":
                return avro_reader(schema)
            messages = ProtobufSchema(schema)
        except Exception as error:  # noqa: BLE001 - as in read
            said = f"schema {number} cannot be used: {type(error).__name__}: {error}"[:200]
            raise UnknownSchemaError(said) from None

        def read(body: bytes) -> dict[str, Any]:
            path, size = message_path(body)
            return messages.reader(path)(body[size:])

        return read


def _schema_number(payload: bytes) -> int:
    if payload[0] != 0:
        raise ValueError(f"begins with {payload[0]}, not with 0 and a schema's number")
    if len(payload) < _HEAD:
        raise ValueError(f"{len(payload)} bytes, too short for a schema's number")
    return int.from_bytes(payload[1:_HEAD], "big")
