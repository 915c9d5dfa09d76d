"""A frame on its way to a person or a program: table, CSV, JSON or Parquet.

Always holds: CSV and JSON keep every row and full precision; times are ISO 8601 in UTC, lists are
JSON. A table on a terminal may cut, and says so.

Not promised: that CSV tells a null from an empty text.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Final

import click
import polars as pl

from labeling.errors import ConfigError

FORMATS: Final = ("table", "csv", "json", "parquet")
#: Rows that a table shows before it is cut.
TABLE_ROWS: Final = 100
_TIME: Final = "%Y-%m-%dT%H:%M:%S%.3fZ"


def emit(frame: pl.DataFrame, form: str, out: Path | None) -> None:
    """Write a frame to ``out``, or to standard output.

    Args:
        frame: what to write.
        form: one of ``FORMATS``.
        out: the file; None for standard output.

    Raises:
        ConfigError: the file cannot be written, or Parquet would go to a terminal.
    """
    if form == "parquet" and out is None and sys.stdout.isatty():
        raise ConfigError("Parquet is not for reading on a terminal; name a file with --out")
    content = _content(frame, form)
    if out is None:
        click.echo(content, nl=False)
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}") from error


def _content(frame: pl.DataFrame, form: str) -> bytes:
    if form == "table":
        return _table(frame).encode()
    if form == "json":
        rows = _texts(frame, lists=False)
        text = rows.write_ndjson() if rows.width else ""
        return text.encode()
    if form == "csv":
        return _texts(frame, lists=True).write_csv().encode()
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def _texts(frame: pl.DataFrame, *, lists: bool) -> pl.DataFrame:
    """Times and bytes, and for CSV lists and structs, as text."""
    exprs = []
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if isinstance(dtype, pl.Datetime):
            exprs.append(column.dt.strftime(_TIME if dtype.time_zone else _TIME[:-1]))
        elif dtype == pl.Binary():
            # Bytes that are no text are shown with replacement characters.
            exprs.append(column.map_elements(_decode, return_dtype=pl.String))
        elif lists and dtype.is_nested():
            packed = pl.struct(column.alias("v")).struct.json_encode()
            text = packed.str.strip_prefix('{"v":').str.strip_suffix("}")
            exprs.append(pl.when(column.is_not_null()).then(text).alias(name))
    return frame.with_columns(exprs)


def _decode(value: bytes) -> str:
    return value.decode(errors="replace")


def _table(frame: pl.DataFrame) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not frame.width:
        return ""
    table = Table()
    for name, dtype in frame.schema.items():
        right = dtype.is_numeric()
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    shown = _texts(frame.head(TABLE_ROWS), lists=True)
    for row in shown.iter_rows():
        table.add_row(*(Text("" if v is None else str(v)) for v in row))
    buffer = io.StringIO()
    console = Console(file=buffer, width=None if sys.stdout.isatty() else _width(shown))
    console.print(table)
    if frame.height > TABLE_ROWS:
        more = frame.height - TABLE_ROWS
        buffer.write(f"... {more:,} more rows; --format csv, json or parquet give all\n")
    return buffer.getvalue()


def _width(frame: pl.DataFrame) -> int:
    """Wide enough that nothing is folded where no terminal sets the width."""
    widths = [
        max([len(name), *(len(str(v)) for v in frame[name].to_list())]) + 3
        for name in frame.columns
    ]
    return sum(widths) + 1
