"""Markers through the real flow: on the topic, for ``labeling wait``, and over a crash.

Always holds: what is told on the topic is what the store has, whatever died in between.

Not promised: clauses one by one; see test_markers.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from labeling.io.store import Store
from labeling.model.table import table_of
from labeling.products.markers.digests import recounted
from labeling.products.markers.rows import marker_key, markers_told
from tests.kafka_broker import Broker
from tests.live_process import flow
from tests.live_project import LiveProject, event, shows
from tests.replay_project import RULE

TEN, ELEVEN = "2026-11-20T10", "2026-11-20T11"
STATES = [(h, n, s) for h in (TEN, ELEVEN) for n, s in ((1, "complete"), (2, "settled"))]


def test_markers_of_a_flow_that_dies(broker: Broker, tmp_path: Path) -> None:
    """Committed and not sent, they are sent by the next start; wait returns; a healing is told."""
    project = LiveProject(tmp_path, broker, live={"batch": "20ms"})
    topic = project.source(files="*.jsonl")
    project.write(markers_topic=project.topic("markers"))
    project.produce(topic, [*shows(0, 100), *shows(3_700, 3_760), event("x", 9_800)])
    with flow(project, die=("before sending", 1)) as one:
        assert one.died(), one.said
    assert project.query("FROM markers").height > 0
    assert told(project) == []
    waiting = waits(project, "--settled")
    try:
        with flow(project) as one:
            assert waiting.wait(60) == 0, one.said
            project.produce(topic, [event("click", 5, "u0")])
            sql = "SELECT count(*) AS n FROM late_events WHERE arrival = 'too_late'"
            one.until(sql, lambda f: f["n"][0] == 1)
            done = project.command("verify", "--from", TEN, "--to", ELEVEN, "--publish")
            assert done.exit_code == 0, done.output
            one.stop()
    finally:
        waiting.kill()
        waiting.communicate()
    check(project)


def check(project: LiveProject) -> None:
    """Topic and store say the same; digests are those of the rows; each state was told once."""
    rows = project.query("FROM markers ORDER BY hour, revision")
    mine = [
        (f"{h:%Y-%m-%dT%H}", n, s) for h, n, s in rows.select("hour", "revision", "state").rows()
    ]
    assert mine == sorted([*STATES, (TEN, 3, "republished")])
    assert rows["too_late"].to_list() == [0, 0, 1, 0, 0]
    assert rows["delta_rows"].to_list() == [10, 0, 0, 6, 0]
    by_place = {(m["hour"], m["revision"]): (k, m) for k, m in told(project)}
    assert [by_place[p] for p in sorted(by_place)] == [
        (marker_key(m), m) for m in markers_told(rows)
    ]
    with Store.open(project.config.store, read_only=True) as store:
        counted = recounted(store.database, table_of(RULE))
        kept = store.query("SELECT * EXCLUDE (rule, version) FROM digests ORDER BY hour")
    assert kept.rows() == counted.rows()
    last = rows.group_by("hour", maintain_order=True).last()
    assert last.select(kept.columns).rows() == kept.rows()


def told(project: LiveProject) -> list[tuple[str, dict[str, Any]]]:
    """Keys and markers of the topic, in order."""
    found = project.consumed(project.live["markers_topic"])
    return [(key.decode(), json.loads(value)) for key, value in found]


def waits(project: LiveProject, *more: str) -> subprocess.Popen[bytes]:
    """``labeling wait`` through eleven o'clock, in a process."""
    words = ["wait", "--rule", "shown", "--through", ELEVEN, "--every", "100ms", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "labeling.cli.main", *words, "--config", str(project.file)]
    )
