"""Reads samples of the offline table, ``<offline>/<rule>/dt=/hour=/part-*.parquet``.

Always holds: batches come in the order of hours, files and rows, those of one shard and of another
have no row in common and all shards together have all; a row is of the time asked for by its
``anchor_ts`` exactly, whatever zone the folders are named in; a batch is of one row group.

Not promised: hours that are exported while one reads, before the place that is read. An hour
exported anew after a position in it was noted is refused: nothing says what followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from labeling.config.hints import nearest
from labeling.errors import DataError
from labeling.samples.batch import Batch, Position, Shard, whole

_HOUR: Final = re.compile(r"dt=(\d{4}-\d\d-\d\d)/hour=(\d\d)/")
#: Clocks of the world are at most so far before and behind UTC; and an hour is an hour.
_BEFORE: Final = timedelta(hours=14)
_AFTER: Final = timedelta(hours=14)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is read of each file."""

    from_ts: datetime | None
    to_ts: datetime | None
    columns: tuple[str, ...] | None
    batch_rows: int
    shard: Shard

    def may_hold(self, name: str) -> bool:
        """Whether rows of the time may lie in a file of this name."""
        found = _HOUR.match(name)
        if found is None:
            return True
        day, hour = found.groups()
        at = datetime.fromisoformat(f"{day}T{hour}:00").replace(tzinfo=UTC)
        early = self.to_ts is not None and at - _BEFORE >= self.to_ts
        late = self.from_ts is not None and at + _AFTER <= self.from_ts
        return not early and not late

    def mine(self, name: str, group: int) -> bool:
        """Whether a row group is this shard's."""
        place, count = self.shard
        return (crc32(name.encode()) + group) % count == place

    def of_the_time(self) -> pl.Expr:
        """Which rows are."""
        # Polars compares times of one unit and zone alone.
        at, holds = pl.col("anchor_ts").cast(pl.Datetime("us", "UTC")), pl.lit(value=True)
        if self.from_ts is not None:
            holds = holds & (at >= self.from_ts.astimezone(UTC))
        return holds if self.to_ts is None else holds & (at < self.to_ts.astimezone(UTC))


def read_parquet(
    folder: Path | str,
    *,
    from_ts: datetime | None = None,
    to_ts: datetime | None = None,
    columns: Sequence[str] | None = None,
    batch_rows: int = 8_192,
    shard: Shard = (0, 1),
    position: Position | None = None,
) -> Iterator[Batch]:
    """Samples of the offline table in batches.

    Args:
        folder: of a rule, ``<offline>/<rule>``; or the one above, where it has one rule.
        from_ts: first ``anchor_ts``, with a zone, inclusive; None: from the beginning.
        to_ts: end of ``anchor_ts``, with a zone, exclusive; None: all there is.
        columns: those wanted, in their order; None: all.
        batch_rows: at most so many samples in a batch.
        shard: ``(place, number)`` of those who share the reading, by row group.
        position: of the batch after which to go on, read with the same shard; None: begin.

    Yields:
        Batches that are not empty.

    Raises:
        DataError: no such folder or column, a damaged file, or an hour that was exported anew
            since the position was noted.
        ValueError: a time without a zone, or no such shard.

    Example:
        ``read_parquet("offline/note_samples", from_ts=datetime(2026, 11, 19, 10, tzinfo=zone),
        to_ts=datetime(2026, 11, 20, 10, tzinfo=zone))`` is yesterday ten to today ten.
    """
    for at in (from_ts, to_ts):
        if at is not None and at.tzinfo is None:
            raise ValueError(f"{at} has no zone: add tzinfo=ZoneInfo('Asia/Tokyo'), or yours")
    if batch_rows < 1:
        raise ValueError(f"batch_rows = {batch_rows}: 1 or more")
    wanted = None if columns is None else tuple(columns)
    asked = _Asked(from_ts, to_ts, wanted, batch_rows, whole(shard))
    return _batches(_rule_folder(Path(folder)), asked, position)


def _batches(root: Path, asked: _Asked, position: Position | None) -> Iterator[Batch]:
    if position is not None and tuple(position["shard"]) != asked.shard:
        raise DataError(
            f"the position is of shard {tuple(position['shard'])}, this is {asked.shard}: go on "
            "with as many shards as before, or begin anew"
        )
    begun = "" if position is None else str(position["file"])
    names = sorted(p.relative_to(root).as_posix() for p in root.glob("**/part-*.parquet"))
    if begun and begun not in names:
        raise DataError(f"{root / begun} is gone, and the position is in it; begin anew")
    for name in names:
        if name >= begun and asked.may_hold(name):
            yield from _of_file(root, name, asked, position if name == begun else None)


def _of_file(root: Path, name: str, asked: _Asked, position: Position | None) -> Iterator[Batch]:
    try:
        with pq.ParquetFile(root / name) as file:
            size = file.metadata.serialized_size, file.metadata.num_rows
            if position is not None and tuple(position["size"]) != size:
                raise DataError(
                    f"{root / name} was exported anew since the position in it was noted: begin "
                    "its hour anew (from_ts=), or go on after it"
                )
            names = _columns(root / name, file.schema_arrow, asked)
            for group in range(file.num_row_groups):
                first = 0
                if position is not None:
                    first = 0 if group > position["group"] else int(position["row"])
                    if group < position["group"]:
                        continue
                if not asked.mine(name, group) or _outside(file, group, asked):
                    continue
                rows = _frame(file.read_row_group(group, columns=names))
                for row in range(first, rows.height, asked.batch_rows):
                    frame = rows[row : row + asked.batch_rows].filter(asked.of_the_time())
                    if frame.height:
                        end = min(row + asked.batch_rows, rows.height)
                        yield Batch(
                            frame if asked.columns is None else frame.select(asked.columns),
                            {
                                "file": name, "group": group, "row": end, "size": list(size),
                                "shard": list(asked.shard),
                            },
                        )  # fmt: skip
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{root / name} cannot be read: {error}") from error


def _columns(path: Path, schema: Any, asked: _Asked) -> list[str] | None:
    """What to read: the columns wanted, and the time."""
    if asked.columns is None:
        return None
    unknown = [c for c in asked.columns if c not in schema.names]
    if unknown:
        raise DataError(f"{path}: no column {unknown[0]!r}{nearest(unknown[0], schema.names)}")
    return list(dict.fromkeys((*asked.columns, "anchor_ts")))


def _frame(table: Any) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError(f"a table became a {type(frame).__name__}")
    return frame


def _outside(file: Any, group: int, asked: _Asked) -> bool:
    """Whether the statistics of a row group say that none of its rows is of the time."""
    metadata = file.metadata.row_group(group)
    for number in range(metadata.num_columns):
        column = metadata.column(number)
        if column.path_in_schema == "anchor_ts" and column.is_stats_set:
            low, high = column.statistics.min, column.statistics.max
            if not isinstance(low, datetime) or low.tzinfo is None:
                return False
            early = asked.to_ts is not None and low >= asked.to_ts
            return early or (asked.from_ts is not None and high < asked.from_ts)
    return False


def _rule_folder(folder: Path) -> Path:
    """The folder of a rule, where that or the one above it is given."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; `labeling export` makes it")
    if any(folder.glob("dt=*")):
        return folder
    rules = sorted(p.name for p in folder.iterdir() if any(p.glob("dt=*")))
    if len(rules) != 1:
        there = ", ".join(rules) or "no rule that was exported"
        raise DataError(f"{folder} has {there}: name the folder of one rule")
    return folder / rules[0]
