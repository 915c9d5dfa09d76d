"""Samples through the real flow: waited for, corrected, owned, replayed and counted anew."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from labeling.io.store import Store
from tests.features_project import item, request
from tests.kafka_broker import Broker
from tests.live_project import LiveProject, event
from tests.sample_drive import HOUR
from tests.store_shapes import T0
from tests.test_features_live import made, topics


@pytest.fixture
def project(broker: Broker, tmp_path: Path) -> LiveProject:
    """Events of one topic, features of another, and a sample rule of all negatives."""
    return made(broker, tmp_path)


def impressions(first: int, last: int) -> list[dict[str, Any]]:
    """One every ten seconds, of a user and request of its own; every second is clicked."""
    shown = [
        event("show", s, f"u{s}", request_id=f"r{s}", item_id="i") for s in range(first, last, 10)
    ]
    clicked = [
        event("click", s + 90, f"u{s}", item_id="i", request_id=f"r{s}")
        for s in range(first, last, 20)
    ]
    return sorted([*shown, *clicked], key=lambda e: e["event_ts"])


def served(first: int, last: int) -> list[dict[str, Any]]:
    """The ranker's record of each of them, two seconds before."""
    return [request(f"r{s}", s - 2, item("i", s / 7)) for s in range(first, last, 10)]


def changes(project: LiveProject) -> list[tuple[Any, ...]]:
    """Every sample's last revision, and what it says."""
    return project.query(
        "SELECT user_id, revision, status, clicked, served_ts, kept FROM samples ORDER BY anchor_ts"
    ).rows()


def test_live_samples_are_those_of_a_replay(project: LiveProject) -> None:
    """S5, S10, S11: features are waited for; replays of the live and of an empty store agree."""
    topic = topics(project)
    alone = event("show", 11_870, "late", request_id="late", item_id="i")
    project.produce(topic["app"], [*impressions(0, 3000), alone, event("x", 12_000)])
    project.produce(topic["ranker"], [*served(0, 3000), request("end", 12_000, item("i"))])
    project.run()
    assert changes(project)[-1] == ("late", 1, "no_features", False, None, 1.0)
    # One that is late corrects its sample, one that is too late waits for a replay.
    project.produce(topic["ranker"], [request("late", 11_500, item("i"))])
    project.produce(topic["ranker"], [request("r2000", 1_400, item("i", 0.9))])
    project.run()
    at = T0 + timedelta(seconds=11_500)
    *rows, last = changes(project)
    assert last == ("late", 2, "joined", False, at, 1.0)
    assert len(rows) == 300
    assert {row[2] for row in rows} == {"joined"}
    assert [row[1] for row in rows] == [2, 1] * 150
    assert [row[4] for row in rows] == [T0 + timedelta(seconds=s - 2) for s in range(0, 3000, 10)]
    hours = "SELECT rule, hour, complete, published_by, rows FROM hours WHERE hour = "
    noted = project.query(f"{hours} TIMESTAMPTZ '{T0}' AND rule <> 'alone' ORDER BY rule").rows()
    assert noted == [(rule, T0, True, "stream", 300) for rule in ("joined", "samples")]
    assert project.query("SELECT count(*) FROM samples_final").item() == 300
    replayed(project)
    *found, _ = changes(project)
    assert [row for row, was in zip(found, rows, strict=True) if row != was] == [
        ("u2000", 3, "joined", True, T0 + timedelta(seconds=1400), 1.0)
    ]
    told = "SELECT reason, count(*) AS n FROM label_changes WHERE rule = 'samples' GROUP BY ALL"
    assert project.query(f"{told} ORDER BY ALL").rows() == [
        ("late", 1), ("point", 150), ("replay", 1),
    ]  # fmt: skip
    recounted = project.command("recount", "--rule", "samples")
    assert recounted.exit_code == 0, recounted.output
    emptied(project)
    assert changes(project) == [last]
    replayed(project)
    # The revisions of the stream, and of what replay healed.
    assert changes(project) == [*found, last]


def replayed(project: LiveProject) -> None:
    """Replay the hour."""
    done = project.command(
        "replay", "--from", "2026-11-20T10", "--to", "2026-11-20T11", "--rule", "joined", "--force"
    )
    assert done.exit_code == 0, done.output


def emptied(project: LiveProject) -> None:
    """Take the rows of the hour out of the store, as if none had been published."""
    with Store.open(project.config.store) as store:
        for rule in ("joined", "samples"):
            store.database.run(f"DELETE FROM {rule}_v1 WHERE anchor_ts < ?", [T0 + HOUR])
            store.database.run("DELETE FROM hours WHERE rule = ? AND hour = ?", [rule, T0])
