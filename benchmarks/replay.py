"""Replay, archive to published DuckDB file, against SQL that writes the same from the same files.

Always holds: ``labeling replay`` and the SQL run as processes of their own, one after the other,
from the same archive files into DuckDB files of the same storage version, both closed when the
clock stops; the tables are compared row by row, as are the changes, old values left out.

Not promised: cold files. Both find them in the system's cache if there is room.
"""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, Final

import duckdb

from benchmarks import commands, data, measure
from labeling.io.archive import ArchiveFile
from rules.note_labels import NOTE_LABELS

SMALL: Final = {"sizes": "100000", "hours": "2", "repeat": 1}


def run(
    *,
    sizes: str = "10000000",
    hours: str = "3",
    seed: int = 1,
    memory: str = "4GB",
    repeat: int = 1,
    work: str = "",
    sql_part: int = 20_000_000,
) -> dict[str, Any]:
    """Replay logs of one or more sizes; medians of several runs.

    Args:
        sizes: events of each log, separated by commas.
        hours: that each spans; the same rate gives hours of the same size.
        seed: of the logs.
        memory: what the replay may use for a block, and DuckDB for its SQL.
        repeat: how many replays and SQL runs of each log, in turn.
        work: folder to keep archives in; a temporary one if empty.
        sql_part: events that the SQL takes at once, by ranges of users.
    """
    results: dict[str, Any] = {}
    spans = [float(h) for h in hours.split(",")]
    for size, span in zip((int(s) for s in sizes.split(",")), spans, strict=True):
        with data.folder(work) as root:
            root = root / f"log-{size}-{span:g}"  # noqa: PLW2901 - the folder of this log
            root.mkdir(exist_ok=True)
            results[f"{size}_events_{span:g}_hours"] = _compared(
                root, size, span, seed, memory, repeat, ceil(size / sql_part)
            )
    told = list(results.values())
    if len(told) > 1:
        first, last = (t["replay"]["us_per_event"] for t in (told[0], told[-1]))
        results["cost_per_event_last_to_first"] = round(last / first, 3)
    return results


def _compared(
    root: Path, events: int, hours: float, seed: int, memory: str, repeat: int, parts: int
) -> dict[str, Any]:
    """The figures of one log."""
    files = data.fill(root, events, hours, seed)
    data.project(root, memory=memory)
    shutil.copy(root / "store.duckdb", root / "filled.duckdb")
    ours, theirs = [], []
    for _ in range(repeat):
        shutil.copy(root / "filled.duckdb", root / "store.duckdb")
        ours.append(_replay(root, hours))
        measure.say(f"replay: {ours[-1]}")
        theirs.append(_sql(root, files, hours, memory, parts))
        measure.say(f"sql: {theirs[-1]}")
    seconds = [median(r.seconds for r in ran) for ran in (ours, theirs)]
    best = [sorted(ran, key=lambda r: r.seconds)[len(ran) // 2] for ran in (ours, theirs)]
    told = [
        one.told(events) | {"us_per_event": round(one.seconds * 1e6 / events, 3)} for one in best
    ]
    compared = _differences(root, hours)
    shutil.copy(root / "filled.duckdb", root / "store.duckdb")
    return {
        "replay": told[0] | {"peak_gb": round(max(r.peak_bytes for r in ours) / 1e9, 3)},
        "sql": told[1],
        "speed_ratio": round(seconds[1] / seconds[0], 3),
        "cpu_ratio": round(best[1].cpu_seconds / best[0].cpu_seconds, 3),
        "archive_mb": round(sum(f.bytes for f in files) / 1e6, 1),
        **compared,
    }


def _end(hours: float) -> timedelta:
    return timedelta(hours=ceil(hours))


def _replay(root: Path, hours: float) -> commands.Ran:
    end = data.START + _end(hours)
    words = ["--from", f"{data.START:%Y-%m-%dT%H}", "--to", f"{end:%Y-%m-%dT%H}"]
    return commands.labeling(["replay", *words, "--rule", NOTE_LABELS.name], root)


def _sql(
    root: Path, files: list[ArchiveFile], hours: float, memory: str, parts: int
) -> commands.Ran:
    out = root / "twin.duckdb"
    out.unlink(missing_ok=True)
    task = {
        "out": str(out),
        "files": [str(p) for p in data.paths(root, files)],
        "from_ts": data.START.isoformat(),
        "to_ts": (data.START + _end(hours)).isoformat(),
        "parts": parts,
        "memory": memory,
    }
    path = root / "twin.json"
    path.write_text(json.dumps(task), encoding="utf-8")
    return commands.python(["benchmarks.twin", str(path)], root)


def _differences(root: Path, hours: float) -> dict[str, Any]:
    """Rows and changes that only one of the two files has, hour by hour."""
    table = f"{NOTE_LABELS.name}_v{NOTE_LABELS.version}"
    row = ", ".join(["user_id", "anchor_ts", "anchor_id", "revision", *NOTE_LABELS.value_schema])
    change = "user_id, anchor_ts, anchor_id, revision, kind, reason, point_ts"
    asked = (
        ("rows", table, "note_labels", row),
        ("changes", "label_changes", "label_changes", change),
    )
    found = {"rows": 0, "differing_rows": 0, "changes": 0, "differing_changes": 0}
    db = duckdb.connect(config={"memory_limit": "4GB"})
    db.execute("SET TimeZone = 'UTC'")
    for name in ("store", "twin"):
        db.execute(f"ATTACH '{root / name}.duckdb' AS {name} (READ_ONLY)")
    for hour in range(ceil(hours)):
        low = data.START + timedelta(hours=hour)
        inside = f"anchor_ts >= '{low}' AND anchor_ts < '{low + data.HOUR}'"
        for kind, mine, yours, columns in asked:
            a = f"SELECT {columns} FROM store.{mine} WHERE {inside}"
            b = f"SELECT {columns} FROM twin.{yours} WHERE {inside}"
            both = f"({a} EXCEPT ALL {b}) UNION ALL ({b} EXCEPT ALL {a})"
            found[kind] += _count(db, a)
            found[f"differing_{kind}"] += _count(db, both)
    db.close()
    return {"equal": not (found["differing_rows"] or found["differing_changes"]), **found}


def _count(db: duckdb.DuckDBPyConnection, query: str) -> int:
    row = db.execute(f"SELECT count(*) FROM ({query})").fetchone()
    return int(row[0]) if row else 0
