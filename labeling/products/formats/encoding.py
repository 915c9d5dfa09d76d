"""Samples as the keys and values of a topic's records.

Always holds: whatever the encoding, all records of one sample go to one partition, in their order;
``commit`` and ``at`` grow from record to record of a topic, and are the same where a record is sent
again.

Not promised: that a message of one huge row is below what the brokers take.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Final

import polars as pl
from polars.interchange import CompatLevel

#: Kafka takes messages of 1 MB unless told otherwise.
_MOST_BYTES: Final = 900_000
_MOST_ROWS: Final = 10_000
_SCHEMA: Final = {"key": pl.Binary(), "value": pl.Binary()}


def json_records(rows: pl.DataFrame) -> pl.DataFrame:
    """One record for each row: the key is the user, the value an object."""
    value = pl.struct(rows.columns).struct.json_encode()
    return rows.select(key=pl.col("user_id").cast(pl.Binary), value=value.cast(pl.Binary))


def arrow_records(rows: pl.DataFrame) -> pl.DataFrame:
    """One record for rows of one hour of ``anchor_ts``: the key is the hour, the value a stream.

    The stream is Arrow's IPC format with columns that any Arrow library reads.
    """
    hour = pl.col("anchor_ts").dt.strftime("%Y-%m-%dT%H")
    parts = rows.with_columns(hour.alias("@hour")).partition_by("@hour", maintain_order=True)
    records = [
        (part["@hour"][0].encode(), message)
        for part in parts
        for message in _messages(part.drop("@hour"))
    ]
    return pl.DataFrame(records, schema=_SCHEMA, orient="row")


def _messages(rows: pl.DataFrame) -> Iterator[bytes]:
    """Streams of as many rows as a message may hold."""
    for part in rows.iter_slices(_MOST_ROWS):
        stream = BytesIO()
        part.write_ipc_stream(stream, compat_level=CompatLevel.oldest())
        if stream.tell() <= _MOST_BYTES or part.height == 1:
            yield stream.getvalue()
            continue
        half = part.height // 2
        yield from _messages(part[:half])
        yield from _messages(part[half:])
