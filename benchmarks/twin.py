"""The rule ``note_labels`` as a good engineer would write it in DuckDB's SQL: a third opinion.

Always holds: the tables are those that a replay of the rule publishes: final rows with the
revision that they have reached, and a change for each row whose value at the early point was
another. Nothing of the engine is used.

Not promised: that repeats of one identity are noticed. An archive holds one only where an
event came too late for the stream.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import duckdb
import polars as pl

from labeling.io.archive import user_bucket
from labeling.io.store.database import STORAGE_VERSION

EVERYBODY: Final = user_bucket(0, 1)
KEY: Final = ("user_id", "anchor_ts", "anchor_id")
_LABELS: Final = (
    "clicked BOOLEAN, valid_click BOOLEAN, dwell_ms BIGINT, liked BOOLEAN, favorited BOOLEAN, "
    "commented BOOLEAN, shared BOOLEAN, followed BOOLEAN, hidden BOOLEAN"
)
_KEY_SQL: Final = "user_id VARCHAR, anchor_ts TIMESTAMPTZ, anchor_id VARCHAR, revision INTEGER"
_TABLES: Final = f"""
CREATE TABLE note_labels ({_KEY_SQL}, item_id VARCHAR, author_id VARCHAR, request_id VARCHAR,
    scene VARCHAR, page_id VARCHAR, position INTEGER, platform VARCHAR, session_id VARCHAR,
    experiments VARCHAR[], {_LABELS});
CREATE TABLE label_changes ({_KEY_SQL}, kind VARCHAR, reason VARCHAR, point_ts TIMESTAMPTZ,
    "old" STRUCT({_LABELS}), "new" STRUCT({_LABELS}));
"""


def statements(name: str) -> tuple[str, ...]:
    """The statements of a file ``<name>.sql`` of this folder, without its comments."""
    text = Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")
    bare = re.sub(r"--[^\n]*", "", text).split(";")
    return tuple(s.strip() for s in bare if s.strip())


_STATEMENTS: Final = statements("note_labels")


def connect(path: Path | None = None, *, memory: str = "6GB") -> duckdb.DuckDBPyConnection:
    """A database with the two tables, empty; in memory without a path.

    A file has the storage version of our stores, which DuckDB 1.x reads.
    """
    db = duckdb.connect(config={"memory_limit": memory})
    db.execute("SET TimeZone = 'UTC'")
    # As fast as it goes: nobody asked for the order of the files.
    db.execute("SET preserve_insertion_order = false")
    if path is not None:
        db.execute(f"ATTACH '{path}' AS twin (STORAGE_VERSION '{STORAGE_VERSION}')")
        db.execute("USE twin")
    db.execute(_TABLES)
    return db


def label(
    db: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    from_ts: datetime,
    to_ts: datetime,
    *,
    users: tuple[int, int] = EVERYBODY,
) -> None:
    """Append the rows of the anchors in ``[from_ts, to_ts)`` and their changes, all points passed.

    Args:
        db: from ``connect``.
        files: of the archive, with every event of the range and 30 minutes behind it.
        from_ts: with a timezone.
        to_ts: likewise, exclusive.
        users: lowest and highest ``user_key``, both inclusive.
    """
    given = {"files": [str(f) for f in files], "from_ts": from_ts, "to_ts": to_ts}
    for name, value in given.items():
        db.execute(f"SET VARIABLE {name} = ?", [value])
    for name, key in zip(("low_key", "high_key"), users, strict=True):
        db.execute(f"SET VARIABLE {name} = {key}::UBIGINT")
    for statement in _STATEMENTS:
        db.execute(statement)


def rows(db: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The final rows, sorted by key, with ``revision`` (Int32)."""
    return _told(db, "FROM note_labels ORDER BY user_id, anchor_ts, anchor_id")


def changes(db: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The changes after the first publication, by key; ``old`` and ``new`` hold all labels."""
    return _told(db, "FROM label_changes ORDER BY user_id, anchor_ts, anchor_id")


def _told(db: duckdb.DuckDBPyConnection, query: str) -> pl.DataFrame:
    frame: pl.DataFrame = db.sql(query).pl()
    return frame.with_columns(pl.col(pl.Datetime).dt.cast_time_unit("ms"))


def differing(one: pl.DataFrame, other: pl.DataFrame) -> int:
    """Rows, by key, that only one of the frames has, or that differ in any common column.

    >>> a = pl.DataFrame({"k": [1, 2], "v": [1, None]})
    >>> differing(a, a), differing(a, a.with_columns(v=pl.lit(2))), differing(a, a.head(1))
    (0, 2, 1)
    """
    columns = [c for c in one.columns if c in other.columns]
    left, right = one.select(columns), other.select(columns)
    if left.equals(right):
        return 0
    keys = [c for c in KEY if c in columns] or columns[:1]
    # Only one side has the row: the marker of the other is null.
    marked = left.with_columns(mine=pl.lit(1)).join(
        right.with_columns(yours=pl.lit(1)), on=keys, how="full", coalesce=True, suffix="_other"
    )
    differ = pl.col("mine").is_null() | pl.col("yours").is_null()
    for column in columns:
        if column not in keys:
            differ = differ | pl.col(column).ne_missing(pl.col(f"{column}_other"))
    return marked.filter(differ).height


def main(path: str) -> None:
    """Do what a JSON file asks for, into a DuckDB file; see ``benchmarks/replay.py``."""
    task = json.loads(Path(path).read_text(encoding="utf-8"))
    db = connect(Path(task["out"]), memory=task["memory"])
    span = [datetime.fromisoformat(task[name]) for name in ("from_ts", "to_ts")]
    for part in range(task["parts"]):
        users = user_bucket(part, task["parts"])
        label(db, [Path(f) for f in task["files"]], span[0], span[1], users=users)
    db.close()


if __name__ == "__main__":
    main(sys.argv[1])
