"""One event as JSON, as Avro and as Protobuf, with the schemas of the latter two."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import fastavro
from google.protobuf import descriptor_pb2, message_factory, timestamp_pb2
from google.protobuf.descriptor_pool import DescriptorPool

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
KINDS: Final = ("click", "like", "share")
MAP: Final[dict[str, Any]] = {
    "event_id": "id", "event_ts": "ts", "event_type": "kind", "user_id": "user.id",
    "position": "pos", "value": {"path": "price", "unit": "micro"}, "experiments": "tags",
    "props": "*",
}  # fmt: skip
EMIT: Final[list[dict[str, Any]]] = [
    {"map": {}},
    {"explode": "parts", "map": {"item_id": "element.item", "scene": {"const": "list"}}},
]
AVRO: Final[dict[str, Any]] = {
    "type": "record", "name": "Event", "namespace": "app", "fields": [
        {"name": "id", "type": "string"},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": list(KINDS)}},
        {"name": "user", "type": ["null", {"type": "record", "name": "User", "fields": [
            {"name": "id", "type": ["null", "string"]}]}]},
        {"name": "pos", "type": ["null", "int"]},
        {"name": "price", "type": ["null", {
            "type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}]},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "parts", "type": {"type": "array", "items": {
            "type": "record", "name": "Part", "fields": [{"name": "item", "type": "string"}]}}},
        {"name": "note", "type": "string"},
        {"name": "seen", "type": "boolean"},
    ],
}  # fmt: skip
_OF: Final = descriptor_pb2.FieldDescriptorProto


@dataclass(frozen=True)
class Event:
    """What is logged; ``cents`` is the price."""

    id: str
    ms: int
    kind: str
    user: str | None
    pos: int | None
    cents: int | None
    tags: tuple[str, ...]
    parts: tuple[str, ...]
    note: str
    seen: bool

    def json(self) -> bytes:
        """As a JSON record: a time in epoch ms, a price as a number, absent what is not there."""
        record = {
            "id": self.id, "ts": self.ms, "kind": self.kind,
            "user": None if self.user is None else {"id": self.user},
            "pos": self.pos, "price": None if self.cents is None else self.cents / 100,
            "tags": self.tags, "parts": [{"item": part} for part in self.parts],
            "note": self.note, "seen": self.seen,
        }  # fmt: skip
        return json.dumps({k: v for k, v in record.items() if v is not None}).encode()

    def avro(self, number: int) -> bytes:
        """As Avro of ``AVRO``, in wire format with that schema's number."""
        record = {
            "id": self.id, "ts": EPOCH + timedelta(milliseconds=self.ms), "kind": self.kind,
            "user": None if self.user is None else {"id": self.user}, "pos": self.pos,
            "price": None if self.cents is None else Decimal(self.cents) / 100,
            "tags": list(self.tags), "parts": [{"item": part} for part in self.parts],
            "note": self.note, "seen": self.seen,
        }  # fmt: skip
        return avro_bytes(AVRO, record, number)

    def protobuf(self, number: int) -> bytes:
        """As Protobuf of ``proto_file``, in wire format: the first message, index 0."""
        message = EVENT_CLASS(id=self.id, kind=self.kind, note=self.note, seen=self.seen)
        message.ts.FromMilliseconds(self.ms)
        if self.user is not None:
            message.user.id = self.user
        if self.pos is not None:
            message.pos = self.pos
        if self.cents is not None:
            message.price = self.cents / 100
        message.tags.extend(self.tags)
        for part in self.parts:
            message.parts.add(item=part)
        body: bytes = message.SerializeToString()
        return head(number) + b"\x00" + body


def head(number: int) -> bytes:
    """The magic byte and a schema's number."""
    return b"\x00" + number.to_bytes(4, "big")


def avro_bytes(schema: dict[str, Any], record: Any, number: int) -> bytes:
    """A record in wire format."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), record)
    return head(number) + stream.getvalue()


def proto_file() -> descriptor_pb2.FileDescriptorProto:
    """The .proto of an event, as protoc compiles it."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="app")
    file.dependency.append("google/protobuf/timestamp.proto")
    event = file.message_type.add(name="Event")
    kind = event.enum_type.add(name="Kind")
    for number, name in enumerate(KINDS):
        kind.value.add(name=name, number=number)
    for name in ("User", "Part"):
        field = event.nested_type.add(name=name).field.add(number=1)
        field.name = "id" if name == "User" else "item"
        field.type, field.label = _OF.TYPE_STRING, _OF.LABEL_OPTIONAL
    rows: list[tuple[str, Any, str, bool]] = [
        ("id", _OF.TYPE_STRING, "", False),
        ("ts", _OF.TYPE_MESSAGE, ".google.protobuf.Timestamp", False),
        ("kind", _OF.TYPE_ENUM, ".app.Event.Kind", False),
        ("user", _OF.TYPE_MESSAGE, ".app.Event.User", False),
        ("pos", _OF.TYPE_INT32, "", False),
        ("price", _OF.TYPE_DOUBLE, "", False),
        ("tags", _OF.TYPE_STRING, "", True),
        ("parts", _OF.TYPE_MESSAGE, ".app.Event.Part", True),
        ("note", _OF.TYPE_STRING, "", False),
        ("seen", _OF.TYPE_BOOL, "", False),
    ]
    for number, (name, kind_of, of, several) in enumerate(rows, 1):
        label = _OF.LABEL_REPEATED if several else _OF.LABEL_OPTIONAL
        event.field.add(name=name, number=number, type=kind_of, type_name=of or None, label=label)
    return file


def serialized(file: descriptor_pb2.FileDescriptorProto) -> str:
    """As a registry has it."""
    return base64.b64encode(file.SerializeToString()).decode()


def _event_class() -> Any:
    pool = DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(proto_file())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("app.Event"))


EVENT_CLASS: Final = _event_class()
