"""Attribution rules as a good engineer would write them in DuckDB's SQL: a third opinion.

Always holds: the tables are those that a replay publishes: final rows with the revision that they
have reached, and the updates and retractions after the first publication. Nothing of the engine is
used; credit and value are whole numbers, shared out by the same rule for what is missing.

Not promised: that repeats of one identity are noticed, or values that add up past 64 bits. Of a
change, ``old`` and ``new`` hold what can differ, not every column.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import duckdb

from benchmarks.twin import statements
from labeling.io.store.database import STORAGE_VERSION

#: The rules that there is SQL for; each has a file of its name.
RULES: Final = ("follow_causes", "order_attribution")


def attribute(
    out: Path,
    rules: Sequence[str],
    files: Sequence[Path],
    from_ts: datetime,
    to_ts: datetime,
    *,
    memory: str = "4GB",
) -> None:
    """Make the tables of rules in a new DuckDB file, closed afterwards.

    Args:
        out: where; the file does not exist yet.
        rules: of ``RULES``.
        files: of the archive, with every event within reach of the range.
        from_ts: actions at or after it, with a timezone.
        to_ts: likewise, exclusive.
        memory: what DuckDB may use.
    """
    db = duckdb.connect(config={"memory_limit": memory})
    db.execute("SET TimeZone = 'UTC'")
    # As fast as it goes: nobody asked for the order of the files.
    db.execute("SET preserve_insertion_order = false")
    db.execute(f"ATTACH '{out}' AS twin (STORAGE_VERSION '{STORAGE_VERSION}')")
    db.execute("USE twin")
    given = {"files": [str(f) for f in files], "from_ts": from_ts, "to_ts": to_ts}
    for name, value in given.items():
        db.execute(f"SET VARIABLE {name} = ?", [value])
    for rule in rules:
        for statement in statements(rule):
            db.execute(statement)
    db.close()


def main(path: str) -> None:
    """Do what a JSON file asks for; see ``benchmarks/attribution.py``."""
    task = json.loads(Path(path).read_text(encoding="utf-8"))
    span = [datetime.fromisoformat(task[name]) for name in ("from_ts", "to_ts")]
    files = [Path(f) for f in task["files"]]
    attribute(Path(task["out"]), task["rules"], files, span[0], span[1], memory=task["memory"])


if __name__ == "__main__":
    main(sys.argv[1])
