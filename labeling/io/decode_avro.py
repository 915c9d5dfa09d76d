"""Avro records by fastavro, as their writer's schema says.

Always holds: what is given is the whole body, as a record of the schema, names and defaults as the
writer had them; logical types (timestamps, decimal, date, uuid) are Python's.

Not promised: evolution to another schema. The mapping takes the fields that there are.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import fastavro

from labeling.io.registry import WriterSchema


def avro_reader(schema: WriterSchema) -> Callable[[bytes], dict[str, Any]]:
    """A function that decodes bodies of one schema; it raises ValueError, or what fastavro does.

    Raises:
        ValueError: the schema cannot be used; or fastavro's own error for one that it refuses.
    """
    named: dict[str, Any] = {}
    for _, text in schema.references:
        fastavro.parse_schema(json.loads(text), named_schemas=named)
    parsed = fastavro.parse_schema(json.loads(schema.text), named_schemas=named)

    def read(body: bytes) -> dict[str, Any]:
        stream = io.BytesIO(body)
        found = fastavro.schemaless_reader(stream, parsed, None)
        if not isinstance(found, dict):
            raise ValueError(f"not a record but {type(found).__name__}")  # noqa: TRY004 - of data
        if stream.tell() != len(body):
            raise ValueError(f"{len(body) - stream.tell()} bytes behind the record")
        return found

    return read
