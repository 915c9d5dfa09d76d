"""An hour of the offline table on disk: one Parquet file, and beside it what it was made from.

Always holds: under their names both files are whole; the marker file is written after the rows that
it tells of, so that it never tells of more than there is. Row groups have as many rows as asked
for, the last one apart. What is being written lies in ``.export`` under the table's root, where no
reader of a rule's folder comes, and the next export clears it.

Not promised: that a reader sees both files of one export. Whoever needs that compares ``rows`` of
the marker with the file's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.interchange import CompatLevel

from labeling.errors import ConfigError, DataError
from labeling.io import leases
from labeling.io.durable import make_folder, put_in_place

#: The rows of an hour.
PART: Final = "part-0.parquet"
#: What they were made from. Readers of Hive tables leave out names that begin like this.
MARKER: Final = "_marker.json"
#: Of the layout: columns of folders, which no file may have.
PARTITIONS: Final = ("dt", "hour")
_WORK: Final = ".export"


@dataclass(frozen=True)
class OfflineFolder:
    """The root of the offline table.

    Args:
        root: ``[offline] path``.
    """

    root: Path

    @contextmanager
    def alone(self) -> Iterator[Path]:
        """An empty folder for what is being written, for the one exporter that there is.

        Raises:
            StoreError: the folder cannot be written.
            ConfigError: another process exports to it.
        """
        work = self.root / _WORK
        with _explained(work):
            make_folder(work)
        with leases.alone(work / "export") as mine:
            if not mine:
                raise ConfigError(
                    f"another process exports to {self.root}; stop it, or give each a path of its "
                    "own under [offline]"
                )
            try:
                yield _emptied(work / "hour")
            finally:
                shutil.rmtree(work / "hour", ignore_errors=True)

    def marker(self, table: str, hour: str) -> dict[str, Any] | None:
        """What an hour was made from; None where it has to be made (again)."""
        folder = self.root / table / hour
        try:
            told = json.loads((folder / MARKER).read_bytes())
            size = (folder / PART).stat().st_size
        except (FileNotFoundError, ValueError):
            return None
        return told if isinstance(told, dict) and told.get("bytes") == size else None

    def put_rows(self, part: Path, table: str, hour: str) -> None:
        """Put an hour's file in its place.

        Raises:
            DataError: the disk refuses.
        """
        folder = self.root / table / hour
        with _explained(folder):
            make_folder(folder)
            put_in_place(part, folder / PART)

    def put_marker(self, work: Path, table: str, hour: str, told: Mapping[str, Any]) -> None:
        """Write what an hour was made from, and put it in its place.

        Raises:
            DataError: the disk refuses.
        """
        folder = self.root / table / hour
        with _explained(folder):
            half = work / MARKER
            half.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
            put_in_place(half, folder / MARKER)


def clear(work: Path) -> None:
    """Take away what is left of an hour that was written, or given up."""
    _emptied(work)


def write_parquet(
    frames: Iterator[pl.DataFrame], path: Path, keys: tuple[str, ...], row_group: int
) -> int:
    """Write sorted frames into one file; the number of its rows.

    Args:
        frames: at least one; all of one schema.
        path: the file.
        keys: the columns by which they are sorted; the file says so.
        row_group: rows of a row group.

    Raises:
        DataError: the disk refuses.
    """
    rows = 0
    first = next(frames)
    schema = _arrow(first).schema
    order = pq.SortingColumn.from_ordering(schema, [(key, "ascending") for key in keys])
    with (
        _explained(path),
        pq.ParquetWriter(path, schema, compression="zstd", sorting_columns=order) as writer,
    ):
        for table in _groups(first, frames, row_group):
            writer.write_table(table, row_group_size=row_group)
            rows += table.num_rows
    return rows


def _groups(first: pl.DataFrame, more: Iterator[pl.DataFrame], size: int) -> Iterator[pa.Table]:
    """The rows in tables of whole row groups; what remains comes last."""
    held = first
    for frame in more:
        whole = held.height - held.height % size
        if whole:
            yield _arrow(held[:whole])
        held = pl.concat([held[whole:], frame])
    yield _arrow(held)


def _arrow(frame: pl.DataFrame) -> pa.Table:
    """In types that every reader of Parquet knows."""
    return frame.to_arrow(compat_level=CompatLevel.oldest())


def _emptied(folder: Path) -> Path:
    """The folder, made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    with _explained(folder):
        make_folder(folder)
    return folder


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say what the disk refused."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path} could not be written: {error.strerror or error}; free some space or fix the "
            "folder's permissions and run this again",
            transient=True,
        ) from error
