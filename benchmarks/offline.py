"""The offline table: an hour of rows from the store into Parquet, and what that needs.

Always holds: ``labeling export --once`` runs as a process of its own, over a closed store that
``labeling replay`` made; the file's rows are counted and held to the view's, by a digest of all
columns.

Not promised: a flow beside it. Through its endpoint the rows come over a socket as well.
"""

from __future__ import annotations

import shutil
from math import ceil
from pathlib import Path
from typing import Any, Final

import duckdb

from benchmarks import commands, data, measure
from rules.note_labels import NOTE_LABELS

SMALL: Final = {"events": 100_000, "hours": 1}


def run(
    *,
    events: int = 4_000_000,
    hours: float = 1,
    seed: int = 1,
    repeat: int = 1,
    work: str = "",
) -> dict[str, Any]:
    """Export the note labels of a log.

    Args:
        events: of the log.
        hours: that it spans, each a file.
        seed: of the log.
        repeat: how many times it is exported; the figures are of the quickest.
        work: folder to keep archive and store in; a temporary one if empty.
    """
    with data.folder(work) as root:
        data.fill(root, events, hours, seed)
        data.project(root)
        end = data.START + ceil(hours) * data.HOUR
        words = ["--from", f"{data.START:%Y-%m-%dT%H}", "--to", f"{end:%Y-%m-%dT%H}"]
        commands.labeling(["replay", *words, "--rule", NOTE_LABELS.name], root)
        ran = []
        for _ in range(repeat):
            shutil.rmtree(root / "offline", ignore_errors=True)
            ran.append(commands.labeling(["export", "--once"], root))
            measure.say(f"export: {ran[-1]}")
        best = min(ran, key=lambda one: one.seconds)
        again = commands.labeling(["export", "--once"], root)
        table = root / "offline" / NOTE_LABELS.name
        found = _compared(root, table)
        files = list(table.rglob("*.parquet"))
        return {
            **found,
            "hours": len(files),
            "seconds": round(best.seconds, 3),
            "cpu_seconds": round(best.cpu_seconds, 3),
            "rows_per_second": round(found["rows"] / best.seconds),
            "peak_gb": round(max(one.peak_bytes for one in ran) / 1e9, 3),
            "parquet_mb": round(sum(f.stat().st_size for f in files) / 1e6, 1),
            "seconds_without_news": round(again.seconds, 3),
        }


def _compared(root: Path, table: Path) -> dict[str, Any]:
    """Rows of the files, and whether they are the view's."""
    columns = ", ".join(
        ["user_id", "anchor_ts", "anchor_id", *NOTE_LABELS.value_schema, "revision"]
    )
    digest = f"SELECT count(*), bit_xor(hash({columns})) FROM"
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.execute(f"ATTACH '{root / 'store.duckdb'}' AS store (READ_ONLY)")
        # Of the view, whose money is in whole units.
        view = db.execute(f"{digest} store.{NOTE_LABELS.name}").fetchall()
        read = db.execute(f"{digest} read_parquet('{table}/**/*.parquet')").fetchall()
    return {"rows": read[0][0], "equal": view == read}
