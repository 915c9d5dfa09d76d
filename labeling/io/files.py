"""Source files as batches of records with their positions.

Always holds: ``topic`` is the file (relative to the configuration's folder where it lies in it),
``partition`` 0, ``offset`` the line (JSON, CSV: where the record begins) or row (Parquet) counted
from 1, so that reading a file again gives the same positions; memory is bounded by the batch,
not by the file; a bad line is one record, and never takes the next one with it.

Not promised: that lines of more than ``MAX_RECORD`` bytes are kept whole. ``.gz`` is unpacked by
its name.
"""

from __future__ import annotations

import glob
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final, cast

import polars as pl

from labeling.config.source import SourceConfig
from labeling.errors import DataError
from labeling.io.decode import FieldBatch, RecordBatch
from labeling.io.files_csv import CsvRows
from labeling.model.reject import POSITION_SCHEMA, RAW_LIMIT, REJECT_SCHEMA, Reason

#: A JSON line longer than this is cut, and so becomes one ``bad_json`` reject.
MAX_RECORD: Final = 16 << 20
_CHUNK: Final = 16 << 20
_BOM: Final = b"\xef\xbb\xbf"


def source_files(source: SourceConfig, folder: Path) -> tuple[Path, ...]:
    """The files of a source, sorted by path, each once.

    Raises:
        DataError: its patterns match no file.
    """
    found = {
        Path(name)
        for pattern in source.files
        for name in glob.glob(str(folder / pattern), recursive=True)  # noqa: PTH207 - absolute too
    }
    files = tuple(sorted(path for path in found if path.is_file()))
    if not files:
        patterns = ", ".join(source.files)
        raise DataError(f"[[source]] {source.name!r}: no file matches {patterns} in {folder}")
    return files


def file_topic(path: Path, folder: Path) -> str:
    """What ``topic`` says of a file: its path relative to ``folder``, or absolute outside it."""
    full, base = path.resolve(), folder.resolve()
    return (full.relative_to(base) if full.is_relative_to(base) else full).as_posix()


def read_batches(
    source: SourceConfig, path: Path, folder: Path, *, rows: int = 100_000
) -> Iterator[RecordBatch | FieldBatch]:
    """The records of one file in order.

    Args:
        source: how the file is written.
        path: the file.
        folder: the configuration's folder.
        rows: about how many records a batch has (JSON batches also end at 16 MiB).

    Raises:
        DataError: the file cannot be read, or is not of the source's format at all.
    """
    topic = file_topic(path, folder)
    try:
        if source.format == "parquet":
            yield from _parquet(path, topic, rows)
        elif source.format == "csv":
            yield from _csv(source, path, topic, rows)
        else:
            yield from _json(path, topic, rows)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}; restore the file") from None


def head(batch: RecordBatch | FieldBatch, count: int) -> RecordBatch | FieldBatch:
    """The first records of a batch (faults of columns all stay)."""
    positions = batch.positions.head(count)
    if isinstance(batch, FieldBatch):
        return FieldBatch(batch.fields.head(count), positions, batch.faults)
    return RecordBatch(batch.payloads[:count], positions, batch.broker_clock)


def positions(topic: str, offsets: Sequence[int] | pl.Series) -> pl.DataFrame:
    """``POSITION_SCHEMA`` of records of a file."""
    return pl.DataFrame({"offset": offsets}, schema={"offset": pl.Int64}).select(
        pl.lit("").alias("cluster"),
        pl.lit(topic).alias("topic"),
        pl.lit(0, dtype=pl.Int32).alias("partition"),
        "offset",
        pl.lit(None, dtype=POSITION_SCHEMA["broker_ts"]).alias("broker_ts"),
    )


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def _json(path: Path, topic: str, rows: int) -> Iterator[RecordBatch]:
    done = 0
    with _open(path) as stream:
        for lines in _line_chunks(stream):
            for start in range(0, len(lines), rows):
                part = lines[start : start + rows]
                first = done + start + 1
                offsets = pl.int_range(first, first + len(part), eager=True)
                if b"" in part or b"\r" in part:
                    kept = [n for n, line in enumerate(part) if line not in (b"", b"\r")]
                    part, offsets = [part[n] for n in kept], offsets.gather(kept)
                if part:
                    yield RecordBatch(part, positions(topic, offsets))
            done += len(lines)


def _line_chunks(stream: IO[bytes]) -> Iterator[list[bytes]]:
    """Lists of whole lines without their ends; a line too long is cut, its rest skipped."""
    carry, skipping, first = b"", False, True
    while chunk := stream.read(_CHUNK):
        if first:
            chunk, first = chunk.removeprefix(_BOM), False
        if skipping:
            _, newline, chunk = chunk.partition(b"\n")
            if not newline:
                continue
            skipping = False
        lines = (carry + chunk).split(b"\n")
        carry = lines.pop()
        if len(carry) > MAX_RECORD:
            lines.append(carry[:MAX_RECORD])
            carry, skipping = b"", True
        if lines:
            yield lines
    if carry:
        yield [carry]


def _csv(source: SourceConfig, path: Path, topic: str, rows: int) -> Iterator[FieldBatch]:
    with _open(path) as stream:
        reader = CsvRows(stream, source.delimiter)
        names = reader.names(source.fields, header=source.header, place=str(path))
        for good, bad in reader.batches(len(names), rows):
            fields = pl.DataFrame(
                [line.values for line in good], schema=dict.fromkeys(names, pl.String), orient="row"
            )
            faults = pl.DataFrame(
                {
                    "offset": [line.offset for line in bad],
                    "detail": [line.detail for line in bad],
                    "raw": [line.raw[:RAW_LIMIT] for line in bad],
                    "truncated": [len(line.raw) > RAW_LIMIT for line in bad],
                },
                schema_overrides={"offset": pl.Int64, "raw": pl.Binary, "truncated": pl.Boolean},
            ).with_columns(
                source=pl.lit(None, dtype=pl.String),
                cluster=pl.lit(""),
                topic=pl.lit(topic),
                partition=pl.lit(0),
                index=pl.lit(0),
                broker_ts=pl.lit(None),
                reason=pl.lit(str(Reason.BAD_RECORD)),
            )
            places = positions(topic, [line.offset for line in good])
            yield FieldBatch(
                fields, places, faults.select(pl.col(n).cast(t) for n, t in REJECT_SCHEMA.items())
            )


def _parquet(path: Path, topic: str, rows: int) -> Iterator[FieldBatch]:
    import pyarrow as pa  # noqa: PLC0415 - only Parquet sources pay for it
    import pyarrow.parquet as pq  # noqa: PLC0415 - the same

    done = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=rows):
                fields = pl.DataFrame(pl.from_arrow(batch))
                offsets = pl.int_range(done + 1, done + fields.height + 1, eager=True)
                yield FieldBatch(fields, positions(topic, offsets))
                done += fields.height
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}; restore it") from None
