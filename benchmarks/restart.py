"""A flow that starts with a full window: from the start of the process to caught up.

Always holds: the events that it holds lie in the archive's tail, in files of a round each, as a
stream leaves them; the flow is ``labeling run`` as anybody would start it, on a real broker.

Not promised: that the files are cold. They were written just before and may be in the cache.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import polars as pl

from benchmarks import commands, data
from benchmarks.live_log import Kind, project, write
from labeling.engine.keys import user_key
from labeling.io.archive import Archive
from labeling.io.store import Counts, Store
from labeling.model.event import ORIGIN_SCHEMA
from labeling.testing.simulator import EXTRA_COLUMNS, World, simulate
from tests.kafka_broker import started

SMALL: Final = {"events": 100_000}
_ROUND: Final = 250_000
_TOPIC: Final = "events"


def run(
    *,
    events: int = 90_000_000,
    minutes: float = 40,
    seed: int = 1,
    partitions: int = 4,
    rules: str = "note_labels",
) -> dict[str, Any]:
    """Measure a start.

    Args:
        events: of the log.
        minutes: that it spans; the shipped window and the default lateness make 40.
        seed: of the log.
        partitions: of the topic, which holds a thousand records more.
        rules: shipped rules, separated by commas; ``hot``: those that a flow streams.
    """
    with data.folder("") as root, started() as broker:
        kind = Kind(rules=rules, partitions=partitions)
        kind.topics(broker, _TOPIC)
        folder = project(root / "flow", broker, _TOPIC, kind)
        _fill(folder, events, minutes, seed)
        log = root / "more.jsonl"
        write(log, 1_000, minutes / 60, seed + 1, kind)
        kind.fill(broker, _TOPIC, log)
        ran = commands.labeling(["run", "--until-caught-up"], folder)
        found = re.search(r"(\d+) events are in memory again after ([\d.]+) s", ran.output)
    held = int(found[1]) if found else 0
    return {
        **ran.told(held),
        "restore_seconds": float(found[2]) if found else None,
        "held_events": held,
    }


def _fill(folder: Path, events: int, minutes: float, seed: int) -> None:
    """The log as the tail of an archive that the store in ``folder`` names."""
    archive = Archive(folder / "archive", EXTRA_COLUMNS)
    with Store.open(folder / "store.duckdb") as store:
        for chunk in simulate(
            World(), events=events, hours=minutes / 60, seed=seed, start=data.START
        ):
            for part in chunk.iter_slices(_ROUND):
                with store.commit("benchmark: a round") as commit:
                    origin = {n: pl.lit(None, kind) for n, kind in ORIGIN_SCHEMA.items()}
                    origin |= {"source": pl.lit(data.SOURCE), "arrival": pl.lit("on_time")}
                    whole = part.with_columns(user_key(), **origin).select(archive.schema.keys())
                    stem = f"benchmark-{commit.number:08d}"
                    commit.add_files([archive.write_tail(whole, stem)])
                    n = part.height
                    commit.append_counts(Counts(data.SOURCE, n, n, 0, 0, 0, n))
