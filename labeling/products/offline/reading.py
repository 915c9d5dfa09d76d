"""The rows of an hour as of one commit, read in parts while others go on committing.

A part is a range of users, asked for by a question of its own, so that each is of a later commit
than the one before. What changed since the first is asked for at the end, in one question, and put
in place of what was read: a row that was written after the first commit has a larger number, one
that was retracted is listed as such, and any other was the same in every part.

Always holds: the rows that come out are those of the commit that ``Taken`` names, all of them, each
once, sorted by key. No more is in memory than a part, and what changed meanwhile.

Not promised: that a part has no more rows than asked for. Ranges are estimated from a sample, and a
user's rows are never split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

import polars as pl

from labeling.errors import StoreError
from labeling.io.store.database import Database, quoted
from labeling.io.store.views import Shown, select_of
from labeling.model.table import ROW_KEY, TOUCH_KEY_SCHEMA

#: What the store keeps for itself; the marker says it of all rows at once.
_BOOK: Final = ("rule_digest", "first_commit", "commit")
#: Users drawn for each part: its size is met within some percent.
_DRAWN: Final = 256
#: How often reading begins anew where most of an hour was published meanwhile.
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Extent:
    """What is read: rows of one table that views show.

    Args:
        rule: its name.
        parts: versions and the instants of which each is shown, ``[from_ts, to_ts)``.
        touches: the rows of touches, instead of those of actions.
        of_touches: the rule is an attribution.
    """

    rule: str
    parts: tuple[Shown, ...]
    touches: bool = False
    of_touches: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that name a row, by which rows are sorted."""
        return (*ROW_KEY, *TOUCH_KEY_SCHEMA) if self.touches else ROW_KEY

    def rows(self, db: Database) -> str:
        """The SELECT of all rows, columns of the latest version first."""
        selects = [
            select_of(db, self.rule, part, touches=self.touches) for part in reversed(self.parts)
        ]
        return " UNION ALL BY NAME ".join(selects)

    def retracted(self) -> str:
        """The SELECT of keys, and commits, that were retracted and have not returned."""
        shown = " OR ".join(f"(r.version = {p.version} AND {p.condition})" for p in self.parts)
        touch = f"AND r.touch_id {'<>' if self.touches else '='} ''" if self.of_touches else ""
        return (
            f"SELECT {', '.join(self.keys)}, commit FROM retracted r "
            f"WHERE r.rule = {quoted(self.rule)} AND ({shown}) {touch}"
        )


@dataclass(frozen=True, slots=True)
class Taken:
    """Rows of one commit, lying in files: the store is needed no more.

    Args:
        commit: they are those of it.
        total: how many there are.
        keys: the columns by which they are sorted.
        changed: those that were written while the files were made.
        touched: keys of those, and of what was retracted.
        files: what was read, one part each.
    """

    commit: int
    total: int
    keys: tuple[str, ...]
    changed: pl.DataFrame
    touched: pl.DataFrame
    files: tuple[Path, ...]

    @property
    def height(self) -> int:
        """How many rows come out; other than ``total`` where some were dropped meanwhile."""
        if self.touched.is_empty():
            return sum(pl.scan_ipc(f).select(pl.len()).collect().item() for f in self.files)
        return sum(frame.height for frame in self.frames())

    def frames(self) -> Iterator[pl.DataFrame]:
        """The rows, sorted; at least one frame, which may be empty."""
        left = self.changed
        for file in self.files:
            read = pl.read_ipc(file)
            stays = read.join(self.touched, on=self.keys, how="anti", maintain_order="left")
            # A user is in one part alone, whole; users of no part come after one before them.
            if left.is_empty() or read.is_empty():
                yield stays
                continue
            here = left["user_id"] <= read["user_id"].item(-1)
            yield pl.concat([stays, left.filter(here)]).sort(self.keys)
            left = left.filter(~here)
        if left.height:
            yield left


def take(
    db: Database, extent: Extent, folder: Path, size: int, stopping: Callable[[], bool]
) -> Taken | None:
    """Read the rows of one commit into files.

    Args:
        db: the store; others may commit meanwhile.
        extent: which rows.
        folder: empty; for the files.
        size: rows of a part, about.
        stopping: asked between parts; None is returned when it says so.

    Raises:
        StoreError: it does not answer; rows were dropped meanwhile; or most of the hour was
            published anew each time that it was read.
    """
    for _ in range(_TRIES):
        begin = last_commit(db)
        files = []
        for number, part in enumerate(_parts(db, extent, size)):
            files.append(folder / f"{number}.arrow")
            part.write_ipc(files[-1], compression="lz4")
            if stopping():
                return None
        if _count_changed(db, extent, begin) <= size:
            return _settled(db, extent, begin, tuple(files))
    raise StoreError(
        f"{extent.rule} was published anew while an hour of it was read, {_TRIES} times; "
        "wait until the replay ends, then run this again",
        transient=True,
    )


def last_commit(db: Database) -> int:
    """The number of the latest commit."""
    return int(db.value("SELECT coalesce(max(commit), 0) FROM commits"))


def has_changed(db: Database, extent: Extent, commit: int) -> bool:
    """Whether a row was written or retracted after a commit."""
    return _count_changed(db, extent, commit) > 0


def is_kept(db: Database, rule: str, version: int, hour: datetime) -> bool:
    """Whether the store has anything of a UTC hour, a retraction at least.

    Retention takes whole days away and leaves their markers.
    """
    near = [hour, hour + timedelta(hours=1)]
    return bool(
        db.value(
            f'SELECT EXISTS (FROM "{rule}_v{version}" WHERE anchor_ts >= ? AND anchor_ts < ?) OR '
            "EXISTS (FROM retracted WHERE rule = ? AND version = ? AND anchor_ts >= ? "
            "AND anchor_ts < ?)",
            [*near, rule, version, *near],
        )
    )


def _count_changed(db: Database, extent: Extent, commit: int) -> int:
    count = db.value(
        f"SELECT (SELECT count(*) FROM ({extent.rows(db)}) WHERE commit > ?) + "
        f"(SELECT count(*) FROM ({extent.retracted()}) WHERE commit > ?)",
        [commit, commit],
    )
    return int(count)


def _settled(db: Database, extent: Extent, begin: int, files: tuple[Path, ...]) -> Taken:
    """What was read since a commit, with what changed since, asked for in one question."""
    found = db.frame(
        f"WITH shown AS ({extent.rows(db)}), moved AS ("
        "SELECT *, FALSE AS _gone FROM shown WHERE commit > ? UNION ALL BY NAME "
        f"SELECT *, TRUE AS _gone FROM ({extent.retracted()}) WHERE commit > ?) "
        "SELECT (SELECT max(commit) FROM commits) AS _as_of, "
        "(SELECT count(*) FROM shown) AS _total, moved.* FROM (SELECT 1) LEFT JOIN moved ON TRUE",
        [begin, begin],
    )
    as_of, total = found.select("_as_of", "_total").row(0)
    moved = found.drop("_as_of", "_total").filter(pl.col("_gone").is_not_null())
    written = moved.filter(~pl.col("_gone")).drop("_gone", *_BOOK).sort(extent.keys)
    touched = moved.select(extent.keys)
    taken = Taken(int(as_of or 0), int(total), extent.keys, written, touched, files)
    if taken.height != total:
        raise StoreError(
            f"rows of {extent.rule} were dropped while they were exported (retention); "
            "run this again",
            transient=True,
        )
    return taken


def _parts(db: Database, extent: Extent, size: int) -> Iterator[pl.DataFrame]:
    """All rows in ranges of users, each sorted by key and as of a commit of its own."""
    rows = f"SELECT * EXCLUDE ({', '.join(_BOOK)}) FROM ({extent.rows(db)})"
    for low, high in _ranges(db, extent, size):
        bounds = [(sign, at) for sign, at in ((">", low), ("<=", high)) if at is not None]
        where = " AND ".join(["TRUE", *(f"user_id {sign} ?" for sign, _ in bounds)])
        yield db.frame(f"{rows} WHERE {where}", [at for _, at in bounds]).sort(extent.keys)


def _ranges(db: Database, extent: Extent, size: int) -> Iterator[tuple[str | None, str | None]]:
    """Ranges of users that are all there can be, lower ends exclusive; None: no end."""
    rows = extent.rows(db)
    count = -(-int(db.value(f"SELECT count(*) FROM ({rows})")) // size)
    edges: Sequence[str] = ()
    if count > 1:
        drawn = db.frame(
            f"SELECT user_id FROM ({rows}) USING SAMPLE reservoir({_DRAWN * count} ROWS)"
        )["user_id"].sort()
        places = [drawn.len() * part // count for part in range(1, count)]
        edges = drawn[places].unique().sort().to_list() if drawn.len() else ()
    ends = [None, *edges, None]
    yield from pairwise(ends)
