"""Attribution replayed, archive to published DuckDB file, against SQL that makes the same tables.

Always holds: ``labeling replay`` and the SQL run as processes of their own, one after the other,
from the same archive files into DuckDB files of the same storage version, both closed when the
clock stops; final rows, credit and value included, and changes are compared row by row.

Not promised: cold files. Both find them in the system's cache if there is room. Of changes, old
and new values are left out.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import timedelta
from math import ceil
from pathlib import Path
from typing import Any, Final

import duckdb

from benchmarks import attribution_twin, commands, data, measure
from labeling.io.archive import ArchiveFile
from labeling.model.kinds import Rule

SMALL: Final = {"events": 100_000, "hours": 6.0}
_CHANGE: Final = ("revision", "kind", "reason", "point_ts")


def run(
    *,
    events: int = 10_000_000,
    hours: float = 24.0,
    seed: int = 1,
    memory: str = "4GB",
    rules: str = "follow_causes,order_attribution",
    work: str = "",
) -> dict[str, Any]:
    """Replay attribution rules, compare with SQL, and tell what each rule costs by itself.

    Args:
        events: of the simulated log.
        hours: that it spans.
        seed: of the log.
        memory: what the replay may use for a block, and DuckDB for its SQL.
        rules: shipped rules to be replayed, separated by commas; ``all`` for every one. Those that
            there is SQL for are compared, and replayed together first.
        work: folder to keep the archive in; a temporary one if empty.
    """
    chosen = data.shipped(rules)
    compared = [r for r in chosen if r.name in attribution_twin.RULES]
    with data.folder(work) as root:
        files = data.fill(root, events, hours, seed)
        data.project(root, memory=memory, rules=rules)
        if not (root / "filled.duckdb").exists():  # a run that was stopped left its rows behind
            shutil.copy(root / "store.duckdb", root / "filled.duckdb")
        told: dict[str, Any] = {"archive_mb": round(sum(f.bytes for f in files) / 1e6, 1)}
        if compared:
            told |= _against_sql(root, files, events, hours, memory, compared)
        idle = _replay(root, hours, chosen, "--dry-run")
        told["start_cpu_seconds"] = round(idle.cpu_seconds, 3)
        if len(chosen) > len(compared):
            told["together"] = _replay(root, hours, chosen).told(events)
        told["alone"] = {rule.name: _alone(root, hours, rule, events) for rule in chosen}
        shutil.copy(root / "filled.duckdb", root / "store.duckdb")
    return told


def _against_sql(
    root: Path,
    files: list[ArchiveFile],
    events: int,
    hours: float,
    memory: str,
    rules: Sequence[Rule],
) -> dict[str, Any]:
    """Both, their ratios (above 1: we are faster), and what differs."""
    ours = _replay(root, hours, rules)
    theirs = by_sql(root, files, hours, memory, rules)
    differences = {rule.name: _differences(root, rule) for rule in rules}
    differing = sum(
        n for d in differences.values() for name, n in d.items() if name.startswith("differing")
    )
    return {
        "replay": ours.told(events),
        "sql": theirs.told(events),
        "speed_ratio": round(theirs.seconds / ours.seconds, 3),
        "cpu_ratio": round(theirs.cpu_seconds / ours.cpu_seconds, 3),
        "equal": differing == 0,
        "compared": differences,
    }


def _end(hours: float) -> timedelta:
    return timedelta(hours=ceil(hours))


def _replay(root: Path, hours: float, rules: Sequence[Rule], *more: str) -> commands.Ran:
    """A replay of rules into a store that has nothing but the archive's files."""
    shutil.copy(root / "filled.duckdb", root / "store.duckdb")
    end = data.START + _end(hours)
    words = ["--from", f"{data.START:%Y-%m-%dT%H}", "--to", f"{end:%Y-%m-%dT%H}", *more]
    words += [word for rule in rules for word in ("--rule", rule.name)]
    ran = commands.labeling(["replay", *words], root)
    measure.say(f"{ran}")
    return ran


def _alone(root: Path, hours: float, rule: Rule, events: int) -> dict[str, float]:
    """What a rule costs that is replayed by itself; start-up is part of it."""
    ran = _replay(root, hours, [rule])
    db = duckdb.connect(str(root / "store.duckdb"), read_only=True)
    rows = _count(db, f"FROM {rule.name}_v{rule.version}")
    db.close()
    per_million = round(ran.cpu_seconds / events * 1e6, 3)
    return {**ran.told(events), "cpu_seconds_per_million": per_million, "rows": rows}


def by_sql(
    root: Path, files: list[ArchiveFile], hours: float, memory: str, rules: Sequence[Rule]
) -> commands.Ran:
    """Make the same tables by SQL, in ``twin.duckdb``."""
    out = root / "twin.duckdb"
    out.unlink(missing_ok=True)
    task = {
        "out": str(out),
        "rules": [rule.name for rule in rules],
        "files": [str(p) for p in data.paths(root, files)],
        "from_ts": data.START.isoformat(),
        "to_ts": (data.START + _end(hours)).isoformat(),
        "memory": memory,
    }
    path = root / "twin.json"
    path.write_text(json.dumps(task), encoding="utf-8")
    ran = commands.python(["benchmarks.attribution_twin", str(path)], root)
    measure.say(f"sql: {ran}")
    return ran


def _differences(root: Path, rule: Rule) -> dict[str, int]:
    """Rows and changes, and how many of them only one of the two files has."""
    row = ", ".join(f'"{c}"' for c in (*rule.row_keys, "revision", *rule.value_schema))
    change = ", ".join((*rule.row_keys, *_CHANGE))
    of_rule = f"WHERE rule = '{rule.name}' AND version = {rule.version}"
    asked = (
        ("rows", row, f"{rule.name}_v{rule.version}", rule.name),
        ("changes", change, f"label_changes {of_rule}", f"{rule.name}_changes"),
    )
    found: dict[str, int] = {}
    db = duckdb.connect(config={"memory_limit": "4GB"})
    db.execute("SET TimeZone = 'UTC'")
    for name in ("store", "twin"):
        db.execute(f"ATTACH '{root / name}.duckdb' AS {name} (READ_ONLY)")
    for kind, columns, mine, yours in asked:
        a, b = f"SELECT {columns} FROM store.{mine}", f"SELECT {columns} FROM twin.{yours}"
        both = f"({a} EXCEPT ALL {b}) UNION ALL ({b} EXCEPT ALL {a})"
        found[kind] = _count(db, a)
        found[f"differing_{kind}"] = _count(db, both)
    db.close()
    return found


def _count(db: duckdb.DuckDBPyConnection, query: str) -> int:
    row = db.execute(f"SELECT count(*) FROM ({query})").fetchone()
    return int(row[0]) if row else 0
