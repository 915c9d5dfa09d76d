"""Some users' events out of many files: only the row groups that can hold them are read.

Always holds: what is found is what ``Archive.scan`` would find of the same files, users, types,
times and commits. Of a row group that can hold one of the users by its statistics the key and the
type of all rows are read, and the other columns are decoded for the rows that are wanted. One file
is in memory at a time, beside what was wanted. ``Tally`` counts the bytes of the columns of those
row groups as they lie in the files, footers included.

Not promised: few bytes. An hour's row group holds some thousand users: asking for one of a
thousand users reads most groups. Files of a stream's tail are not sorted, and are read whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
class Matching:
    """Where wanted events lie: files with events of ``users``, and how many each has at most."""

    files: tuple[tuple[ArchiveFile, int], ...]
    types: tuple[str, ...]
    users: Users
    from_ts: datetime | None
    to_ts: datetime | None

    @property
    def events(self) -> int:
        """How many there are, those out of the range of time counted with them."""
        return sum(rows for _, rows in self.files)


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
            if file.max_archived > after and file.touches(from_ts, to_ts, None):
                at = pl.col("event_ts").is_between(from_ts, to_ts, closed="left")
                wanted = [pl.col("event_type").is_in(sorted(types)), at]
                found.append(self._read(file, (_KEY, "event_ts"), wanted, after=after))
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
        asked = Matching((), tuple(sorted(types)), users, from_ts, to_ts)
        there = []
        for file in self.files:
            if len(users) and file.touches(from_ts, to_ts, ends):
                rows = self._read(file, (_KEY,), _of_users(asked), users=users).height
                if rows:
                    there.append((file, rows))
        return replace(asked, files=tuple(there))

    def read(
        self, found: Matching, columns: Collection[str], user_keys: tuple[int, int] | None = None
    ) -> pl.DataFrame:
        """The events that were found, with these columns; in no order.

        Args:
            found: what ``matching`` returned.
            columns: of the archive's schema, ``event_ts`` among them.
            user_keys: only these users, both inclusive.
        """
        users = found.users
        if user_keys is not None:
            low, high = (np.uint64(k) for k in user_keys)
            users = users[(users >= low) & (users <= high)]
        asked = replace(found, users=users)
        parts = [pl.DataFrame(schema={c: self.archive.schema[c] for c in columns})]
        for file, _ in found.files:
            if len(users) and file.touches(None, None, (int(users[0]), int(users[-1]))):
                wanted = [*_of_users(asked), *_bounds(asked)]
                parts.append(self._read(file, columns, wanted, users=users))
        events = pl.concat(parts)
        self.tally.events += events.height
        return events

    def _read(
        self,
        file: ArchiveFile,
        columns: Collection[str],
        wanted: Sequence[pl.Expr],
        *,
        users: Users | None = None,
        after: int = 0,
    ) -> pl.DataFrame:
        """Columns of a file's rows that are wanted; of some users, where they are given."""
        by = dict.fromkeys(name for expr in wanted for name in expr.meta.root_names())
        if after or file.max_archived > self.through:
            by["archived"] = None
            wanted = [*wanted, pl.col("archived").is_between(after + 1, self.through)]
        read = list(dict.fromkeys((*columns, *by)))
        with open_groups(self.archive, file, self.tally) as opened:
            groups = opened.of_users(users)
            for group in groups:
                opened.count(group, read)
            if not groups:
                return pl.DataFrame(schema={c: self.archive.schema[c] for c in columns})
            if len(groups) < opened.groups:
                # Polars leaves out the row groups whose statistics tell that none of these holds.
                spans = _joined([opened.users(g) for g in groups])
                wanted = [pl.any_horizontal(_between(*span) for span in spans), *wanted]
            return self.archive.scan([file], read).filter(*wanted).select(list(columns)).collect()


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

    def of_users(self, users: Users | None) -> list[int]:
        """The row groups that can hold one of some users; all where they are not given."""
        every = range(self.groups)
        return [g for g in every if users is None or _any_in(users, *self.users(g))]

    def count(self, group: int, columns: Collection[str]) -> list[str]:
        """Count columns of a row group as read; those of them that the file has."""
        there = [c for c in dict.fromkeys(columns) if c in self._places]
        meta = self._opened.metadata.row_group(group)
        places = [place for c in there for place in self._places[c]]
        self._tally.bytes += sum(meta.column(p).total_compressed_size for p in places)
        self._tally.groups += 1
        return there

    def read(
        self, group: int, columns: Collection[str], rows: pl.Series | None = None
    ) -> pl.DataFrame:
        """Columns of a row group, or of some of its rows; null where the file has not got them."""
        there = self.count(group, columns)
        read = self._opened.read_row_group(group, columns=there)
        # Taken by Arrow, which copies: rows that Polars gathers keep the whole group's texts.
        table = pl.from_arrow(read if rows is None else read.take(rows.to_arrow()))
        if not isinstance(table, pl.DataFrame):
            raise TypeError("a table became a series")
        return table.select(
            (pl.col(c) if c in there else pl.lit(None).alias(c)).cast(self._schema[c])
            for c in dict.fromkeys(columns)
        )


def _any_in(users: Users, low: int, high: int) -> bool:
    """Whether one of the users lies in a range, both ends inclusive."""
    at = int(np.searchsorted(users, np.uint64(low)))
    return at < len(users) and int(users[at]) <= high


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order, those that touch or overlap made one."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return joined


def _between(low: int, high: int) -> pl.Expr:
    """Whether a key lies in a range, both ends inclusive."""
    return pl.col(_KEY).is_between(pl.lit(low, pl.UInt64), pl.lit(high, pl.UInt64))


def _of_users(asked: Matching) -> list[pl.Expr]:
    """Whether an event is of the types and one of the users."""
    users = pl.lit(pl.Series(asked.users, dtype=pl.UInt64).implode())
    return [pl.col(_KEY).is_in(users), pl.col("event_type").is_in(asked.types)]


def _bounds(asked: Matching) -> Iterator[pl.Expr]:
    """Whether an event lies in the range of time."""
    if asked.from_ts is not None:
        yield pl.col("event_ts") >= asked.from_ts
    if asked.to_ts is not None:
        yield pl.col("event_ts") < asked.to_ts
