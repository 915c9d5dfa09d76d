"""What a flow does when told to stop, when time stands still, when the configuration moved.

Each test runs the flow in this process, but where a process must end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from labeling.io import durable
from labeling.io.store.database import Database
from tests.kafka_broker import Broker
from tests.live_checks import check, check_consumer
from tests.live_process import flow
from tests.live_project import LiveProject, event, shows
from tests.live_stream import dealt, send, simulated, simulated_project


@pytest.fixture
def project(broker: Broker, tmp_path: Path) -> LiveProject:
    """A project without sources yet."""
    return LiveProject(tmp_path, broker, live={"batch": "20ms", "batch_events": 50})


def test_sigterm_drains(broker: Broker, tmp_path: Path) -> None:
    """SIGTERM in the middle of a backlog: status 0, all that was read is committed and sent."""
    project = simulated_project(tmp_path / "p", broker, batch_events=100)
    send(project, dealt(simulated(4_000), (5, 2, 1)))
    with flow(project) as one:
        one.until("SELECT count(*) AS n FROM commits", lambda f: f["n"][0] > 5)
        one.stop()
    check(project)
    assert project.query("FROM outbox").is_empty()
    read = project.counts()["records"]
    assert 0 < read < len(simulated(4_000))
    project.run()
    check(project)
    assert project.counts()["records"] == len(simulated(4_000))


def test_until_caught_up_says_what_waits(project: LiveProject) -> None:
    """How far the watermark is, and how many rows wait for which event time."""
    topic = project.source()
    assert project.run() == ["shown@1: nothing has passed yet"]
    project.produce(topic, [event("show", 0), event("show", 600, "v"), event("x", 1_000)])
    waits = "2 rows wait for event time 2026-11-20T10:40:00Z"
    assert project.run() == [f"shown@1: the watermark is 2026-11-20T10:15:40Z; {waits}"]


def test_a_silent_partition_is_idle_only_at_the_brokers_end(project: LiveProject) -> None:
    """With a partition silent the watermark stands, until the partition counts as idle."""
    topic = project.source(partitions=2, idle_after="1h")
    project.produce(topic, [event("show", 0), event("x", 4_000)])
    with flow(project) as one:
        one.until("SELECT sum(next_offset) AS n FROM positions", lambda f: f["n"][0] == 2)
        one.until("SELECT count(*) AS n FROM positions", lambda f: f["n"][0] == 2)
        one.stop()
    assert project.query("SELECT max(f_ms) < 0 FROM watermarks").item()
    project._sources["app"]["idle_after"] = "200ms"  # noqa: SLF001 - the same source, less patient
    project.write()
    with flow(project) as one:
        one.until("SELECT count(*) AS n FROM positions WHERE idle", lambda f: f["n"][0] == 2)
        # Of nothing but idle partitions nothing passes; one goes on, without the other.
        project.produce(topic, [event("x", 4_001)])
        one.until("SELECT max(f_ms) AS f FROM watermarks", lambda f: f["f"][0] > 0)
        one.stop()
    assert project.query("SELECT count(*) FROM shown_v1").item() == 1
    check(project)


def test_a_topic_hours_behind_is_waited_for(project: LiveProject) -> None:
    """The one ahead is paused before it fills memory, and nothing of either comes late."""
    near, far = project.source("near"), project.source("far")
    project.write(max_lead="10m", batch_events=200)
    six_hours = 6 * 3_600
    project.produce(near, shows(six_hours, six_hours + 7_200))
    project.produce(far, shows(0, six_hours + 7_200))
    with flow(project) as one:
        ahead = (
            "SELECT coalesce(max(mark_ms) FILTER (source = 'near') - max(mark_ms) FILTER "
            "(source = 'far'), 0) // 60000 AS minutes, coalesce(max(mark_ms) FILTER "
            f"(source = 'far'), 0) // 60000 - {_minute()} AS far FROM positions"
        )
        seen: list[tuple[int, int]] = []

        def noted(found: pl.DataFrame) -> bool:
            seen.append((found["minutes"][0], found["far"][0]))
            return bool(found["far"][0] > 470)

        one.until(ahead, noted)
        one.stop()
    # One batch may be read before anything is known of the other: 100 shows, a thousand seconds.
    behind = [minutes for minutes, far in seen if 0 < far < 340]
    assert behind
    assert max(m + far for (m, far) in seen if 0 < far < 340) <= 360 + 17 + 10
    assert project.query("FROM late_events").is_empty()
    check(project)


def _minute() -> int:
    return int(datetime(2026, 11, 20, 10, tzinfo=UTC).timestamp()) // 60


def test_a_time_in_the_future_is_rejected(project: LiveProject) -> None:
    """One bad clock does not make everybody else late."""
    topic = project.source()
    ahead = datetime.now(UTC) + timedelta(days=1)
    bad = event("show", 0) | {"event_ts": int(ahead.timestamp() * 1000)}
    project.produce(topic, [event("show", 0), bad, event("click", 1), b"\xff{", event("x", 4_000)])
    project.run()
    reasons = project.query('SELECT reason, "offset" FROM rejects ORDER BY "offset"').rows()
    assert reasons == [("future_timestamp", 1), ("bad_json", 3)]
    assert project.query("SELECT clicked FROM shown_v1").item()
    assert project.counts()["too_late"] == 0
    check(project)


def test_the_broker_goes_and_comes_back(project: LiveProject, broker: Broker) -> None:
    """The flow waits, and goes on with what is produced afterwards."""
    topic = project.source()
    project.write(changes_topic=project.topic("changes"))
    project.produce(topic, [*shows(0, 200), event("x", 4_000)])
    with flow(project) as one:
        one.until("SELECT count(*) AS n FROM shown_v1", lambda f: f["n"][0] == 20)
        broker.stop(kill=True)
        time.sleep(1)
        broker.start()
        project.produce(topic, [*shows(4_000, 4_200), event("x", 8_000)])
        one.until("SELECT count(*) AS n FROM shown_v1", lambda f: f["n"][0] == 40)
        one.stop()
    check(project)
    assert len(project.consumed(project.live["changes_topic"])) >= 40


@pytest.mark.parametrize("where", ["archiving", "committing"])
def test_a_full_disk_is_waited_for(
    project: LiveProject,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    """The flow says what it waits for and goes on when there is room; nothing is lost."""
    topic = project.source()
    project.write(changes_topic=project.topic("changes"))
    project.produce(topic, [*shows(0, 1_000), event("x", 4_000)])
    full = _Full(where)
    full.install(monkeypatch)
    monkeypatch.setattr("labeling.live.patience._FIRST_S", 0.01)
    with caplog.at_level("INFO", logger="labeling"):
        project.run()
    assert full.refused == full.times
    said = [r.getMessage() for r in caplog.records if r.name == "labeling"]
    assert sum(f"{where} waits: " in line for line in said) == 1
    assert f"{where} goes on" in said
    monkeypatch.undo()
    check(project)
    check_consumer(project, project.live["changes_topic"])
    assert project.counts()["records"] == 2 * 100 + 1


class _Full:
    """A disk without space, for some calls from the third commit on."""

    times = 3

    def __init__(self, where: str) -> None:
        self.where = where
        self.calls = self.refused = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refuse what is synced, or what is committed."""
        if self.where == "archiving":
            real = durable._sync  # noqa: SLF001 - where a full disk is found out
            monkeypatch.setattr(durable, "_sync", self._tail(real))
        else:
            run = Database.run
            error = duckdb.IOException(_FULL)
            monkeypatch.setattr(
                Database, "run",
                lambda db, sql, params=(): self._or(run, error, db, sql, params)
                if sql == "COMMIT" else run(db, sql, params),
            )  # fmt: skip

    def _tail(self, real: Callable[[Path], None]) -> Callable[[Path], None]:
        error = OSError(28, _FULL)
        return lambda path: self._or(real, error, path) if "tail" in path.parts else real(path)

    def _or(self, real: Callable[..., object], error: Exception, *args: object) -> None:
        self.calls += 1
        if self.calls > 6 and self.refused < self.times:
            self.refused += 1
            raise error
        real(*args)


_FULL = "No space left on device"


def test_expired_records_are_a_gap(project: LiveProject, broker: Broker) -> None:
    """What had expired is listed with its times, and the flow goes on behind it."""
    topic = project.source()
    project.produce(topic, shows(0, 100))
    project.run()
    lost = shows(100, 200)
    project.produce(topic, lost)
    project.produce(topic, [*shows(200, 300), event("x", 4_000)])
    broker.expire(topic, 0, 40)
    project.run()
    gap = project.query("SELECT from_offset, to_offset, from_ts, to_ts FROM gaps").row(0)
    ten = datetime(2026, 11, 20, 10, tzinfo=UTC)
    assert gap == (20, 40, ten + timedelta(seconds=31), ten + timedelta(seconds=200))
    assert project.query("SELECT count(*) FROM shown_v1").item() == 20
    check(project)


def test_an_import_beside_the_flow_heals_a_gap(project: LiveProject, broker: Broker) -> None:
    """The hours of the gap are imported whole: what was read is a duplicate, the rest is healed."""
    topic = project.source(files="*.jsonl")
    events = shows(0, 300)
    project.produce(topic, events[:20])
    project.run()
    project.produce(topic, [*events[20:], event("x", 8_000)])
    broker.expire(topic, 0, 40)
    lines = "".join(json.dumps(e) + "\n" for e in events)
    (project.folder / "hour.jsonl").write_text(lines)
    with flow(project) as one:
        one.until("SELECT count(*) AS n FROM hours", lambda f: f["n"][0] == 1)
        for _ in range(2):
            done = project.command("import", str(project.folder / "hour.jsonl"))
            assert done.exit_code == 0, done.output
        span = ["--from", "2026-11-20T10", "--to", "2026-11-20T11"]
        told = project.command("verify", *span)
        assert "gap: shown@1" in told.output
        assert "10 too late, 0 bugs" in told.output
        project.command("verify", *span, "--publish")
        one.stop()
    assert project.query("SELECT count(*), count_if(clicked) FROM shown_v1").row(0) == (30, 30)
    counts = project.counts()
    assert (counts["too_late"], counts["accepted"]) == (20, 41)
    archived = project.archived().select("user_id", "event_id")
    assert archived.n_unique() == archived.height == 61
    last = project.command("verify", *span).output.strip().splitlines()[-1]
    assert last == "live equals replay: 30 rows, 0 differences"


def test_large_records_make_small_rounds(broker: Broker, tmp_path: Path) -> None:
    """A round ends at about so many bytes too: of large records fewer are in memory at a time."""
    live = {"batch": "20ms", "batch_events": 5_000, "batch_bytes": "40KB"}
    project = LiveProject(tmp_path, broker, live=live)
    topic = project.source()
    rest = {"page_id": "p" * 4_000}
    project.produce(topic, [event("show", second, f"u{second}", **rest) for second in range(200)])
    project.run()
    rounds = project.query("SELECT events FROM commits WHERE events > 0")["events"]
    # The first is read before anybody knows how large they are.
    assert sum(rounds) == 200
    assert max(rounds[1:]) <= 10
    check(project)
