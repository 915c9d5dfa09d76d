"""Death between every two durable effects of a commit: nothing is lost, nothing is doubled."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.kafka_broker import Broker
from tests.live_checks import assert_same, check, check_consumer, check_produced
from tests.live_main import POINTS
from tests.live_process import catch_up, flow
from tests.live_stream import dealt, send, simulated, simulated_project

EVENTS: Final = 12_000
#: COMMIT is also that of the start.
TIMES: Final = {"before COMMIT": 4, "after COMMIT": 4}


def test_one_process_dies_at_every_point(broker: Broker, tmp_path: Path) -> None:
    """Each start goes on where the last one died; the end is that of a flow that never did."""
    records = simulated(EVENTS)
    project = simulated_project(tmp_path / "crashed", broker)
    send(project, dealt(records, (5, 2, 1)))
    for point in POINTS:
        with flow(project, "--until-caught-up", die=(point, TIMES.get(point, 2))) as one:
            assert one.died(), f"{point}: not reached"
        check(project, whole=False)
    project.run()
    (topic,) = project.config.source("app").topics
    clean = simulated_project(tmp_path / "clean", broker, topic, batch_events=10_000)
    clean.run()
    for ended in (project, clean):
        check(ended)
        check_consumer(ended, ended.live["changes_topic"])
        check_produced(ended, records)
    assert_same(project, clean)


def test_either_of_two_processes_dies(broker: Broker, tmp_path: Path) -> None:
    """The shards of the two then stand at different positions; no event is taken in twice."""
    records = simulated(EVENTS)
    project = simulated_project(tmp_path / "crashed", broker, shards=2)
    send(project, dealt(records, (5, 2, 1)))
    for victim, point in ((1, "before the step"), (1, "file named"), (0, "before COMMIT")):
        with flow(project, "--until-caught-up", processes=2, die=(point, 4), victim=victim) as both:
            assert both.died(), f"{point}: not reached"
        check(project, whole=False)
    catch_up(project, processes=2)
    (topic,) = project.config.source("app").topics
    clean = simulated_project(tmp_path / "clean", broker, topic, shards=2, batch_events=10_000)
    clean.run()
    for ended in (project, clean):
        check(ended)
        check_consumer(ended, ended.live["changes_topic"])
    assert_same(project, clean)
