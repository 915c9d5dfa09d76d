"""Columns that several of the store's tables have.

Always holds: a column of one name means the same in every table.

Not promised: that a table has them all.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from labeling.io.store.schema import Column
from labeling.model.event import TS
from labeling.model.table import ROW_KEY_SCHEMA, TOUCH_KEY_SCHEMA

STR: Final = pl.String()
I64: Final = pl.Int64()
I32: Final = pl.Int32()
BOOL: Final = pl.Boolean()
U64: Final = pl.UInt64()

COMMIT: Final = Column("commit", I64, "the commit that wrote the row", required=True)
RULE: Final = (
    Column("rule", STR, "name of the rule", required=True),
    Column("version", I32, "version of the rule", required=True),
)
KEY: Final = tuple(
    Column(name, dtype, "key of the row", required=True) for name, dtype in ROW_KEY_SCHEMA.items()
)
#: Last in a table that rows of all rules share: a store made before there were touches gets them.
TOUCH_KEY: Final = tuple(
    Column(name, dtype, "key of the row of an attribution; null for labels")
    for name, dtype in TOUCH_KEY_SCHEMA.items()
)
IDENTITY: Final = (
    Column("user_id", STR, "identity of the event", required=True),
    Column("event_ts", TS, "identity of the event: when it happened", required=True),
    Column("event_id", STR, "identity of the event", required=True),
)
#: Where a record came from: the columns that make a position.
POSITION: Final[dict[str, pl.DataType]] = {
    "source": STR,
    "cluster": STR,
    "topic": STR,
    "partition": I32,
    "offset": I64,
    "index": I32,
}
_POSITION_TEXT: Final = {
    "source": "name of the source in the configuration",
    "cluster": "Kafka cluster; null for a file",
    "topic": "topic, or the file's name",
    "partition": "partition; null or 0 for a file",
    "offset": "offset, or the line or row of the file, from 1",
    "index": "the event's place in its record, from 0",
}


def position(prefix: str = "", of: str = "") -> tuple[Column, ...]:
    """The columns of a position, their names with a prefix, ``of`` what it is the position of."""
    return tuple(
        Column(prefix + name, dtype, _POSITION_TEXT[name] + of) for name, dtype in POSITION.items()
    )
