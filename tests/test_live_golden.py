"""Every golden case through the real flow: Kafka, Bytewax, store, archive, change topic.

And without it: imported and replayed, imported and repaired.
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from labeling.cli.main import group as labeling
from labeling.io.store import Store
from labeling.testing.golden_case import places
from tests.kafka_broker import Broker
from tests.live_golden import (
    COLUMNS,
    FIXTURES,
    START,
    Group,
    changes_differ,
    changes_of,
    differences,
    groups,
    rows_differ,
    together,
)
from tests.live_process import catch_up, flow
from tests.live_project import LiveProject
from tests.replay_project import same_modules
from tests.shipped import RULES

GROUPS = groups()
COLUMNS_TEXT = "\n".join(f"{name} = '{kind}'" for name, kind in COLUMNS.items())
#: Nothing is hot, and changes are kept for a flow that will send them.
COLD = """hot_horizon = "1s"
[cluster.main]
bootstrap = "127.0.0.1:1"
[live]
changes_topic = "changes"
"""
by_group = pytest.mark.parametrize("group", GROUPS, ids=lambda g: f"{g.lateness}-{g.max_disorder}")


def project_of(folder: Path, broker: Broker, group: Group, **live: object) -> LiveProject:
    """A project with the settings of a group, and a topic for its events."""
    project = LiveProject(
        folder, broker, rules="rules:RULES", columns=COLUMNS, lateness=group.lateness,
        horizon="60d", live={"batch": "20ms", **live},
    )  # fmt: skip
    project.live["changes_topic"] = project.topic("changes")
    project.source("app", max_disorder=group.max_disorder)
    return project


def feed(project: LiveProject, group: Group, processes: int) -> None:
    """A flow that dies in the middle of each part, the cases without late events being the first.

    What is late depends on the batches: the others come event by event.
    """
    (topic,) = project.config.source("app").topics
    for records, batch in ((group.in_bound, len(group.in_bound) // 8 + 1), (group.late, 1)):
        if not records:
            continue
        project.produce(topic, records)
        project.write(batch_events=batch)
        middle = ("before COMMIT", 5) if processes == 1 else ("before the step", 3)
        with flow(project, "--until-caught-up", processes=processes, die=middle) as one:
            assert one.died(), one.said
        if processes == 1:
            project.run()
        else:
            catch_up(project, processes=processes)


@by_group
def test_one_process_that_dies(broker: Broker, tmp_path: Path, group: Group) -> None:
    """Rows, changes and outcomes of every case are those of the fixtures, event by event."""
    project = project_of(tmp_path, broker, group)
    feed(project, group, 1)
    assert not differences(project, group, project.live["changes_topic"])


@by_group
def test_two_processes_one_of_which_dies(broker: Broker, tmp_path: Path, group: Group) -> None:
    """The same of two processes with a shard each."""
    project = project_of(tmp_path, broker, group, shards=2)
    feed(project, group, 2)
    assert not differences(project, group, project.live["changes_topic"])


@by_group
def test_import_and_replay(tmp_path: Path, group: Group) -> None:
    """The rows of every case, from its events in a file; what a stream finds too late left out."""
    span = ["--from", f"{START:%Y-%m-%d}T00", "--to", f"{group.ends:%Y-%m-%d}T00"]
    imported(tmp_path, group, "", ["replay", *span])
    with Store.open(tmp_path / "store.duckdb", read_only=True) as store:
        assert not [d for placed in group.placed for d in rows_differ(store, placed)]


def test_import_and_repair(tmp_path: Path) -> None:
    """All rules cold: the rows of every case, and the changes of those where nothing is late."""
    group = together()
    imported(tmp_path, group, COLD, ["repair"])
    outbox = pl.concat(pl.read_parquet(p) for p in (tmp_path / "store.duckdb.outbox").iterdir())
    told = changes_of(outbox.select("key", "value").rows())
    in_time = [placed for placed in group.placed if placed.case.arrival.in_bound]
    assert not [d for placed in in_time for d in changes_differ(told, placed)]
    with Store.open(tmp_path / "store.duckdb", read_only=True) as store:
        assert not [d for placed in group.placed for d in rows_differ(store, placed)]


def imported(folder: Path, group: Group, more: str, command: list[str]) -> None:
    """The cases of a group in a file, imported, and what a command makes of it."""
    text = f"rules = 'rules:RULES'\n{more}[columns]\n{COLUMNS_TEXT}\n[[source]]\nname = 'app'\n"
    (folder / "labeling.toml").write_text(text + "files = '*.jsonl'\n")
    lines = [json.dumps(r) for placed in group.placed for r in placed.timely]
    (folder / "events.jsonl").write_text("\n".join(lines))
    config = ["--config", str(folder / "labeling.toml")]
    with same_modules():
        for words in (["import"], command):
            done = CliRunner().invoke(labeling, [*words, *config])
            assert done.exit_code == 0, done.output


def test_every_case_is_in_a_group() -> None:
    """No fixture is left out."""
    named = {p.case.name for group in GROUPS for p in group.placed}
    assert named == {place.name for place in places(FIXTURES, RULES)}
