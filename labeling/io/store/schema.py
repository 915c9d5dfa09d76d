"""What a table of the store is: columns with Polars types, and the SQL that makes it.

Always holds: a frame that went through ``conform`` has exactly the columns and types asked for.

Not promised: that every Polars type can be kept; ``sql_type`` refuses the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import polars as pl

from labeling.model.event import TS

_STR: Final = pl.String()
_I64: Final = pl.Int64()
_I32: Final = pl.Int32()
_BOOL: Final = pl.Boolean()
_U64: Final = pl.UInt64()

_SQL: Final[dict[pl.DataType, str]] = {
    _STR: "VARCHAR",
    _I64: "BIGINT",
    _I32: "INTEGER",
    pl.UInt32(): "UINTEGER",
    _U64: "UBIGINT",
    pl.Float64(): "DOUBLE",
    _BOOL: "BOOLEAN",
    pl.Binary(): "BLOB",
    pl.Date(): "DATE",
    TS: "TIMESTAMPTZ",
    pl.List(_STR): "VARCHAR[]",
    pl.List(_I64): "BIGINT[]",
}


def sql_type(dtype: pl.DataType) -> str:
    """The DuckDB type that keeps a Polars type.

    Raises:
        ValueError: no column of the store can hold it.
    """
    if dtype not in _SQL:
        known = ", ".join(str(t) for t in _SQL)
        raise ValueError(f"type {dtype} cannot be kept in the store; cast it to one of {known}")
    return _SQL[dtype]


@dataclass(frozen=True)
class Column:
    """One column; ``text`` is what docs/store.md says about it."""

    name: str
    dtype: pl.DataType
    text: str
    required: bool = False


@dataclass(frozen=True)
class Table:
    """One table. ``dated`` is the column by which retention tells its days, if it may drop any."""

    name: str
    text: str
    columns: tuple[Column, ...]
    dated: str | None = None

    @cached_property
    def schema(self) -> dict[str, pl.DataType]:
        """Column to Polars type, in order."""
        return {c.name: c.dtype for c in self.columns}

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with this table's columns and types; a missing column is null."""
        return conform(frame, self.schema)

    @property
    def ddl(self) -> str:
        """The statement that makes the table."""
        return create_table(self.name, self.schema, {c.name for c in self.columns if c.required})


def conform(frame: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The frame with exactly these columns and types; a missing column is null."""
    return frame.select(
        pl.col(name)
        if frame.schema.get(name) == dtype
        else (pl.col(name) if name in frame.columns else pl.lit(None).alias(name)).cast(dtype)
        for name, dtype in schema.items()
    )


def create_table(name: str, schema: dict[str, pl.DataType], required: set[str]) -> str:
    """``CREATE TABLE`` for columns of Polars types, ``required`` ones NOT NULL."""
    lines = (
        f'"{column}" {sql_type(dtype)}{" NOT NULL" if column in required else ""}'
        for column, dtype in schema.items()
    )
    return f'CREATE TABLE "{name}" ({", ".join(lines)})'
