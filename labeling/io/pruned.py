"""Some users' events out of many files: only the row groups that can hold them are read.

Always holds: what is found is what ``Archive.scan`` would find of the same files, users, types,
times and commits. A row group is read for the keys of its rows first, and for the rest of its
columns only where a row is wanted; one row group is in memory at a time, beside what was wanted.
``Tally`` counts the bytes of the columns as they lie in the files, footers included.

Not promised: few bytes. An hour's row group holds some thousand users: asking for one of a
thousand users reads most groups. Files of a stream's tail are not sorted, and are read whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from labeling.io.archive import Archive, ArchiveFile

#: Sorted and distinct ``user_key``s.
Users = npt.NDArray[np.uint64]
_KEY: Final = "user_key"


@dataclass
class Tally:
    """What was read: ``files`` by name, row ``groups``, and ``bytes`` as they lie in the files."""

    files: set[str] = field(default_factory=set)
    groups: int = 0
    bytes: int = 0
    events: int = 0


@dataclass(frozen=True)
class Hit:
    """Rows of a row group that are wanted."""

    file: ArchiveFile
    group: int
    rows: pl.Series


@dataclass(frozen=True)
class Matching:
    """Where wanted events lie; ``events`` is how many at most."""

    hits: tuple[Hit, ...]
    from_ts: datetime | None
    to_ts: datetime | None

    @property
    def events(self) -> int:
        """How many there are, those out of the range of time counted with them."""
        return sum(hit.rows.len() for hit in self.hits)


@dataclass(frozen=True)
class Pruned:
    """Reads what was archived up to a commit.

    Args:
        archive: where the files lie.
        files: from the store, as of that commit or later.
        through: events archived up to this commit are there.
        tally: counts what is read.
    """

    archive: Archive
    files: Sequence[ArchiveFile]
    through: int
    tally: Tally

    def places(
        self, types: Collection[str], from_ts: datetime, to_ts: datetime, *, after: int = 0
    ) -> pl.DataFrame:
        """``user_key`` and ``event_ts`` of the events of ``[from_ts, to_ts)``; in no order.

        Args:
            types: of the events.
            from_ts: inclusive.
            to_ts: exclusive.
            after: only those archived after this commit.
        """
        found = [pl.DataFrame(schema={c: self.archive.schema[c] for c in (_KEY, "event_ts")})]
        for file in self.files:
            if file.max_archived <= after or not file.touches(from_ts, to_ts, None):
                continue
            with self._open(file) as opened:
                for group in range(opened.groups):
                    rows = opened.read(group, (_KEY, "event_ts", "event_type"))
                    wanted = pl.col("event_type").is_in(sorted(types))
                    at = pl.col("event_ts").is_between(from_ts, to_ts, closed="left")
                    now = rows.filter(wanted, at, opened.archived(group, after, self.through))
                    found.append(now.select(_KEY, "event_ts"))
        return pl.concat(found)

    def matching(
        self, types: Collection[str], from_ts: datetime | None, to_ts: datetime | None, users: Users
    ) -> Matching:
        """Where the users' events of ``[from_ts, to_ts)`` lie.

        Args:
            types: of the events.
            from_ts: inclusive; None: from the beginning.
            to_ts: exclusive; None: to the end.
            users: whose.
        """
        ends = (int(users[0]), int(users[-1])) if len(users) else (1, 0)
        hits = []
        for file in self.files:
            if len(users) and file.touches(from_ts, to_ts, ends):
                with self._open(file) as opened:
                    hits += list(self._hits(opened, types, users))
        return Matching(tuple(hits), from_ts, to_ts)

    def _hits(self, opened: Groups, types: Collection[str], users: Users) -> Iterator[Hit]:
        for group in range(opened.groups):
            if not _any_in(users, *opened.users(group)):
                continue
            keys = opened.read(group, (_KEY, "event_type"))
            wanted = keys.select(
                pl.col("event_type").is_in(sorted(types)).fill_null(value=False)
                & opened.archived(group, 0, self.through)
            ).to_series() & pl.Series(_among(users, keys[_KEY].to_numpy()))
            if wanted.any():
                yield Hit(opened.file, group, wanted.arg_true())

    def read(
        self, found: Matching, columns: Collection[str], user_keys: tuple[int, int] | None = None
    ) -> pl.DataFrame:
        """The events that were found, with these columns; in no order.

        Args:
            found: what ``matching`` returned.
            columns: of the archive's schema, ``event_ts`` among them.
            user_keys: only these users, both inclusive.
        """
        schema = self.archive.schema
        more = (_KEY,) if user_keys is not None and _KEY not in columns else ()
        parts = [pl.DataFrame(schema={c: schema[c] for c in columns})]
        by_file: dict[str, list[Hit]] = {}
        for hit in found.hits:
            by_file.setdefault(hit.file.name, []).append(hit)
        for hits in by_file.values():
            if user_keys is not None and not hits[0].file.touches(None, None, user_keys):
                continue
            with self._open(hits[0].file) as opened:
                for hit in hits:
                    if user_keys and not _overlap(opened.users(hit.group), user_keys):
                        continue
                    rows = opened.read(hit.group, (*columns, *more), hit.rows)
                    parts.append(rows.filter(*_bounds(found, user_keys)).select(list(columns)))
        events = pl.concat(parts)
        self.tally.events += events.height
        return events

    def _open(self, file: ArchiveFile) -> AbstractContextManager[Groups]:
        """A file for reading by row group."""
        return open_groups(self.archive, file, self.tally)


@contextmanager
def open_groups(archive: Archive, file: ArchiveFile, tally: Tally) -> Iterator[Groups]:
    """A file for reading by row group; what is wrong with it is told by its name.

    Args:
        archive: where it lies.
        file: from the store.
        tally: counts what is read.

    Raises:
        DataError: the file is missing or damaged.
    """
    with archive.damage_explained([file]):
        try:
            with pq.ParquetFile(archive.root / file.name) as opened:
                tally.files.add(file.name)
                tally.bytes += opened.metadata.serialized_size
                yield Groups(file, opened, archive, tally)
        except pa.ArrowException as error:
            raise OSError(str(error)) from error


class Groups:
    """An open file of the archive; ``open_groups`` makes it. ``groups`` is how many it has."""

    def __init__(
        self, file: ArchiveFile, opened: pq.ParquetFile, archive: Archive, tally: Tally
    ) -> None:
        self.file = file
        self._opened = opened
        self._schema = archive.schema
        self._tally = tally
        self._places: dict[str, list[int]] = {}
        for place in range(opened.metadata.num_columns):
            root = opened.metadata.schema.column(place).path.partition(".")[0]
            self._places.setdefault(root, []).append(place)
        self.groups: int = opened.metadata.num_row_groups

    def users(self, group: int) -> tuple[int, int]:
        """The lowest and highest ``user_key`` of a row group, as far as it tells."""
        (place,) = self._places[_KEY]
        told = self._opened.metadata.row_group(group).column(place).statistics
        if told is None or not told.has_min_max:
            return self.file.min_user_key, self.file.max_user_key
        return int(told.min), int(told.max)

    def archived(self, group: int, after: int, through: int) -> pl.Expr | pl.Series:
        """Whether rows of a group were archived in ``(after, through]``."""
        known = self.file.max_archived
        if after == 0 and known <= through:
            return pl.lit(value=True)
        at = self.read(group, ("archived",))["archived"].fill_null(known)
        return at.is_between(after + 1, through)

    def read(
        self, group: int, columns: Collection[str], rows: pl.Series | None = None
    ) -> pl.DataFrame:
        """Columns of a row group, or of some of its rows; null where the file has not got them."""
        there = [c for c in dict.fromkeys(columns) if c in self._places]
        meta = self._opened.metadata.row_group(group)
        places = [place for c in there for place in self._places[c]]
        self._tally.bytes += sum(meta.column(p).total_compressed_size for p in places)
        self._tally.groups += 1
        read = self._opened.read_row_group(group, columns=there)
        # Taken by Arrow, which copies: rows that Polars gathers keep the whole group's texts.
        table = pl.from_arrow(read if rows is None else read.take(rows.to_arrow()))
        if not isinstance(table, pl.DataFrame):
            raise TypeError("a table became a series")
        return table.select(
            (pl.col(c) if c in there else pl.lit(None).alias(c)).cast(self._schema[c])
            for c in dict.fromkeys(columns)
        )


def _among(users: Users, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which keys are some user's."""
    at = np.minimum(np.searchsorted(users, keys), len(users) - 1)
    found: npt.NDArray[np.bool_] = users[at] == keys
    return found


def _any_in(users: Users, low: int, high: int) -> bool:
    """Whether one of the users lies in a range, both ends inclusive."""
    at = int(np.searchsorted(users, np.uint64(low)))
    return at < len(users) and int(users[at]) <= high


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _bounds(found: Matching, user_keys: tuple[int, int] | None) -> Iterator[pl.Expr]:
    if found.from_ts is not None:
        yield pl.col("event_ts") >= found.from_ts
    if found.to_ts is not None:
        yield pl.col("event_ts") < found.to_ts
    if user_keys is not None:
        low, high = (pl.lit(k, dtype=pl.UInt64) for k in user_keys)
        yield pl.col(_KEY).is_between(low, high)
