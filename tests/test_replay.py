"""Replay publishes hours of the archive: whole, once, and again only where something changed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from backfill.plan import hours_of, plan
from backfill.replay import replay
from labeling import Event, LabelRule, happened
from labeling.errors import DataError, RuleError
from labeling.io.archive import Archive
from labeling.io.store import Store
from labeling.model.table import table_of
from tests import replay_project
from tests.replay_project import RULE, T0, ReplayProject, event


@pytest.fixture
def project(tmp_path: Path) -> ReplayProject:
    """Two hours of one user: clicked after 10 s, after 2 min, and not at all."""
    made = ReplayProject(tmp_path)
    made.take_in(
        "log",
        [
            event("show", 0),
            event("click", 10),
            event("show", 3000, item="j"),
            event("click", 3120, item="j"),
            event("show", 3700, item="k"),
        ],
    )
    return made


def test_an_empty_hour_gets_every_revision(project: ReplayProject) -> None:
    """The first publication makes the revisions that a stream would have made at each point."""
    done = project.replay()
    assert done.exit_code == 0, done.output
    rows = project.rows()
    assert rows["clicked"].to_list() == [True, True, False]
    assert rows["revision"].to_list() == [1, 2, 1]
    assert project.changes() == [("u", 2, "update", "point", '{"clicked":true,"clicks":1}')]


def test_again_changes_nothing_and_says_so(project: ReplayProject) -> None:
    """A second replay finds the hours up to date; a forced one finds no difference."""
    project.replay()
    before = project.rows()
    again = project.replay()
    assert "nothing to publish, 2 hours up to date" in again.output
    forced = project.replay("--force")
    assert "2 hours published" in forced.output
    assert "no change" in forced.output
    assert project.rows().equals(before)


def test_what_comes_later_is_a_difference(project: ReplayProject) -> None:
    """An event imported after the publication updates the rows it reaches, reason ``replay``."""
    project.replay()
    project.take_in("more", [event("click", 3800, item="k"), event("show", 4000, item="n")])
    done = project.replay()
    assert "4 rows (1 new, 1 updated, 0 retracted)" in done.output
    kinds = [row[:4] for row in project.changes()]
    assert ("u", 2, "update", "replay") in kinds


def test_an_event_past_the_hour_reaches_back_into_it(project: ReplayProject) -> None:
    """A click of the next hour, within the window, makes the hour before out of date."""
    project.replay()
    project.take_in("more", [event("click", 3610, item="j")])
    project.replay(to="2026-11-20T11")
    assert project.rows()["clicks"].to_list() == [1, 2, 0]


def test_a_row_that_should_not_be_is_retracted(project: ReplayProject) -> None:
    """A file that is forgotten takes its anchors' rows with it at the next replay."""
    project.replay()
    eleven = "hour = TIMESTAMPTZ '2026-11-20 11:00:00+00'"
    (name,) = project.query(f"SELECT name FROM archive_files WHERE {eleven}")["name"].to_list()
    assert project.command("import", "--forget", name).exit_code == 0
    done = project.replay("--force")
    assert "1 retracted" in done.output, done.output
    assert project.rows()["item_id"].to_list() == ["i", "j"]


def test_users_in_parts_give_the_same_rows(project: ReplayProject, tmp_path: Path) -> None:
    """An hour that memory cannot hold is cut by users, and the store ends the same."""
    users = [event(kind, n, user=f"u{n}") for n in range(40) for kind in ("show", "click")]
    project.take_in("users", users)
    (tmp_path / "other").mkdir()
    small = ReplayProject(tmp_path / "other", 'memory = "10KB"\n')
    small.take_in(
        "log",
        [
            event("show", 0),
            event("click", 10),
            event("show", 3000, item="j"),
            event("click", 3120, item="j"),
            event("show", 3700, item="k"),
        ],
    )
    small.take_in("users", users)
    assert "parts by user" in small.replay("--dry-run").output
    project.replay()
    done = small.replay()
    assert done.exit_code == 0, done.output
    book = ["commit", "first_commit"]
    assert small.rows().drop(book).equals(project.rows().drop(book))
    assert small.changes() == project.changes()
    assert "no change" in small.replay("--force").output


def test_an_interrupted_replay_goes_on(project: ReplayProject) -> None:
    """What was published before the interruption stays, and the next run does the rest."""
    config = project.config
    archive = Archive(config.archive, config.columns)
    with Store.open(config.store) as store:
        todo = plan(store, RULE, T0, T0 + timedelta(hours=2), sources=["app"], memory_bytes=1)
        first = next(iter(replay(store, archive, todo)))
        assert first.hour == T0
    assert project.rows().height == 2
    assert "1 hours published, 1 up to date" in project.replay().output
    assert project.rows().height == 3


def test_a_plan_says_what_it_would_do(project: ReplayProject) -> None:
    """``--dry-run`` names hours, files, reach and memory, and leaves the store alone."""
    said = project.replay("--dry-run").output
    assert "shown@1: 2 hours to publish" in said
    assert "reads 2026-11-20T10:00:00 to 2026-11-20T12:30:00" in said
    assert "MB of memory" in said
    assert project.query("FROM hours").is_empty()


def test_an_hour_that_is_not_complete_is_left_out(tmp_path: Path) -> None:
    """Where a source ends inside a window the hour waits, with status 1 and the fix named."""
    project = ReplayProject(tmp_path)
    log = [event("show", 0), event("show", 3599), event("click", 3700)]
    project.take_in("log", log, until_ts=T0 + timedelta(minutes=75))
    done = project.replay(to="2026-11-20T11")
    assert done.exit_code == 1
    assert "1 hours are not complete" in done.output
    assert "--immature" in done.output
    assert project.query("FROM hours").is_empty()


def test_immature_publishes_what_has_passed(tmp_path: Path) -> None:
    """Of an hour not complete the points below the watermark are published, the rest follows."""
    project = ReplayProject(tmp_path)
    log = [event("show", 0), event("click", 120), event("show", 3000, item="j")]
    project.take_in("log", log, until_ts=T0 + timedelta(minutes=51))
    done = project.replay("--immature", to="2026-11-20T11")
    assert done.exit_code == 0, done.output
    # The early point of the second anchor is at 51:00.000, which is not below the watermark.
    assert project.rows()["item_id"].to_list() == ["i"]
    assert project.query("SELECT complete FROM hours").rows() == [(False,)]
    project.take_in("rest", [event("click", 3100, item="j")])
    assert project.replay(to="2026-11-20T11").exit_code == 0
    assert project.rows()["clicked"].to_list() == [True, True]
    assert project.query("SELECT complete FROM hours").rows() == [(True,)]


def test_a_source_never_imported_holds_the_hours_back(project: ReplayProject) -> None:
    """A configured source that was not read may still bring events: no hour is complete."""
    text = (project.folder / "labeling.toml").read_text()
    more = text.replace('name = "app"', 'name = "other"').split("[[source]]")[1]
    project.configure(text + "[[source]]" + more.replace("*.jsonl", "*.other"))
    assert project.replay().exit_code == 1


def test_a_missing_file_stops_with_its_name(project: ReplayProject) -> None:
    """A file that is gone is an error naming it and the fix; nothing is published."""
    (path,) = (project.config.archive / "dt=2026-11-20" / "hour=11").glob("*.parquet")
    path.unlink()
    done = project.replay()
    assert done.exit_code == 1
    assert path.name in done.output
    assert "--forget" in done.output
    assert project.query("FROM hours").is_empty()


def test_a_changed_rule_under_an_old_version_is_refused(
    project: ReplayProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another definition needs another version: the message says so, and the rows stay."""
    project.replay()
    other = LabelRule(
        name="shown",
        anchor=Event("show"),
        match=("user_id", "item_id"),
        window="30m",
        labels={"clicked": happened("click")},
    )
    monkeypatch.setattr(replay_project, "RULES", (other,))
    done = project.replay("--force")
    assert done.exit_code != 0
    assert "version" in done.output
    assert project.rows().height == 3


def test_unknown_rule_is_named(project: ReplayProject) -> None:
    """``--rule`` of a name that is not there ends with status 2 and the names that are."""
    done = project.replay("--rule", "clicks")
    assert done.exit_code == 2
    assert "shown@1" in done.output


@pytest.mark.parametrize(("from_", "to"), [("2026-11-20T10:30", "2026-11-20T12"), ("x", "y")])
def test_hours_are_whole(project: ReplayProject, from_: str, to: str) -> None:
    """A bound inside an hour, or no time at all, is refused with status 2."""
    assert project.replay(from_=from_, to=to).exit_code == 2


def test_an_empty_range_is_refused() -> None:
    """``--to`` is exclusive: nothing lies from an hour to itself."""
    with pytest.raises(DataError, match="exclusive"):
        hours_of(T0, T0)


def test_too_late_repeats_count_once(project: ReplayProject) -> None:
    """Of events archived as too late, twice, replay sees one."""
    config = project.config
    archive = Archive(config.archive, config.columns)
    with Store.open(config.store) as store:
        event = archive.read(store.files()).filter(pl.col("event_id") == "click-u-i-10")
        late = event.with_columns(arrival=pl.lit("too_late"), event_id=pl.lit("late"))
        for n in range(2):
            with store.commit("too late") as commit:
                frame = late.with_columns(archived=pl.lit(commit.number, pl.Int64))
                file = archive.write(frame, T0, f"late-{n}", kind="tail", source="app")
                commit.add_files([file])
    project.replay()
    assert project.rows()["clicks"].to_list() == [2, 1, 0]


def test_two_blocks_read_the_reach_between_them(project: ReplayProject) -> None:
    """Hours cut into single blocks give the rows of one block, reach included."""
    project.take_in("edge", [event("show", 3599, item="e"), event("click", 3601, item="e")])
    config = project.config
    archive = Archive(config.archive, config.columns)
    with Store.open(config.store) as store:
        todo = plan(store, RULE, T0, T0 + timedelta(hours=2), sources=["app"], memory_bytes=1)
        assert len(todo.blocks) == 2
        list(replay(store, archive, todo))
        row = store.current(
            table_of(RULE),
            store.query("SELECT user_id, anchor_ts, anchor_id FROM shown_v1 WHERE item_id = 'e'"),
        ).row(0, named=True)
    assert row["clicked"]


#: What replay, the difference engine and the stream call their own columns.
OWN_WORDS = (
    "hour",
    "row",
    "fresh",
    "same",
    "was",
    "at",
    "count",
    "anchor",
    "final",
    "point",
    "user_key",
)


def test_a_label_may_be_named_as_our_own_columns_are(tmp_path: Path) -> None:
    """Whatever a label is called, it is refused when the rule is made, or replayed like another."""
    refused = []
    for word in OWN_WORDS:
        try:
            rule = LabelRule(
                name="named", anchor=Event("show"), match=("user_id",), window="5m", early=("1m",),
                labels={word: happened("click")},
            )  # fmt: skip
            table_of(rule)
        except RuleError:
            refused.append(word)
            continue
        (tmp_path / word).mkdir()
        project = ReplayProject(tmp_path / word)
        project.take_in("log", [event("show", 0), event("click", 120)])
        with Store.open(project.config.store) as store:
            todo = plan(
                store, rule, T0, T0 + timedelta(hours=1), sources=["app"], memory_bytes=10**9
            )
            list(replay(store, Archive(project.config.archive, {}), todo))
            found = store.query(f'SELECT "{word}" AS label, revision FROM named_v1')
        assert found.rows() == [(True, 2)], word
    assert refused == ["row", "fresh", "was"]
