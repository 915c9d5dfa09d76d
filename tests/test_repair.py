"""Repairs: rows of cold rules from the archive, whenever they run and however they end."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.interchange import CompatLevel
from polars.testing import assert_frame_equal

from labeling.cli.repair import steps_of
from labeling.engine.keys import user_key
from labeling.errors import ConfigError
from labeling.io.archive import Archive
from labeling.io.pruned import Pruned, Tally
from labeling.io.store import Store
from labeling.io.store.schema import conform
from labeling.live.cold import split, take_over
from labeling.live.needs import announce
from labeling.model.event import TS
from labeling.model.kinds import Rule
from tests.live_main import DIED
from tests.live_process import ROOT
from tests.repair_project import (
    BOUGHT,
    CAUSES,
    COLD,
    RULES,
    TICK,
    RepairProject,
    batches,
    expected_changes,
    expected_rows,
    random_events,
    stored_changes,
    stored_rows,
)
from tests.replay_project import RULE, T0, event


@pytest.fixture
def project(tmp_path: Path) -> RepairProject:
    """Empty."""
    return RepairProject(tmp_path)


def repair(store: Store, project: RepairProject, *rules: Rule) -> int:
    """Repair with the store at hand; how many transactions it took."""
    config = project.config
    archive = Archive(config.archive, {})
    return sum(
        len(list(steps_of(store, archive, config, rule, dry=False))) for rule in rules or COLD
    )


def fed(
    project: RepairProject, events: list[dict[str, Any]], seed: int, due: Callable[[], bool]
) -> None:
    """Stream events in batches, with a repair after those that it is due after."""
    with project.stream() as stream:
        for batch in batches(events, seed):
            stream.take(*batch)
            if due():
                repair(stream.store, project)
        repair(stream.store, project)


def check_rows(project: RepairProject) -> None:
    """Rows are those of the archive."""
    for rule in COLD:
        assert_frame_equal(stored_rows(project, rule), expected_rows(project, rule))


def check_changes(project: RepairProject) -> None:
    """Changes are those of all points, one after the other."""
    for rule in COLD:
        order = [*rule.row_keys, "revision"]
        found, wanted = stored_changes(project, rule), expected_changes(project, rule)
        assert_frame_equal(found.sort(order), wanted.sort(order))


@pytest.mark.parametrize("seed", range(2))
def test_when_repairs_run_changes_nothing(tmp_path: Path, seed: int) -> None:
    """Rows and the sequence of changes are one, whether repairs run always, at times, or once."""
    events, chance = random_events(seed, count=100, hours=17), random.Random(seed)
    ways: list[Callable[[], bool]] = [lambda: False, lambda: chance.random() < 0.2, lambda: True]
    for number, due in enumerate(ways):
        folder = tmp_path / str(number)
        folder.mkdir()
        project = RepairProject(folder)
        fed(project, events, seed, due)
        check_rows(project)
        check_changes(project)
        assert project.query(
            "SELECT bool_and(reason IN ('point', 'undo')) FROM label_changes"
        ).item()


def test_what_came_late_is_set_right(project: RepairProject) -> None:
    """Late and too late events alike, whenever repairs run; then a replay changes nothing."""
    chance = random.Random(7)
    events = random_events(7, count=200, hours=14)
    late = [e for e in events if e["type"] != "tick" and chance.random() < 0.3]
    timely = [e for e in events if e not in late]
    for each in late:
        after = each["ts"] + chance.choice((120_000, 900_000, 9_000_000))
        place = next((i for i, e in enumerate(timely) if e["ts"] > after), len(timely))
        timely.insert(place, each)
    fed(project, timely, 7, lambda: chance.random() < 0.3)
    check_rows(project)
    assert set(project.query("SELECT DISTINCT reason FROM label_changes")["reason"]) >= {
        "point",
        "late",
    }
    span = {"from_": "2026-11-20T10", "to": "2026-11-20T16"}
    for rule in (BOUGHT, CAUSES):
        last = project.verify("--rule", rule.name, **span).output.strip().splitlines()[-1]
        assert last.endswith("rows, 0 differences"), last
        done = project.replay("--rule", rule.name, "--force", **span)
        assert "6 hours published" in done.output, done.output
        assert "no change" in done.output, done.output
    check_rows(project)


def test_too_late_events_are_healed_once_their_hour_is_settled(project: RepairProject) -> None:
    """The stream's hour waits; then it says what a replay would, and verify counts that in."""
    with project.stream() as stream:
        stream.take(event("show", 600), event("show", 605, "v"), event("tick", 3600, **TICK))
        stream.take(event("click", 1900), event("click", 2900))
        assert repair(stream.store, project, RULE) == 0
        stream.take(event("tick", 7 * 3600, **TICK))
        assert repair(stream.store, project, RULE) == 1
        assert repair(stream.store, project, RULE) == 0
        stream.take(event("click", 1901))
        assert repair(stream.store, project, RULE) == 1
    assert project.changes() == [
        ("u", 2, "update", "replay", '{"clicked":true,"clicks":1}'),
        ("u", 3, "update", "replay", '{"clicks":2}'),
    ]
    last = project.verify("--rule", "shown").output.strip().splitlines()[-1]
    assert last == "live equals replay: 2 rows, 0 differences"
    noted = project.query("SELECT published_by FROM hours ORDER BY hour")["published_by"]
    assert noted.to_list() == ["replay", *["stream"] * 5]


def test_parts_by_users_make_the_same_rows(project: RepairProject) -> None:
    """Where memory holds few events a step is made in parts, in one transaction."""
    text = (project.folder / "labeling.toml").read_text()
    project.configure('memory = "20KB"\n' + text)
    fed(project, random_events(3), 3, lambda: False)
    check_rows(project)
    check_changes(project)


def test_a_dry_run_reads_and_writes_nothing(project: RepairProject) -> None:
    """It tells the same cost as the repair that follows."""
    with project.stream() as stream:
        stream.take(*random_events(5, count=60))
    before = project.query("SELECT max(commit) FROM commits").item()
    dry = project.repair("--dry-run", "--rule", "causes").output
    assert dry.endswith("nothing published\n")
    assert project.query("SELECT max(commit) FROM commits").item() == before
    done = project.repair("--rule", "causes").output
    assert done.partition(";")[0] == dry.partition(", nothing")[0]
    assert project.repair("--rule", "causes").output == "causes@1: nothing to repair\n"


@pytest.mark.parametrize("late", [(), ("buy",)])
def test_death_at_every_commit_loses_and_doubles_nothing(
    tmp_path: Path, late: tuple[str, ...]
) -> None:
    """A repair that dies before or after any of its commits is completed by the next one."""
    project = RepairProject(tmp_path)
    events = random_events(11, count=100, hours=17)
    behind = [e for e in events if e["type"] in late][:4]
    half = len(events) // 2
    with project.stream() as stream:
        stream.take(*[e for e in events[:half] if e not in behind])
        repair(stream.store, project)
        stream.take(*[e for e in events[half:] if e not in behind])
        for each in behind:
            stream.take(each)
    clean = tmp_path / "clean"
    clean.mkdir()
    for name in ("labeling.toml", "store.duckdb"):
        shutil.copy(tmp_path / name, clean)
    shutil.copytree(tmp_path / "archive", clean / "archive")
    unbroken = RepairProject(clean)
    unbroken.repair()
    # The first COMMIT is that of opening the store.
    assert died(project, "before COMMIT:2")
    assert died(project, "after COMMIT:2")
    assert died(project, "before COMMIT:3")
    while died(project, "after COMMIT:3"):
        pass
    check_rows(project)
    if not late:
        check_changes(project)
    for name in ("label_changes", "repairs", "hours", "retracted"):
        found, wanted = (
            p.query(f"SELECT * EXCLUDE (commit) FROM {name} ORDER BY ALL").drop(
                "first_commit", "archive_commit", "bytes", "events", "rows", strict=False
            )
            for p in (project, unbroken)
        )
        assert_frame_equal(found, wanted)


def died(project: RepairProject, point: str) -> bool:
    """Run a repair that dies at a point; whether it came to it."""
    words = ["-m", "tests.live_main", "--die", point, "repair"]
    ended = subprocess.run(
        [sys.executable, *words], cwd=project.folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False, capture_output=True,
    )  # fmt: skip
    assert ended.returncode in (0, DIED), ended.stderr.decode()
    return ended.returncode == DIED


def test_row_groups_without_the_users_are_not_read(tmp_path: Path) -> None:
    """Of a sorted hour a few users cost a few row groups; what is found is what a scan finds."""
    archive, rows = Archive(tmp_path, {}), 400_000
    schema = archive.schema
    frame = pl.DataFrame(
        {
            "user_id": (pl.int_range(rows, eager=True) // 40).cast(pl.String),
            "event_ts": T0.timestamp() * 1000 + np.arange(rows) % 3_600_000,
            "event_id": pl.int_range(rows, eager=True).cast(pl.String) + "-0123456789abcdef",
            "event_type": ["click", "show"] * (rows // 2),
        }
    ).with_columns(
        pl.col("event_ts").cast(pl.Int64).cast(TS), user_key(), archived=pl.lit(7, pl.Int64)
    )
    full = conform(frame, schema).sort("user_key", "event_ts", "event_id")
    file = archive.write(full, T0, "one", kind="hour", source=None)
    some = np.sort(full["user_key"].unique().sort().head(3).to_numpy())
    tally = Tally()
    reader = Pruned(archive, [file], 7, tally)
    found = reader.matching({"click"}, T0, None, some)
    events = reader.read(found, ["user_key", "event_ts", "event_id"])
    wanted = full.filter(pl.col("user_key").is_in(some.tolist()), event_type="click")
    assert_frame_equal(
        events.sort("event_id"),
        wanted.select(events.columns).sort("event_id"),
    )
    assert found.events == 60
    # A few rows do not keep the texts of all others of their row group in memory.
    texts = events["event_id"].to_arrow(compat_level=CompatLevel.newest()).buffers()
    assert sum(b.size for b in texts if b is not None) < 100 * events.height
    assert tally.bytes < file.bytes / 4
    assert Pruned(archive, [file], 6, Tally()).matching({"click"}, T0, None, some).events == 0


def test_a_rule_that_turns_cold_keeps_its_rows(project: RepairProject) -> None:
    """What a stream published is repair's from then on: nothing twice, what came too late in."""
    hot = project.config.model_copy(update={"hot_horizon_ms": 86_400_000})
    assert split(RULES[:2], hot)[1] == ()
    with project.stream(RULE, BOUGHT) as stream:
        stream.take(event("show", 0), event("show", 3600), event("tick", 5 * 3600, **TICK))
        stream.take(event("click", 10), event("buy", 5 * 3600))
        stream.take(event("tick", 8 * 3600, **TICK))
    with project.stream(RULE) as stream:
        take_over(stream.store, [BOUGHT])
        assert repair(stream.store, project, BOUGHT) == 1
    assert_frame_equal(stored_rows(project, BOUGHT), expected_rows(project, BOUGHT))
    # The second of them by the rule's watermark alone: its hour is not complete.
    assert project.query("SELECT count(*) FROM bought_final").item() == 2
    told = stored_changes(project, BOUGHT, "reason").select("revision", "kind", "reason").rows()
    assert sorted(told) == [(2, "update", "late"), (2, "update", "point")]


def test_a_flow_that_cannot_fit_names_the_rule(project: RepairProject) -> None:
    """The rate of the archive, what a held event takes, and the way out."""
    config = project.config
    rates = {"show": 50_000.0, "click": 10_000.0, "tick": 1.0}
    announce(config, [RULE], COLD, {}, 1)
    small = config.model_copy(
        update={"live": config.live.model_copy(update={"memory_bytes": 10**9})}
    )
    with pytest.raises(ConfigError, match=r"\[live\] memory allows 1.0 GB. Most is shown@1: about"):
        announce(small, [RULE], COLD, rates, 1)
    announce(small, [RULE], COLD, {"show": 50.0}, 1)
    with pytest.raises(ConfigError, match="the identities of all events, held for lateness"):
        announce(small, [RULE], COLD, {"other": 50_000.0}, 1)
