"""Why a record, or one event of it, was refused: a closed list, and the columns of a reject.

Always holds: a reject has exactly one reason of ``Reason``; its position (source, cluster, topic,
partition, offset, index) says which record, and which event of that record, it is, so that
feeding it again after a fix is idempotent; ``raw`` is at most ``RAW_LIMIT`` bytes, and
the rejects of one record together carry at most ``REPEAT_LIMIT`` (null on those past it).

Not promised: that ``raw`` of a record from columns (CSV, Parquet) is the bytes that lay in the
file: it is the record as a JSON object, which the same mapping reads again.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import polars as pl

from labeling.model.event import ORIGIN_SCHEMA


class Reason(StrEnum):
    """The closed list of reason codes, in the order in which a record meets them."""

    EMPTY_RECORD = "empty_record"
    """No bytes: a tombstone, or a payload of white space."""
    BAD_JSON = "bad_json"
    """Not one JSON object in UTF-8."""
    BAD_RECORD = "bad_record"
    """Not a record of the source's format other than JSON: a ragged or unreadable CSV line."""
    BAD_AVRO = "bad_avro"
    """Not an Avro record in Confluent's wire format, or not of the schema that it names."""
    BAD_PROTOBUF = "bad_protobuf"
    """Not a Protobuf message in Confluent's wire format, or not of the schema that it names."""
    UNKNOWN_SCHEMA = "unknown_schema"
    """The registry does not know the schema that the record names, or it cannot be used."""
    UNKNOWN_SOURCE = "unknown_source"
    """A reject to be fed again names a source that the configuration no longer has."""
    WRONG_TYPE = "wrong_type"
    """A value that is not of its column's type: text for a number, an object for a text."""
    BAD_TIMESTAMP = "bad_timestamp"
    """Not a time, a naive one without a ``timezone``, or outside 1970 to 2199."""
    BAD_VALUE = "bad_value"
    """Of the right type and impossible: out of range, not finite, or with a NUL in a text."""
    MISSING_FIELD = "missing_field"
    """A required column is null or empty: event_id, event_ts, event_type or user_id."""
    UNMAPPED_TYPE = "unmapped_type"
    """``only_mapped`` is set and ``types`` does not name the event's logged type."""
    FUTURE_TIMESTAMP = "future_timestamp"
    """Further ahead of the clock than ``max_clock_skew``."""


#: At most this many bytes of a record are kept; ``truncated`` tells that there were more.
RAW_LIMIT: Final = 64 * 1024

#: A list may have many bad elements: its record's bytes are repeated up to this many in all.
REPEAT_LIMIT: Final = 1 << 20

#: Where a record came from, as a decoder is told: ``offset`` is the Kafka offset, or in a file the
#: line (JSON, CSV) or row (Parquet) counted from 1; ``broker_ts`` is null for files.
POSITION_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    name: ORIGIN_SCHEMA[name] for name in ("cluster", "topic", "partition", "offset", "broker_ts")
}

#: The columns of origin that a decoder fills: those of the archive without the outcome.
DECODED_ORIGIN: Final[Mapping[str, pl.DataType]] = {
    name: dtype for name, dtype in ORIGIN_SCHEMA.items() if name not in ("arrival", "archived")
}

#: Columns of a reject: its origin, then reason (one of ``Reason``), detail (names the column and
#: the value), raw (the record's bytes) and truncated (whether raw was cut).
REJECT_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    **DECODED_ORIGIN,
    "reason": pl.String(),
    "detail": pl.String(),
    "raw": pl.Binary(),
    "truncated": pl.Boolean(),
}
