"""Death between every two durable effects of a commit: nothing is lost, nothing is doubled.

So too where a repair hands its rows over to a flow, at both ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.kafka_broker import Broker
from tests.live_checks import assert_same, check, check_consumer, check_produced
from tests.live_main import DIED, POINTS, REPAIRING, TAKING_IN
from tests.live_process import Flow, catch_up, flow, repair
from tests.live_project import LiveProject
from tests.live_stream import dealt, send, simulated, simulated_project

EVENTS: Final = 12_000
SHARES: Final = (5, 2, 1)
#: COMMIT is also that of the start.
TIMES: Final = {"before COMMIT": 4, "after COMMIT": 4}


def test_one_process_dies_at_every_point(broker: Broker, tmp_path: Path) -> None:
    """Each start goes on where the last one died; the end is that of a flow that never did."""
    records = simulated(EVENTS)
    project = simulated_project(tmp_path / "crashed", broker)
    send(project, dealt(records, SHARES))
    for point in POINTS:
        with flow(project, "--until-caught-up", die=(point, TIMES.get(point, 2))) as one:
            assert one.died(), f"{point}: not reached"
        check(project, whole=False)
    project.run()
    check_both(project, clean_of(project, broker), records)


def test_hand_overs_die_at_every_point(broker: Broker, tmp_path: Path) -> None:
    """Flows that take rows in, and repairs that hand them over; the next ones go on from there."""
    records = simulated(EVENTS // 2)
    project = simulated_project(
        tmp_path / "crashed", broker, rules="CHAOS", repair_every="0s", batch_events=1_000
    )
    points = [*TAKING_IN, *REPAIRING]
    size = -(-len(records) // len(points))
    parts = {p: records[n * size : (n + 1) * size] for n, p in enumerate(points)}
    for point in TAKING_IN:
        send(project, dealt(parts[point], SHARES))
        with flow(project, die=(point, 1)) as one:
            read(one, sum(len(parts[p]) for p in points[: points.index(point) + 1]))
            assert repair(project) == 1
            assert one.died(), f"{point}: not reached"
        check(project, whole=False)
    with flow(project) as one:
        for point in REPAIRING:
            send(project, dealt(parts[point], SHARES))
            read(one, sum(len(parts[p]) for p in points[: points.index(point) + 1]))
            assert repair(project, f"{point}:1") == DIED, f"{point}: not reached"
        assert repair(project) == 0
        one.stop()
    # Files that repairs may have read when a compaction took them out go at the next start.
    project.run()
    check_both(project, clean_of(project, broker), records)


def test_either_of_two_processes_dies(broker: Broker, tmp_path: Path) -> None:
    """The shards of the two then stand at different positions; no event is taken in twice."""
    records = simulated(EVENTS)
    project = simulated_project(
        tmp_path / "crashed", broker, rules="CHAOS", repair_every="0s", shards=2
    )
    send(project, dealt(records, SHARES))
    for victim, point in ((1, "before the step"), (1, "file named"), (0, "before COMMIT")):
        with flow(project, "--until-caught-up", processes=2, die=(point, 4), victim=victim) as both:
            assert both.died(), f"{point}: not reached"
        check(project, whole=False)
    with flow(project, processes=2) as both:
        read(both, len(records))
        assert repair(project, "handed over:1") == DIED
        both.kill(1)
        assert both.died()
    assert repair(project) == 0
    catch_up(project, processes=2)
    check_both(project, clean_of(project, broker, shards=2), records)


def read(one: Flow, sent: int) -> None:
    """Wait until a flow has read so many records."""
    one.until("SELECT sum(records) AS n FROM counts", lambda f: f["n"][0] == sent)


def clean_of(project: LiveProject, broker: Broker, **live: Any) -> LiveProject:
    """A flow over the same topic that never died, in large batches, and one repair."""
    (topic,) = project.config.source("app").topics
    rules = project.rules.rpartition(":")[2]
    folder = project.folder.with_name("clean")
    clean = simulated_project(folder, broker, topic, rules=rules, batch_events=10_000, **live)
    clean.run()
    assert clean.command("repair").exit_code == 0
    clean.run()
    return clean


def check_both(project: LiveProject, clean: LiveProject, records: Sequence[bytes]) -> None:
    """Each is what it must be, and they are the same."""
    for ended in (project, clean):
        check(ended)
        check_consumer(ended, ended.live["changes_topic"])
        check_produced(ended, records)
    assert_same(project, clean)
