"""What a replay publishes reaches the change topic; what an import brings is in time or too late.

Each test ends with a consumer that drops repeats by key and revision, held to the store.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from labeling import Event, LabelRule, count, happened
from labeling.config import load_tree
from labeling.engine.changes import changes, empty_stored
from labeling.engine.first import first_changes
from labeling.io.store import Store
from labeling.live import outbox
from labeling.live.outbox import Outbox, listen
from labeling.model.event import TS
from labeling.model.table import ROW_KEY
from tests.kafka_broker import Broker
from tests.live_checks import check_consumer
from tests.live_process import flow
from tests.live_project import LiveProject, event, shows
from tests.store_shapes import CLICKS, key, value
from tests.store_shapes import changes as changes_of

TEN = ("--from", "2026-11-20T10", "--to", "2026-11-20T11")
ELEVEN = ("--from", "2026-11-20T11", "--to", "2026-11-20T12")
#: A show within ten minutes of another one is that one again.
REPEATS = (
    LabelRule(
        name="shown",
        anchor=Event("show"),
        match=("user_id", "item_id"),
        window="30m",
        labels={"clicked": happened("click"), "clicks": count("click")},
        repeat_within="10m",
    ),
)


@pytest.fixture
def project(broker: Broker, tmp_path: Path) -> LiveProject:
    """A project with a topic, files to import, and a change topic."""
    made = LiveProject(tmp_path, broker, live={"batch": "20ms", "batch_events": 50})
    made.source(files="*.jsonl")
    made.write(changes_topic=made.topic("changes", 2))
    return made


def produce(project: LiveProject, events: Sequence[Mapping[str, Any]]) -> None:
    """Into the source's topic."""
    (topic,) = project.config.source("app").topics
    project.produce(topic, events)


def take_in(project: LiveProject, events: Sequence[Mapping[str, Any]]) -> None:
    """Import events as a file."""
    path = project.folder / "more.jsonl"
    path.write_text("".join(json.dumps(e) + "\n" for e in events))
    done(project, "import", str(path))


def done(project: LiveProject, *args: str) -> str:
    """What a command said that went well."""
    result = project.command(*args)
    assert result.exit_code == 0, result.output
    return result.output


def reasons(project: LiveProject) -> list[str]:
    """Why the changes of the topic were made, in no promised order."""
    told = project.consumed(project.live["changes_topic"])
    return [json.loads(text)["reason"] for _, text in told]


def files(project: LiveProject) -> list[str]:
    """What lies in the outbox."""
    store = project.config.store
    return sorted(path.name for path in store.with_name(store.name + outbox.SUFFIX).glob("*"))


@pytest.mark.parametrize("per_file", [100_000, 7])
def test_an_offline_replay_is_told_by_the_next_flow(
    project: LiveProject, monkeypatch: pytest.MonkeyPatch, per_file: int
) -> None:
    """Every revision, in order, from one file or many of a commit; nothing is left over."""
    monkeypatch.setattr(outbox, "_FILE_ROWS", per_file)
    late_clicks = [event("click", second + 90, f"u{second}") for second in range(0, 300, 20)]
    take_in(project, [*shows(0, 300), *late_clicks])
    done(project, "replay", *TEN)
    named = project.query("SELECT name, CAST(sum(records) OVER () AS BIGINT) AS n FROM outbox")
    assert files(project) == sorted(named["name"])
    assert len(files(project)) == (1 if per_file > 45 else 7)
    assert named["n"][0] == 45
    assert "no change" in done(project, "replay", *TEN, "--force")
    assert files(project) == sorted(named["name"])
    assert reasons(project) == []
    project.run()
    assert reasons(project) == ["point"] * 45
    check_consumer(project, project.live["changes_topic"])
    assert files(project) == []
    assert project.query("FROM outbox").is_empty()


def test_publications_beside_a_flow_are_told_at_once(project: LiveProject) -> None:
    """Hours before ``since`` and settled ones, while no record comes; the flow goes on after."""
    take_in(project, shows(0, 300))
    produce(project, [*shows(3_700, 3_900), event("x", 9_800)])
    with flow(project) as one:
        one.until("SELECT count(*) AS n FROM hours", lambda f: f["n"][0] > 0)
        done(project, "replay", *TEN)
        take_in(project, [event("click", 3_800, "u3700"), event("show", 3_950, "new")])
        assert "2 too late" in done(project, "verify", *ELEVEN, "--publish")
        deadline = time.monotonic() + 20
        while reasons(project).count("replay") < 2:
            assert time.monotonic() < deadline, one.said
        assert reasons(project).count("point") == 50
        produce(project, [*shows(9_900, 10_000), event("x", 16_000)])
        one.until("SELECT count(*) AS n FROM shown_v1", lambda f: f["n"][0] == 61)
        one.stop()
    check_consumer(project, project.live["changes_topic"])
    assert files(project) == []


def test_a_publication_that_fails_is_not_told(tmp_path: Path) -> None:
    """Neither named nor kept: the next commit starts anew."""
    one = changes_of([(key("u", 1), 1, "insert", None, value(1))])
    with Store.open(tmp_path / "store.duckdb") as store:
        store.listener = mine = Outbox(store, {}, "changes")
        with pytest.raises(pl.exceptions.ColumnNotFoundError):
            _publish_half(store, mine, one)
        assert store.query("FROM outbox").is_empty()
        with store.commit("nothing"):
            pass
        assert list(mine.folder.glob("*")) == []
        with store.commit("publication") as commit:
            commit.publish(CLICKS, one)
        assert store.query("SELECT name, records FROM outbox").rows() == [
            ("000000000002-0000.parquet", 1)
        ]
        assert [p.name for p in mine.folder.glob("*")] == ["000000000002-0000.parquet"]


def _publish_half(store: Store, mine: Outbox, changed: pl.DataFrame) -> None:
    with store.commit("fails") as commit:
        commit.publish(CLICKS, changed)
        mine.end(commit)
        assert len(list(mine.folder.glob("*"))) == 1
        commit.publish(CLICKS, changed.select("kind"))


def test_nobody_is_told_where_no_topic_is_named(project: LiveProject) -> None:
    """A replay leaves files for a change topic only."""
    del project.live["changes_topic"]
    project.write()
    take_in(project, shows(0, 100))
    done(project, "replay", *TEN)
    assert project.query("FROM outbox").is_empty()
    with Store.open(project.config.store) as store:
        assert listen(store, project.config, load_tree(project.config)).changes_topic is None


def test_a_flow_starts_on_a_snapshot(
    project: LiveProject, caplog: pytest.LogCaptureFixture
) -> None:
    """What the copied flow has not sent yet is its own to send: the copy says so, once."""
    take_in(project, shows(0, 100))
    done(project, "replay", *TEN)
    copy = LiveProject(project.folder / "copy", project.broker, live=dict(project.live))
    copy.folder.mkdir()
    done(project, "snapshot", str(copy.folder / "store.duckdb"))
    shutil.copytree(project.config.archive, copy.folder / "archive")
    copy.source(topic=project.config.source("app").topics[0], files="*.jsonl")
    copy.write(changes_topic=copy.topic("changes"))
    produce(project, [*shows(3_700, 3_800), event("x", 8_000)])
    for warned in (1, 0):
        caplog.clear()
        copy.run()
        said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert sum("10 records for" in line and "are not sent" in line for line in said) == warned
    assert copy.query("FROM outbox").is_empty()
    assert "10 records" in copy.query("SELECT what FROM commits WHERE what LIKE 'not sent%'").item()
    assert reasons(copy) == ["point"] * 10
    project.run()
    check_consumer(project, project.live["changes_topic"])


def test_an_import_into_what_a_rule_looks_back_on_is_too_late(project: LiveProject) -> None:
    """From ``since`` less ``repeat_within``, inclusive: healed by replay, and no bug before."""
    project.rules = f"{__name__}:REPEATS"
    project.write()
    take_in(project, [event("x", 1_800)])
    produce(project, [event("show", 3_600), event("show", 4_000, "v"), event("x", 9_800)])
    project.run()
    assert project.query("SELECT since_ts FROM streams").item() == datetime(
        2026, 11, 20, 11, tzinfo=UTC
    )
    take_in(project, [event("show", 3_000), event("show", 2_999.999, "v"), event("show", 60, "w")])
    arrivals = project.archived().filter(event_type="show")["arrival"].to_list()
    assert arrivals == ["on_time", "on_time", "too_late", "on_time", "on_time"]
    # What memory is read back from has no part of it.
    produce(project, [event("click", 9_850, "w"), event("x", 9_900)])
    project.run()
    said = done(project, "verify", *ELEVEN, "--publish")
    assert "2 rows, 1 differences: 1 too late, 0 bugs" in said
    assert project.query("SELECT user_id FROM shown_v1").rows() == [("v",)]
    project.run()
    assert reasons(project) == ["point", "point", "replay"]
    check_consumer(project, project.live["changes_topic"])


def test_first_rows_tell_all_their_changes() -> None:
    """Inserts, returns after a retraction included, are what ``changes`` makes of the points."""
    at = datetime(2026, 11, 20, 10, tzinfo=UTC)
    states = [value(1), value(2), None, value(3)]
    points = [
        {
            **dict(zip(ROW_KEY, key(f"u{number}", 1), strict=True)),
            **(now or dict.fromkeys(CLICKS.values)),
            "present": now is not None,
            "point_ts": at + timedelta(minutes=minute),
            "reason": "point",
        }
        for number, order in enumerate(permutations(states))
        for minute, now in enumerate(order)
    ]
    marks = {"present": pl.Boolean(), "point_ts": TS, "reason": pl.String()}
    rows = pl.DataFrame(points, schema={**CLICKS.schema, **marks})
    all_of_them = changes(empty_stored(CLICKS.schema, ROW_KEY), rows).sort(*ROW_KEY, "revision")
    updates = all_of_them.filter(pl.col("kind") != "insert")
    last = all_of_them.unique(ROW_KEY, keep="last", maintain_order=True)
    there = last.filter(pl.col("new").is_not_null())
    ended = there.select(*ROW_KEY, "revision", "new").unnest("new")
    told = first_changes(CLICKS, ended, updates.sample(fraction=1, shuffle=True, seed=1))
    assert told["kind"].value_counts().sort("kind")["count"].to_list() == [36, 18, 36]
    assert_frame_equal(told.drop("point_ts"), all_of_them.select(told.columns).drop("point_ts"))
