"""The archive: every event that was taken in, as Parquet by hour of event time.

Always holds: a file appears under its name whole and on disk, or not at all (temporary name,
fsync, rename, fsync of the folder), and is never changed afterwards. The rows of an hour's file are
sorted by ``(user_key, event_ts, event_id)`` in row groups of 65,536, so that a range of users reads
only the groups that hold it; those of a stream's tail lie as they came. Where ``archived`` is null
in a file, it is the commit that named the file, and is read so. What is read has exactly the
contract's and the declared types; a column that a file does not have yet is null, one that is no
longer declared is left out.

Not promised: that a file in the folder belongs to the archive. The store's ``archive_files``
says which do, and every reader is given a list of them. Nor that a flipped bit inside a page is
found; a file that is missing, of another size or unreadable is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final

import polars as pl

from labeling.errors import DataError
from labeling.io.durable import write_durably
from labeling.model.event import ORIGIN_SCHEMA, event_schema

SORTED_BY: Final = ("user_key", "event_ts", "event_id")
#: The folder of files that a stream has just written, of all hours.
TAIL: Final = "tail"
_HOUR_MS: Final = 3_600_000
_PATH: Final = "\x00path"
_USER_KEYS: Final = 2**64


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One file of the archive, as the store's ``archive_files`` lists it.

    Times are UTC; ``min_*`` and ``max_*`` are inclusive; ``name`` is relative to the archive's
    folder; ``hour`` is null for a file of several hours (``kind`` ``tail``).
    """

    name: str
    kind: str
    hour: datetime | None
    source: str | None
    min_ts: datetime
    max_ts: datetime
    min_user_key: int
    max_user_key: int
    rows: int
    bytes: int
    max_archived: int
    schema_digest: str

    def touches(
        self, from_ts: datetime | None, to_ts: datetime | None, user_keys: tuple[int, int] | None
    ) -> bool:
        """Whether the file can hold an event of ``[from_ts, to_ts)`` and of these users."""
        return (
            (from_ts is None or self.max_ts >= from_ts)
            and (to_ts is None or self.min_ts < to_ts)
            and (
                user_keys is None
                or (self.max_user_key >= user_keys[0] and self.min_user_key <= user_keys[1])
            )
        )


def archive_schema(extra: Mapping[str, str] | None = None) -> dict[str, pl.DataType]:
    """Columns of an archive file: ``user_key``, the contract, declared columns, the origin."""
    return {"user_key": pl.UInt64(), **event_schema(extra), **ORIGIN_SCHEMA}


def hour_of(column: str = "event_ts") -> pl.Expr:
    """The hour that a time lies in, as hours since 1970 (Int64)."""
    return pl.col(column).dt.timestamp("ms").floordiv(_HOUR_MS)


def hour_start(hour: int) -> datetime:
    """The start of an hour counted since 1970, UTC.

    >>> hour_start(0).isoformat()
    '1970-01-01T00:00:00+00:00'
    """
    return datetime.fromtimestamp(hour * 3600, UTC)


def hour_folder(hour: datetime) -> str:
    """Folder of an hour, relative to the archive.

    >>> hour_folder(datetime(2026, 11, 20, 9, tzinfo=UTC))
    'dt=2026-11-20/hour=09'
    """
    return hour.astimezone(UTC).strftime("dt=%Y-%m-%d/hour=%H")


def user_bucket(bucket: int, buckets: int) -> tuple[int, int]:
    """The inclusive range of user keys of one of ``buckets`` equal parts, counted from 0.

    >>> user_bucket(1, 2) == (2**63, 2**64 - 1)
    True
    """
    return _USER_KEYS * bucket // buckets, _USER_KEYS * (bucket + 1) // buckets - 1


def schema_digest(schema: Mapping[str, pl.DataType]) -> str:
    """16 hex digits of column names and types, in order."""
    text = ",".join(f"{name}:{dtype}" for name, dtype in schema.items())
    return blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Archive:
    """A folder of archive files and the declared columns by which they are read.

    Args:
        root: the folder; made when first written.
        extra: declared columns, as in ``[columns]`` of the configuration.
    """

    root: Path
    extra: Mapping[str, str]

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Columns and types of everything read or written."""
        return archive_schema(self.extra)

    def write(
        self, frame: pl.DataFrame, hour: datetime, stem: str, *, kind: str, source: str | None
    ) -> ArchiveFile:
        """Write one file of one hour, durably, and say what the store must know about it.

        Args:
            frame: at least one row; columns of ``schema`` (further ones are kept), sorted by
                ``SORTED_BY``; ``event_ts`` within the hour.
            hour: its start, UTC.
            stem: file name without folder and ending, never used before.
            kind: ``import`` or ``hour``.
            source: the source of all rows, None for several.

        Raises:
            DataError: the disk refuses; nothing is left under the final name.
        """
        return self._write(frame, f"{hour_folder(hour)}/{stem}.parquet", kind, hour, source)

    def write_tail(self, frame: pl.DataFrame, stem: str) -> ArchiveFile:
        """Write what a stream archives at once: events of any hours, in the order of arrival.

        Args:
            frame: at least one row; columns of ``schema``, ``archived`` null: the commit that will
                name the file is not known yet.
            stem: as for ``write``.

        Raises:
            DataError: as ``write``.
        """
        return self._write(frame, f"{TAIL}/{stem}.parquet", "tail", None, None)

    def _write(
        self, frame: pl.DataFrame, name: str, kind: str, hour: datetime | None, source: str | None
    ) -> ArchiveFile:
        size = write_durably(frame, self.root / name)
        edges = frame.select(
            low=pl.col("event_ts").min(),
            high=pl.col("event_ts").max(),
            first=pl.col("user_key").min(),
            last=pl.col("user_key").max(),
            archived=pl.col("archived").max().fill_null(0),
        ).row(0)
        return ArchiveFile(
            name=name,
            kind=kind,
            hour=hour,
            source=source,
            min_ts=edges[0],
            max_ts=edges[1],
            min_user_key=edges[2],
            max_user_key=edges[3],
            rows=frame.height,
            bytes=size,
            max_archived=edges[4],
            schema_digest=schema_digest(dict(frame.schema)),
        )

    def scan(
        self,
        files: Sequence[ArchiveFile],
        columns: Sequence[str] | None = None,
        *,
        from_ts: datetime | None = None,
        to_ts: datetime | None = None,
        user_keys: tuple[int, int] | None = None,
    ) -> pl.LazyFrame:
        """Events of the files, lazily; row order is not promised.

        Args:
            files: from the store; those that cannot hold what is asked for are not opened.
            columns: of ``schema``; None for all.
            from_ts: events at or after it.
            to_ts: events before it.
            user_keys: lowest and highest ``user_key``, both inclusive (see ``user_bucket``).

        Raises:
            DataError: a file that is to be read is missing or not of its registered size.
        """
        wanted = [f for f in files if f.touches(from_ts, to_ts, user_keys)]
        schema = self.schema
        names = list(schema) if columns is None else list(columns)
        if not wanted:
            return pl.LazyFrame(schema={name: schema[name] for name in names})
        for file in wanted:
            self._check_size(file)
        lazy = pl.scan_parquet(
            [self.root / f.name for f in wanted],
            schema=schema,
            missing_columns="insert",
            extra_columns="ignore",
            hive_partitioning=False,
            glob=False,
            include_file_paths=_PATH if "archived" in names else None,
        ).filter(*_bounds(wanted, from_ts, to_ts, user_keys))
        if "archived" in names:
            lazy = self._filled(lazy, wanted)
        return lazy.select(names)

    def read(
        self,
        files: Sequence[ArchiveFile],
        columns: Sequence[str] | None = None,
        *,
        from_ts: datetime | None = None,
        to_ts: datetime | None = None,
        user_keys: tuple[int, int] | None = None,
    ) -> pl.DataFrame:
        """Like ``scan``, read at once; row order is not promised.

        Raises:
            DataError: a file is missing or damaged; the message names it and the fix.
        """
        lazy = self.scan(files, columns, from_ts=from_ts, to_ts=to_ts, user_keys=user_keys)
        with self.damage_explained(files):
            return lazy.collect()

    @contextmanager
    def damage_explained(self, files: Sequence[ArchiveFile]) -> Iterator[None]:
        """Turn a failed read of some of ``files`` into a DataError that names the file."""
        try:
            yield
        except (pl.exceptions.PolarsError, OSError):
            for file in files:
                self._check_size(file)
                try:
                    _probe(self.root / file.name)
                except (pl.exceptions.PolarsError, OSError) as found:
                    raise DataError(self._advice(file, str(found).splitlines()[0])) from found
            raise

    def read_whole(self, files: Sequence[ArchiveFile]) -> pl.DataFrame:
        """All events with every column that a file has, declared or not; ``archived`` is filled.

        Row order is not promised.

        Raises:
            DataError: a file is missing or damaged; the message names it and the fix.
        """
        alike: dict[str, list[ArchiveFile]] = {}
        for file in files:
            self._check_size(file)
            alike.setdefault(file.schema_digest, []).append(file)
        with self.damage_explained(files):
            return pl.concat([self._whole(g).collect() for g in alike.values()], how="diagonal")

    def _whole(self, alike: Sequence[ArchiveFile]) -> pl.LazyFrame:
        """All of files that have the same columns."""
        paths = [self.root / f.name for f in alike]
        lazy = pl.scan_parquet(paths, hive_partitioning=False, glob=False, include_file_paths=_PATH)
        return self._filled(lazy, alike).drop(_PATH)

    def _filled(self, events: pl.LazyFrame, files: Sequence[ArchiveFile]) -> pl.LazyFrame:
        """Null ``archived`` becomes the commit that named the file."""
        named = {str(self.root / f.name): f.max_archived for f in files}
        by_file = pl.col(_PATH).replace_strict(named, return_dtype=pl.Int64)
        return events.with_columns(pl.col("archived").fill_null(by_file))

    def merge(self, files: Sequence[ArchiveFile], stem: str) -> ArchiveFile:
        """Write the events of several files of one hour into one new file.

        Raises:
            DataError: a file is missing or damaged, or the disk refuses.
        """
        frame = self.read_whole(files).sort(SORTED_BY)
        hour = files[0].hour
        if hour is None:
            raise ValueError("a file of several hours cannot be merged into an hour")
        sources = {f.source for f in files}
        source = sources.pop() if len(sources) == 1 else None
        return self.write(frame, hour, stem, kind="hour", source=source)

    def remove(self, names: Sequence[str]) -> None:
        """Delete files that the store no longer names; one already gone is no error."""
        for name in names:
            (self.root / name).unlink(missing_ok=True)

    def _check_size(self, file: ArchiveFile) -> None:
        path = self.root / file.name
        try:
            size = path.stat().st_size
        except FileNotFoundError as error:
            raise DataError(self._advice(file, "it is missing")) from error
        if size != file.bytes:
            raise DataError(self._advice(file, f"it has {size} bytes instead of {file.bytes}"))

    def _advice(self, file: ArchiveFile, what: str) -> str:
        where = f" (source {file.source})" if file.source else ""
        return (
            f"archive file {self.root / file.name}: {what}. Restore it from a backup; or, to do "
            f"without its {file.rows} events, run `labeling import --forget {file.name}` and "
            f"import that hour's input again{where}"
        )


def _bounds(
    files: Sequence[ArchiveFile],
    from_ts: datetime | None,
    to_ts: datetime | None,
    user_keys: tuple[int, int] | None,
) -> list[pl.Expr]:
    """The conditions that do not hold for whole files anyway."""
    conditions = []
    if from_ts is not None and any(f.min_ts < from_ts for f in files):
        conditions.append(pl.col("event_ts") >= from_ts)
    if to_ts is not None and any(f.max_ts >= to_ts for f in files):
        conditions.append(pl.col("event_ts") < to_ts)
    if user_keys is not None:
        low, high = (pl.lit(k, dtype=pl.UInt64) for k in user_keys)
        conditions.append(pl.col("user_key").is_between(low, high))
    return conditions


def _probe(path: Path) -> None:
    """Read every page of a file and keep nothing."""
    pl.read_parquet(path, hive_partitioning=False, glob=False)
