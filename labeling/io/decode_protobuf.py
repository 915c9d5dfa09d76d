"""Protobuf messages with the descriptors that the registry has, made at run time.

Always holds: fields have the names of the .proto; an enum is its value's name; Timestamp is a time,
Duration seconds, a wrapper what it wraps; a field that was not set is absent where the schema can
tell (messages, ``optional``, ``oneof``), else it is its default.

Not promised: that bytes of another message are refused. Protobuf cannot tell that: what it does
not know it passes over.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC
from decimal import Decimal
from functools import cache
from typing import Any, Final

from confluent_kafka.schema_registry.confluent import meta_pb2
from confluent_kafka.schema_registry.confluent.type import decimal_pb2
from google.protobuf import (
    any_pb2,
    api_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    message_factory,
    source_context_pb2,
    struct_pb2,
    timestamp_pb2,
    type_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import DescriptorPool

from labeling.io.registry import WriterSchema

#: Files that a schema may import without the registry having them.
_KNOWN: Final = (
    descriptor_pb2, any_pb2, source_context_pb2, type_pb2, api_pb2, duration_pb2, empty_pb2,
    field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2, meta_pb2, decimal_pb2,
)  # fmt: skip
_WRAPPERS: Final = {
    f"google.protobuf.{name}" for name in wrappers_pb2.DESCRIPTOR.message_types_by_name
}
_STRUCTS: Final = {"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"}
_NANO: Final = 10**9
_MORE: Final = 0x80


class ProtobufSchema:
    """The messages of one schema.

    Raises:
        ValueError, TypeError: it cannot be used: not base64, not a file, or an import is missing.
    """

    def __init__(self, schema: WriterSchema) -> None:
        pool = DescriptorPool()
        for known in _KNOWN:
            pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
        texts = [*schema.references, (f"schema-{schema.number}.proto", schema.text)]
        names = {known.DESCRIPTOR.name for known in _KNOWN}
        for name, text in texts:
            if name not in names:
                file = _file(text)
                file.name = name
                pool.Add(file)
        self._file = pool.FindFileByName(texts[-1][0])
        self._readers: dict[tuple[int, ...], Callable[[bytes], dict[str, Any]]] = {}

    def reader(self, path: tuple[int, ...]) -> Callable[[bytes], dict[str, Any]]:
        """A function that decodes bodies of one message, named by its indexes; raises DecodeError.

        Raises:
            ValueError: there is no such message.
        """
        if path not in self._readers:
            made = message_factory.GetMessageClass(_find(self._file, path))
            self._readers[path] = lambda body: _fields(made.FromString(body))
        return self._readers[path]


def message_path(body: bytes) -> tuple[tuple[int, ...], int]:
    """The indexes of the message in its schema, and how many bytes they take.

    Raises:
        ValueError: they are cut, or negative.
    """
    count, place = _varint(body, 0)
    if not count:
        return (0,), place
    if not 0 < count <= len(body):
        raise ValueError(f"{count} message indexes")
    path = []
    for _ in range(count):
        index, place = _varint(body, place)
        path.append(index)
    return tuple(path), place


def _varint(body: bytes, place: int) -> tuple[int, int]:
    """A zigzag varint and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(body):
            break
        byte = body[place]
        place += 1
        value |= (byte & ~_MORE) << shift
        if byte < _MORE:
            return (value >> 1) ^ -(value & 1), place
    raise ValueError("the message indexes are cut")


def _file(text: str) -> descriptor_pb2.FileDescriptorProto:
    try:
        return descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
    except binascii.Error:
        raise ValueError("the registry does not give the schema in serialized form") from None


def _find(file: Any, path: Sequence[int]) -> Descriptor:
    messages = list(file.message_types_by_name.values())
    found: Descriptor | None = None
    for index in path:
        if not 0 <= index < len(messages):
            raise ValueError(f"no message {list(path)} in the schema")
        found = messages[index]
        messages = list(found.nested_types)
    if found is None:
        raise ValueError("no message is named")
    return found


@cache
def _plan(descriptor: Any) -> tuple[tuple[str, bool, Callable[[Any], Any] | None], ...]:
    """For each field its name, whether it tells that it is absent, and how it is read."""
    return tuple((field.name, field.has_presence, _way(field)) for field in descriptor.fields)


def _way(field: Any) -> Callable[[Any], Any] | None:
    """How the value of a field is read; None: it is taken as it is."""
    one = _single(field)
    if not field.is_repeated:
        return one
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of = _single(field.message_type.fields_by_name["value"]) or (lambda value: value)
        return lambda value: {_key(key): of(value[key]) for key in value}
    return list if one is None else lambda value: [one(part) for part in value]


def _single(field: Any) -> Callable[[Any], Any] | None:
    """How one value of a field is read."""
    if field.enum_type is not None:
        names = {number: value.name for number, value in field.enum_type.values_by_number.items()}
        return lambda value: names.get(value, value)
    return None if field.message_type is None else _message


def _fields(message: Any) -> dict[str, Any]:
    """The fields of a message by name."""
    found: dict[str, Any] = {}
    for name, optional, way in _plan(message.DESCRIPTOR):
        if not optional or message.HasField(name):
            value = getattr(message, name)
            found[name] = value if way is None else way(value)
    return found


def _key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _message(message: Any) -> Any:
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        return message.ToDatetime(tzinfo=UTC)
    if name == "google.protobuf.Duration":
        return Decimal(message.seconds) + Decimal(message.nanos) / _NANO
    if name in _WRAPPERS:
        return message.value
    if name in _STRUCTS:
        return json_format.MessageToDict(message)
    if name == "confluent.type.Decimal":
        return Decimal(int.from_bytes(message.value, "big", signed=True)).scaleb(-message.scale)
    return _fields(message)
