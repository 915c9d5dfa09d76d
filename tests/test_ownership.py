"""An hour of a rule is the stream's or replay's, never both's; and which version views show."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from backfill.plan import plan, rule_mark
from backfill.replay import replay
from labeling import Event, LabelRule, count, happened
from labeling.engine.watermark import FOREVER, NEVER
from labeling.errors import StoreError
from labeling.io.archive import Archive
from labeling.io.remote import open_store
from labeling.io.store import Store
from labeling.io.store.ownership import streams_of
from labeling.model.table import table_of
from tests.replay_project import RULE, T0, event
from tests.served import served
from tests.streamed import StreamedProject

TABLE = table_of(RULE)
TICK = {"item": "none"}
HOUR = timedelta(hours=1)
SECOND = LabelRule(
    name="shown",
    version=2,
    anchor=Event("show"),
    match=("user_id", "item_id"),
    window="30m",
    labels={"clicks": count("click"), "hidden": happened("hide")},
    carry=("item_id",),
)


@pytest.fixture
def project(tmp_path: Path) -> StreamedProject:
    """Streamed from 11:00 on; of 10:00 only the archive knows. The watermark is at 12:10."""
    made = StreamedProject(tmp_path)
    with made.stream(since={RULE.key: T0 + HOUR}) as stream:
        stream.take(event("show", 0), event("show", 3700), event("click", 3800))
        stream.take(event("show", 7300, item="j"), event("tick", 7860, **TICK))
    return made


def ticked(project: StreamedProject, second: float) -> None:
    """Move ``F`` of the rule to a time after ``T0``, as the stream would."""
    at = int((T0 + timedelta(seconds=second)).timestamp() * 1000)
    project.sql(f"UPDATE watermarks SET f_ms = {at}")


def test_hours_of_the_stream_are_left_out_and_named(project: StreamedProject) -> None:
    """Replay takes the hours before ``since``; the stream's are named, ``--immature`` or not."""
    for more in ((), ("--immature",), ("--force",)):
        done = project.replay(*more, to="2026-11-20T13")
        assert done.exit_code == 1
        assert "2 hours belong to the stream until settled, the first 2026-11-20T11" in done.output
        assert "wait until it has passed 2026-11-20T12:40:00" in done.output
    assert "1 hours published, 1 rows" in project.replay("--force", to="2026-11-20T11").output
    assert project.rows().filter(pl.col("anchor_ts") < T0 + HOUR).height == 1


def test_a_dry_run_tells_whose_hours_are(project: StreamedProject) -> None:
    """The plan counts the stream's hours."""
    assert "1 hours to publish" in project.replay("--dry-run", to="2026-11-20T13").output
    assert "2 of the stream" in project.replay("--dry-run", to="2026-11-20T13").output


def test_a_settled_hour_is_replay_s(project: StreamedProject) -> None:
    """Past window and lateness replay may; where nothing came too late it changes nothing."""
    with project.stream(since={RULE.key: T0 + HOUR}) as stream:
        stream.take(event("tick", 3 * 3600, **TICK))
    before = project.rows()
    hours = {"from_": "2026-11-20T11", "to": "2026-11-20T12"}
    assert "1 hours published, 1 rows (no change)" in project.replay(**hours).output
    assert project.rows().equals(before)
    noted = "SELECT published_by FROM hours WHERE epoch_ms(hour) = epoch_ms(TIMESTAMPTZ '{}')"
    told = project.query(noted.format("2026-11-20 11:00:00+00:00")).item()
    assert told == "replay"
    assert "1 hours up to date" in project.replay(**hours).output


def test_the_bound_is_strict(project: StreamedProject) -> None:
    """Settled: ``F > end + window + lateness``, and not a millisecond sooner."""
    hours = {"from_": "2026-11-20T11", "to": "2026-11-20T12"}
    ticked(project, 2 * 3600 + 2400)
    assert project.replay(**hours).exit_code == 1
    ticked(project, 2 * 3600 + 2400.001)
    assert project.replay(**hours).exit_code == 0


def test_the_lowest_shard_counts(project: StreamedProject) -> None:
    """``F`` of the store is that of the slowest shard."""
    ticked(project, 10 * 3600)
    project.sql("INSERT INTO watermarks SELECT * REPLACE (1 AS shard, 0 AS f_ms) FROM watermarks")
    assert project.replay(from_="2026-11-20T11").exit_code == 1


def test_a_stream_that_did_not_say_when_it_lets_go_keeps_its_hours(
    project: StreamedProject,
) -> None:
    """Without ``settle_ms`` nothing is settled, and the message says what to do."""
    ticked(project, 10 * 3600)
    project.sql("UPDATE streams SET settle_ms = NULL")
    done = project.replay(from_="2026-11-20T11")
    assert done.exit_code == 1
    assert "start `labeling run`" in done.output


def test_the_writer_refuses_what_was_planned_before_the_stream_came(tmp_path: Path) -> None:
    """A stream that begins while a replay runs: the publication is refused whole."""
    project = StreamedProject(tmp_path)
    project.load(project.file("log.jsonl", [event("show", 0)]), source="old")
    config = project.config
    with Store.open(config.store) as store:
        todo = plan(store, RULE, T0, T0 + HOUR, sources=["old"], memory_bytes=10**9)
        with store.commit("stream begins") as commit:
            streams = {"rule": ["shown"], "version": [1], "settle_ms": [0]}
            commit.set_streams(pl.DataFrame(streams).with_columns(since_ts=pl.lit(T0)))
        with pytest.raises(StoreError, match="shown@1: 1 hour belongs to the stream"):
            list(replay(store, Archive(config.archive, {}), todo))
        assert store.query("FROM hours").is_empty()
        assert store.rows_between(TABLE, T0, T0 + HOUR).is_empty()


def test_beside_a_live_flow_the_serving_process_refuses(project: StreamedProject) -> None:
    """Replay and verify speak to the process that has the store open, which holds them to it."""
    with project.stream(since={RULE.key: T0 + HOUR}) as stream:
        stream.take(event("tick", 3 * 3600, **TICK))
    config = project.config
    with served(config.store):
        done = project.replay(to="2026-11-20T12")
        assert "2 hours published, 2 rows (1 new, 0 updated, 0 retracted)" in done.output
        with open_store(config.store) as store:
            with (
                pytest.raises(StoreError, match="belongs to the stream"),
                store.commit("not mine") as commit,
            ):
                commit.set_hours(TABLE, {T0 + 2 * HOUR: True}, archive_commit=0)
            assert store.hours(TABLE)["published_by"].to_list() == ["replay", "replay"]
        checked = project.verify(to="2026-11-20T12")
        assert checked.exit_code == 0, checked.output
        assert "live equals replay: 2 rows, 0 differences" in checked.output
        assert "version 1" in project.command("activate", "shown@1").output


def test_a_stream_publishes_its_own_hours_alone(project: StreamedProject) -> None:
    """Before ``since``, and of rules without a stream, it is refused."""
    with Store.open(project.config.store) as store:
        for table, hour in ((TABLE, T0), (table_of(SECOND), T0 + HOUR)):
            with store.commit("x") as commit, pytest.raises(StoreError, match="is replay's"):
                commit.set_hours(table, {hour: True}, archive_commit=0, published_by="stream")


def test_what_was_healed_stays_healed(project: StreamedProject) -> None:
    """A stream that notes its hours again takes nothing back from a replay."""
    ticked(project, 10 * 3600)
    project.replay(from_="2026-11-20T11", to="2026-11-20T12")
    with Store.open(project.config.store) as store, store.commit("again") as commit:
        hours = {T0 + HOUR: True, T0 + 2 * HOUR: True}
        commit.set_hours(TABLE, hours, archive_commit=9, published_by="stream")
    by = project.query("SELECT published_by FROM hours ORDER BY hour")["published_by"]
    assert by.to_list() == ["replay", "stream"]


def test_the_mark_is_what_the_stream_passed_or_imports_declared(project: StreamedProject) -> None:
    """A file source without an import, or a topic, holds nothing back where a stream read."""
    passed = int((T0 + timedelta(seconds=7800)).timestamp() * 1000)
    with Store.open(project.config.store) as store:
        streams = streams_of(store.query)
        sources = ["old", "app"]
        assert rule_mark(store, RULE, streams, sources, ["app"]) == passed
        # A version that no stream publishes: every source's mark has passed it.
        assert rule_mark(store, SECOND, streams, sources, ["app"]) == passed
        with store.commit("declared") as commit:
            commit.end_source("old", T0 + 5 * HOUR)
        declared = int((T0 + 5 * HOUR).timestamp() * 1000)
        assert rule_mark(store, RULE, streams, sources, ["app"]) == declared
        with store.commit("all there is") as commit:
            commit.end_source("old", None)
        # More came by the stream: that was all there was before it began.
        assert rule_mark(store, RULE, streams, sources, ["app"]) == passed


def test_without_a_stream_every_source_counts(tmp_path: Path) -> None:
    """A topic that nobody has read holds the hours back."""
    project = StreamedProject(tmp_path)
    project.load(project.file("log.jsonl", [event("show", 0)]), source="old")
    with Store.open(project.config.store) as store:
        streams = streams_of(store.query)
        assert rule_mark(store, RULE, streams, ["old", "app"], ["app"]) == NEVER
        assert rule_mark(store, RULE, streams, ["old"], []) == FOREVER


def test_what_import_and_stream_both_brought_counts_once(project: StreamedProject) -> None:
    """An event that was imported first and streamed after is one."""
    click = {"id": "c", "ts": int(T0.timestamp() * 1000) + 20_000, "type": "click"}
    both = {**click, "user": "u", "item": "i"}
    project.load(project.file("more.jsonl", [both]), source="old")
    with project.stream(since={RULE.key: T0 + HOUR}) as stream:
        stream.take(both)
    ticked(project, 7800)
    assert project.replay(to="2026-11-20T11").exit_code == 0
    assert project.rows().row(0, named=True)["clicks"] == 1


def test_versions_side_by_side(project: StreamedProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version is replayed over all hours; views show one version for every anchor."""
    monkeypatch.setattr("tests.replay_project.RULES", (RULE, SECOND))
    ticked(project, 10 * 3600)
    done = project.replay(to="2026-11-20T13")
    assert done.exit_code == 0, done.output
    assert "hidden" in project.query("FROM shown").columns
    shown = "SELECT rule_version FROM {} ORDER BY anchor_ts"
    first = project.command("activate", "shown@1")
    assert first.output == "shown shows version 1\n"
    assert project.query(shown.format("shown"))["rule_version"].to_list() == [1, 1, 1]
    then = project.command("activate", "shown@2", "--from", "2026-11-20T11")
    assert then.output == "shown shows version 1, version 2 from 2026-11-20T11 on\n"
    for view in ("shown", "shown_final"):
        assert project.query(shown.format(view))["rule_version"].to_list() == [1, 2, 2]
    both = project.query("SELECT clicked, clicks, hidden FROM shown ORDER BY anchor_ts").rows()
    assert both == [(False, 0, None), (None, 1, False), (None, 0, False)]
    project.command("activate", "shown@1", "--from", "2026-11-20T12")
    assert project.query(shown.format("shown"))["rule_version"].to_list() == [1, 2, 1]
    project.command("activate", "shown@2", "--from", "2026-11-20T10")
    assert project.query(shown.format("shown"))["rule_version"].to_list() == [2, 2, 2]


def test_the_newest_is_shown_until_one_is_named(
    project: StreamedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest, from an hour on, leaves earlier anchors to the version before it."""
    monkeypatch.setattr("tests.replay_project.RULES", (RULE, SECOND))
    ticked(project, 10 * 3600)
    project.replay(to="2026-11-20T13")
    done = project.command("activate", "shown@2", "--from", "2026-11-20T12")
    assert done.output == "shown shows version 1, version 2 from 2026-11-20T12 on\n"


@pytest.mark.parametrize(
    ("key", "status", "text"),
    [
        ("shown", 2, "write NAME@VERSION"),
        ("shown@7", 1, "it has 1"),
        ("nothing@1", 1, "it has none"),
    ],
)
def test_activate_refuses_what_is_not_there(
    project: StreamedProject, key: str, status: int, text: str
) -> None:
    """A version that has no table, or no version at all, is named."""
    done = project.command("activate", key)
    assert done.exit_code == status
    assert text in done.output


def test_versions_that_cannot_be_shown_together(project: StreamedProject) -> None:
    """A column that is a truth value in one and a number in the other is refused; views stay."""
    other = LabelRule(
        name="shown",
        version=2,
        anchor=Event("show"),
        match=("user_id", "item_id"),
        window="30m",
        labels={"clicked": count("click")},
    )
    with Store.open(project.config.store) as store, store.commit("second") as commit:
        commit.set_hours(table_of(other), {T0: True}, archive_commit=0)
    done = project.command("activate", "shown@2", "--from", "2026-11-20T11")
    assert done.exit_code == 1
    assert "column clicked has the types BIGINT, BOOLEAN" in done.output
    assert project.query("FROM active_versions").is_empty()
