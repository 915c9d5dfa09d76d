"""The live flow: a backlog worked off, a steady rate beside a producer, a restart after kill -9.

Always holds: broker, producer, flow and store are on the same machine; the flow is ``labeling run``
as anybody would start it; events are the simulator's JSON through the shipped note labels (a point
after one minute, a window of 30), or through other shipped rules, with what is made of them.

Not promised: a log that passes as fast as its clock: event time runs as fast as records are read.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import commands, data, measure, per_event, topic
from benchmarks.live_log import MARKERS, Kind, producing, project, write
from labeling.errors import LabelingError
from labeling.io.remote import RemoteStore, open_store
from labeling.io.remote.client import Client
from labeling.io.remote.live import read_live
from tests.kafka_broker import Broker, started

SMALL: Final = {"events": 30_000, "hours": 0.5, "rate": 5_000.0, "seconds": 4, "plain": 5_000}
TOPIC: Final = "events"


def run(  # noqa: PLR0913 - the options of a command
    *,
    events: int = 2_000_000,
    hours: float = 2.0,
    seed: int = 1,
    partitions: int = 4,
    rate: float = 58_000.0,
    seconds: int = 30,
    repeat: int = 1,
    plain: int = 200_000,
    rules: str = "note_labels",
    features: int = 0,
    rollups: int = 0,
    markers: int = 0,
    samples: str = "",
) -> dict[str, Any]:
    """Measure the live flow.

    Args:
        events: of the log.
        hours: that it spans.
        seed: of the log.
        partitions: of the topic.
        rate: of the producer beside the flow, records a second.
        seconds: for which it produces.
        repeat: how many times the backlog is worked off; the median counts.
        plain: records of the log that the plain per-event operator reads; 0: leave it out.
        rules: shipped rules, separated by commas; ``hot``: those that a flow streams; ``all``: the
            cold ones too, which it repairs beside.
        features: bytes of a record of features as JSON, about; with them note samples are made.
            0: none.
        rollups: 1: hourly sums of note labels are kept.
        markers: 1: markers of hours go to a topic.
        samples: a format in which samples go to a topic, such as ``wait``; needs features.
    """
    kind = Kind(rules, partitions, features, bool(rollups), bool(markers), samples)
    with data.folder("") as root, started() as broker:
        log = root / "log.jsonl"
        write(log, events, hours, seed, kind)
        broker.create_topic(MARKERS, 1)
        kind.topics(broker, TOPIC)
        kind.fill(broker, TOPIC, log)
        ran = []
        for number in range(repeat):
            folder = project(root / f"backlog{number}", broker, TOPIC, kind)
            ran.append(commands.labeling(["run", "--until-caught-up"], folder))
            measure.say(ran[-1].output)
        middle = sorted(ran, key=lambda r: r.seconds)[len(ran) // 2]
        told: dict[str, Any] = {
            "bytes_per_event": round(log.stat().st_size / events),
            "backlog": {
                **middle.told(events),
                "flow_events_per_second": _flowed(middle.output),
                "cpu_us_per_event": round(middle.cpu_seconds * 1e6 / events, 2),
                **_made(root / "backlog0", kind),
            },
        }
        if plain:
            broker.create_topic("plain", partitions)
            topic.fill(broker.bootstrap, "plain", _head(log, plain), partitions)
            told["per_event"] = per_event.measured(broker.bootstrap, "plain")
            told["ratio_to_per_event"] = round(
                told["backlog"]["events_per_second"] / told["per_event"]["events_per_second"], 2
            )
        told["steady"] = _steady(root, broker, kind, rate, seconds, seed)
        told["restart"] = _restart(root, broker, log, partitions)
    return told


def _made(folder: Path, kind: Kind) -> dict[str, int]:
    """How many features were read, and samples made of them; nothing without features."""
    if not kind.features:
        return {}
    root = folder / "archive" / "features" / data.RANKER
    size = sum(file.stat().st_size for file in root.rglob("*.parquet"))
    count = "(SELECT count(*) FROM note_samples WHERE status"
    asked = f"SELECT {count} = 'joined') AS joined, {count} <> 'joined') AS no_features, "
    asked += f"(SELECT sum(records) FROM counts WHERE source = '{data.RANKER}')::BIGINT AS features"
    with open_store(folder / "store.duckdb", read_only=True) as store:
        found: dict[str, int] = store.query(asked).row(0, named=True)
    return found | {"features_archive_mb": round(size / 1e6)}


def _flowed(said: str) -> int | None:
    """The rate of the flow itself, without start-up and closing the store, as it says."""
    found = re.search(r"events in [\d.]+ s, (\d+) a second", said)
    return int(found[1]) if found else None


@contextmanager
def _flow(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A flow that runs until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "labeling.cli.main", "run"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(commands.ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def _status(folder: Path) -> dict[str, Any] | None:
    """What a running flow tells of itself; None while it starts."""
    path = folder / "store.duckdb"
    live = read_live(path)
    try:
        # Nobody answers: a look into the file itself would lock it against the flow that starts.
        if live is None or Client(live).greet() is None:
            return None
        with open_store(path, read_only=True) as store:
            return store.status() if isinstance(store, RemoteStore) else None
    except LabelingError:  # it starts or ends at this moment
        return None


def _lag(status: dict[str, Any]) -> int:
    return sum(p["lag"] or 0 for p in status["partitions"])


def _steady(
    root: Path, broker: Broker, kind: Kind, rate: float, seconds: int, seed: int
) -> dict[str, Any]:
    """Lag and freshness beside a producer."""
    log = root / "steady.jsonl"
    write(log, round(rate * seconds), rate * seconds / 1_000_000, seed + 1, kind)
    kind.topics(broker, "steady")
    folder = project(root / "steady", broker, "steady", kind)
    lags: list[int] = []
    last: dict[str, Any] = {}
    with _flow(folder):
        while _status(folder) is None:
            time.sleep(0.2)
        with producing(broker, log, kind, rate, seconds) as producers:
            while any(producer.poll() is None for producer in producers):
                time.sleep(1)
                if status := _status(folder):
                    last = status
                    lags.append(_lag(status))
            took = json.loads(producers[0].communicate()[0])["seconds"]
    half = lags[len(lags) // 2 :]
    return {
        "produced_per_second": round(rate * seconds / took),
        "lag_median_records": round(median(half)) if half else None,
        "lag_last_records": lags[-1] if lags else None,
        "freshness_s": last.get("freshness_s"),
        "held_events": last.get("held", {}).get("events"),
        "bytes_per_held_event": _each(last),
    }


def _each(status: dict[str, Any]) -> float | None:
    held = status.get("held", {})
    return round(held["bytes"] / held["events"], 1) if held.get("events") else None


def _restart(root: Path, broker: Broker, log: Path, partitions: int) -> dict[str, Any]:
    """From the start after a kill -9 to the first commit and to no lag, the state full."""
    folder = root / "backlog0"
    with _flow(folder) as flow:
        while _status(folder) is None:
            time.sleep(0.1)
        flow.kill()
        flow.wait(30)
    began = time.perf_counter()
    with _flow(folder) as flow:
        topic.fill(broker.bootstrap, TOPIC, _head(log, 1_000), partitions)
        while not (status := _status(folder)) or not status["commits"] or _lag(status):
            if flow.poll() is not None:
                raise RuntimeError(f"the flow ended with status {flow.returncode}")
            time.sleep(0.05)
        took = time.perf_counter() - began
    return {"seconds": round(took, 2), "held_events": status["held"]["events"]}


def _head(log: Path, lines: int) -> Path:
    """The first lines of a log, in a file beside it."""
    head = log.with_name("head.jsonl")
    with log.open("rb") as whole, head.open("wb") as some:
        some.writelines(line for line, _ in zip(whole, range(lines), strict=False))
    return head
