"""Reading and evaluating against DuckDB's SQL: the same tables from the same files, in one run.

Always holds: both read the archive's files and leave, in memory, the final rows with their
revisions and the changes between the points; the results are compared row by row. Each takes a
part of the users at a time, so that memory is bounded.

Not promised: a store. ``replay`` measures the whole way to a published file.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import polars as pl

from benchmarks import data, measure, twin
from labeling.engine.evaluate import labels_at, widened
from labeling.engine.points import points
from labeling.io.archive import Archive, ArchiveFile, user_bucket
from labeling.testing.simulator import EXTRA_COLUMNS
from rules.note_labels import NOTE_LABELS

SMALL: Final = {"events": 100_000, "hours": 2.0, "parts": 2}


def run(
    *,
    events: int = 10_000_000,
    hours: float = 4.0,
    seed: int = 1,
    parts: int = 2,
    work: str = "",
) -> dict[str, Any]:
    """Compare results and speed.

    Args:
        events: of the simulated log.
        hours: that it spans.
        seed: of the log.
        parts: ranges of users, one after the other.
        work: folder to keep the archive in; a temporary one if empty.
    """
    with data.folder(work) as root:
        files = data.fill(root, events, hours, seed)
        archive = Archive(root / "archive", EXTRA_COLUMNS)
        end = data.START + timedelta(hours=hours)
        took = {"evaluate": measure.Took(), "sql": measure.Took()}
        found: dict[str, int] = {"rows": 0, "changes": 0, "differing": 0}
        for part in range(parts):
            users = user_bucket(part, parts)
            with measure.timed() as ours:
                rows, moved = tables(read(archive, files, users))
            with measure.timed() as theirs:
                db = twin.connect()
                twin.label(db, data.paths(root, files), data.START, end, users=users)
            for name, one in (("evaluate", ours), ("sql", theirs)):
                took[name].seconds += one.seconds
                took[name].cpu_seconds += one.cpu_seconds
            found["rows"] += rows.height
            found["changes"] += moved.height
            found["differing"] += twin.differing(rows.sort(twin.KEY), twin.rows(db))
            found["differing"] += twin.differing(as_changes(moved), twin.changes(db))
            db.close()
            measure.say(f"part {part + 1} of {parts}: {found}")
    return {
        "evaluate": took["evaluate"].told(events),
        "sql": took["sql"].told(events),
        "speed_ratio": round(took["sql"].seconds / took["evaluate"].seconds, 3),
        "cpu_ratio": round(took["sql"].cpu_seconds / took["evaluate"].cpu_seconds, 3),
        "equal": found["differing"] == 0,
        **found,
    }


def read(archive: Archive, files: list[ArchiveFile], users: tuple[int, int]) -> pl.DataFrame:
    """The events of some users that the rule reads."""
    types = sorted(NOTE_LABELS.event_types)
    lazy = archive.scan(files, sorted(NOTE_LABELS.event_columns), user_keys=users)
    return lazy.filter(pl.col("event_type").is_in(types)).collect()


def tables(events: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What the engine makes of events, as the SQL's tables hold it.

    Returns:
        The final rows with ``revision`` (Int32), and those of them that had other labels at the
        early point, with these as ``{label}_early``; both in the order of the events.
    """
    asked = points(NOTE_LABELS, events)
    made = labels_at(NOTE_LABELS, events, asked)
    final = made.filter(asked["final"]).sort("row")
    early = made.filter(~asked["final"]).sort("row")
    labels = list(NOTE_LABELS.label_schema)
    was = early.select(pl.col(c).alias(f"{c}_early") for c in labels)
    both = pl.concat([final, was], how="horizontal")
    moved = pl.any_horizontal(pl.col(c).ne_missing(pl.col(f"{c}_early")) for c in labels)
    both = both.with_columns(revision=moved.cast(pl.Int32) + 1)
    rows = widened(NOTE_LABELS, events, both.drop(was.columns))
    columns = [*twin.KEY, "revision", *NOTE_LABELS.value_schema]
    return rows.select(columns), widened(NOTE_LABELS, events, both.filter(moved))


def as_changes(moved: pl.DataFrame) -> pl.DataFrame:
    """The second table of ``tables`` with ``old`` and ``new`` as the SQL has them."""
    labels = list(NOTE_LABELS.label_schema)
    old = pl.struct(pl.col(f"{c}_early").alias(c) for c in labels)
    return moved.select(*twin.KEY, "revision", "point_ts", old=old, new=pl.struct(labels)).sort(
        twin.KEY
    )
