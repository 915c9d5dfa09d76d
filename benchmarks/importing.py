"""``labeling import`` of JSON lines, from the command's start to its end.

Always holds: every event of the log is read, decoded, checked, looked up as a duplicate, sorted and
archived, and the commits are in the store.

Not promised: a cold disk: the file has just been written.
"""

from __future__ import annotations

from statistics import median
from typing import Any, Final

from benchmarks import commands, data, measure
from labeling.testing.simulator import Disturbance, World, write_log

SMALL: Final = {"events": 20_000, "repeat": 1}


def run(
    *,
    events: int = 2_000_000,
    hours: float = 2.0,
    seed: int = 1,
    disorder_ms: int = 30_000,
    form: str = "jsonl",
    repeat: int = 3,
) -> dict[str, Any]:
    """Import a simulated log; the median of several imports into fresh stores.

    Args:
        events: of the log.
        hours: that it spans.
        seed: of the log.
        disorder_ms: how long events wait on their way.
        form: ``jsonl`` or ``parquet``.
        repeat: how many imports.
    """
    with data.folder("") as root:
        log = root / f"log.{form}"
        way = Disturbance(disorder_ms=disorder_ms)
        write_log(
            World(), log, events=events, hours=hours, seed=seed, start=data.START, form=form,
            disturbance=way,
        )  # fmt: skip
        ran = []
        for number in range(repeat):
            folder = root / f"project{number}"
            folder.mkdir()
            data.project(folder, form=form)
            ran.append(commands.labeling(["import", str(log)], folder))
            measure.say(ran[-1].output)
        middle = median(r.seconds for r in ran)
        chosen = next(r for r in ran if r.seconds >= middle)
        size = log.stat().st_size
    return {**chosen.told(events), "file_mb": round(size / 1e6, 1), "said": ran[-1].output.strip()}
