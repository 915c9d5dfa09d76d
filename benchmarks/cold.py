"""Cold rules from the archive: orders by clicks of a week, follows by views of a day.

Always holds: ``labeling repair`` runs as a process of its own each time, over an archive of so many
events; first over all but the end (a backlog), then every so many minutes of event time, as a flow
would start it. Rows, events and bytes are those that the store's table ``repairs`` counts.

Not promised: a delay under load. It is the time between two repairs and what the second took.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import commands, data, measure
from labeling.io.store import Store
from labeling.io.store.repairs import Cost, Repaired, repaired_of
from labeling.model.kinds import Rule
from labeling.model.table import table_of
from labeling.model.window import duration_ms
from rules.follow_causes import FOLLOW_CAUSES
from rules.order_attribution import ORDER_ATTRIBUTION

SMALL: Final = {"events": 200_000, "days": 0.25, "steps": 2}
RULES: Final = (ORDER_ATTRIBUTION, FOLLOW_CAUSES)


def run(
    *,
    events: int = 20_000_000,
    days: float = 3.0,
    seed: int = 1,
    memory: str = "2GB",
    every: str = "5m",
    steps: int = 6,
    backlog: int = 1,
    work: str = "",
) -> dict[str, Any]:
    """Repair a backlog, then the last steps of the log.

    Args:
        events: of the log.
        days: that it spans.
        seed: of the log.
        memory: what a repair may use for the events of a step.
        every: event time between two repairs.
        steps: how many of those are measured; medians count.
        backlog: 0: repairs begin where the steps do, and what lies before has no rows.
        work: folder to keep the archive in; a temporary one if empty.
    """
    with data.folder(work) as root:
        files = data.fill(root, events, days * 24, seed)
        data.project(root, memory=memory, rules=",".join(r.name for r in RULES))
        newest = max(f.max_ts for f in files)
        step = timedelta(milliseconds=duration_ms(every))
        found = {"archive_gb": round(sum(f.bytes for f in files) / 1e9, 3)}
        return found | {
            rule.name: _measured(root, rule, newest, step, steps, backlog=bool(backlog))
            for rule in RULES
        }


def _measured(
    root: Path, rule: Rule, newest: datetime, step: timedelta, steps: int, *, backlog: bool
) -> dict[str, Any]:
    """The figures of one rule."""
    with Store.open(root / "store.duckdb") as store:
        store.database.run("DELETE FROM source_ends")  # nothing else goes back in time
    told: dict[str, Any] = {}
    if backlog:
        whole, cost = _repair(root, rule, newest - steps * step)
        told["backlog"] = whole.told(max(cost.rows, 1)) | _costs([cost])
        measure.say(f"{rule.name}: {told}")
    else:
        _begin(root, rule, newest - steps * step)
    ran = [_repair(root, rule, newest - n * step) for n in reversed(range(steps))]
    seconds = [one.seconds for one, _ in ran]
    told["steps"] = _costs([c for _, c in ran]) | {
        "median_seconds": round(median(seconds), 2),
        "median_cpu_seconds": round(median(one.cpu_seconds for one, _ in ran), 2),
        "median_delay_seconds": round(step.total_seconds() / 2 + median(seconds), 1),
        "longest_delay_seconds": round(step.total_seconds() + max(seconds), 1),
        "peak_gb": round(max(one.peak_bytes for one, _ in ran) / 1e9, 3),
    }
    return told


def _costs(costs: list[Cost]) -> dict[str, Any]:
    rows = sum(c.rows for c in costs)
    read = sum(c.bytes for c in costs)
    return {
        "rows": rows,
        "events_read": sum(c.events for c in costs),
        "mb_read": round(read / 1e6, 1),
        "bytes_per_row": round(read / max(rows, 1)),
    }


def _begin(root: Path, rule: Rule, at: datetime) -> None:
    """Note the rule as repaired up to a time."""
    with Store.open(root / "store.duckdb") as store, store.commit("benchmark: begin") as commit:
        f_ms = round(at.timestamp() * 1000)
        begun = Repaired(f_ms, store.last_commit, Cost())
        commit.set_repaired(table_of(rule), begun, rule.looks_ahead_ms)


def _repair(root: Path, rule: Rule, until: datetime) -> tuple[commands.Ran, Cost]:
    """Declare the log complete up to a time, then repair; the process, and what it cost."""
    key = rule.key
    with Store.open(root / "store.duckdb") as store:
        before = repaired_of(store.query)
        with store.commit("benchmark: time passes") as commit:
            commit.end_source(data.SOURCE, until)
    ran = commands.labeling(["repair", "--rule", rule.name], root)
    with Store.open(root / "store.duckdb", read_only=True) as store:
        now = repaired_of(store.query)[key].cost
    was = before[key].cost if key in before else Cost()
    return ran, Cost(now.rows - was.rows, now.events - was.events, now.bytes - was.bytes)
