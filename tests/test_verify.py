"""``labeling verify``: what a stream published is what a replay makes of it, or it is told."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import polars as pl
import pytest

from labeling import Event, LabelRule, count, time_to
from labeling.io.archive import Archive
from labeling.io.store import Store
from tests import replay_project
from tests.replay_project import RULE, T0, event
from tests.streamed import StreamedProject

TICK = {"item": "none"}
REPEATS = LabelRule(
    name="repeats",
    anchor=Event("show"),
    match=("user_id", "item_id"),
    window="20m",
    repeat_within="2m",
    labels={"clicks": count("click"), "delay": time_to("click")},
    carry=("item_id",),
)


@pytest.fixture
def project(tmp_path: Path) -> StreamedProject:
    """An hour, settled: a row corrected late, a row that an event too late would change."""
    made = StreamedProject(tmp_path)
    with made.stream() as stream:
        stream.take(event("show", 0), event("click", 10), event("show", 600, user="v", item="j"))
        stream.take(event("show", 3000, user="w", item="k"))
        # The watermark is at 2940 s: late, and too late twice over.
        stream.take(event("click", 2390, user="v", item="j"))
        stream.take(event("click", 100), event("click", 100), event("click", 3090, "w", "k"))
        stream.take(event("show", 4000, user="x", item="m"), event("tick", 7000, **TICK))
    return made


def test_live_equals_replay(project: StreamedProject) -> None:
    """Settled rows are equal without the events too late; what those would change is listed."""
    done = project.verify()
    assert done.exit_code == 0, done.output
    assert "too late: shown@1 user u anchor show-u-i-0" in done.output
    assert "different clicks: stored 1, replayed 2" in done.output
    last = done.output.splitlines()[-1]
    assert last == "live equals replay: 3 rows, 1 differences: 1 too late, 0 bugs"


def test_publish_heals_once(project: StreamedProject) -> None:
    """``--publish`` brings in what was too late; the next time there is nothing to do."""
    before = project.rows()
    healed = project.verify("--publish")
    assert healed.exit_code == 0, healed.output
    assert "1 hours published, 3 rows (0 new, 1 updated, 0 retracted)" in healed.output
    assert ("u", 2, "update", "replay", '{"clicks":2}') in project.changes()
    again = project.verify("--publish")
    assert again.exit_code == 0
    assert "live equals replay: 3 rows, 0 differences\nnothing changed" in again.output
    rows = project.rows()
    assert rows.filter(user_id="u")["clicks"].to_list() == [2]
    assert rows.filter(pl.col("user_id") != "u").equals(before.filter(pl.col("user_id") != "u"))
    assert "nothing to publish, 1 hours up to date" in project.replay(to="2026-11-20T11").output


def test_what_is_too_late_after_healing_is_told_again(project: StreamedProject) -> None:
    """Healed is what was archived up to the replay's commit, not what came since."""
    project.verify("--publish")
    project.load(
        project.file("more.jsonl", [event("click", 200), event("show", 300, user="y")]),
        source="old",
        live_since=T0,
    )
    done = project.verify()
    assert done.exit_code == 0, done.output
    assert "live equals replay: 3 rows, 2 differences: 2 too late, 0 bugs" in done.output
    assert "missing: stored no row" in done.output


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE shown_v1 SET clicks = 7 WHERE user_id = 'v'", "different clicks: stored 7"),
        ("UPDATE shown_v1 SET rule_digest = 'x' WHERE user_id = 'v'", "different rule_digest"),
        ("DELETE FROM shown_v1 WHERE user_id = 'v'", "missing: stored no row"),
        (
            "INSERT INTO shown_v1 SELECT * REPLACE ('z' AS user_id) FROM shown_v1 LIMIT 1",
            "extra: stored {",
        ),
        ("INSERT INTO shown_v1 SELECT * FROM shown_v1 WHERE user_id = 'v'", "extra: stored {"),
        (
            "UPDATE shown_v1 SET revision = 9 WHERE user_id = 'w'",
            "revision: stored 9, replayed 2",
        ),
    ],
)
def test_a_row_that_is_not_what_it_should_be_is_a_bug(
    project: StreamedProject, statement: str, kind: str
) -> None:
    """Changed, deleted, added, doubled, or revised by nobody: found, with the cause ``bug``."""
    project.sql(statement)
    done = project.verify()
    assert done.exit_code == 1, done.output
    found = [line for line in done.output.splitlines() if line.startswith("bug: ")]
    assert len(found) == 1
    assert kind in found[0]
    assert "live differs from replay" in done.output
    assert done.output.splitlines()[-1].endswith("2 differences: 1 too late, 1 bugs")


def test_publish_mends_bugs_and_still_tells_them(project: StreamedProject) -> None:
    """What was broken is published anew; the status stays 1, since law 2 did not hold."""
    project.sql("DELETE FROM shown_v1 WHERE user_id = 'v'")
    assert project.verify("--publish").exit_code == 1
    again = project.verify()
    assert again.exit_code == 0, again.output
    assert "3 rows, 0 differences" in again.output


def test_a_revision_that_a_late_event_reached_is_not_compared(project: StreamedProject) -> None:
    """The count of revisions of a corrected row depends on when the event came."""
    project.sql("UPDATE shown_v1 SET revision = 9 WHERE user_id = 'v'")
    assert project.verify().exit_code == 0


def test_an_event_changed_in_the_archive_is_a_bug(project: StreamedProject) -> None:
    """An archive that says other than what the stream saw makes other rows."""
    config = project.config
    archive = Archive(config.archive, {})
    with Store.open(config.store) as store:
        (file,) = [f for f in store.files() if "-0." in f.name]
        frame = pl.read_parquet(config.archive / file.name)
        other = frame.with_columns(item_id=pl.col("item_id").replace("j", "other"))
        (config.archive / file.name).unlink()
        with store.commit("tamper") as commit:
            commit.remove_files([file.name])
            commit.add_files([archive.write_tail(other, "tampered")])
    done = project.verify()
    assert done.exit_code == 1
    assert 'different item_id: stored "j", replayed "other"' in done.output


def test_hours_that_are_not_settled_are_named(project: StreamedProject) -> None:
    """What the stream may still correct is left out, and the exit status says so."""
    done = project.verify(to="2026-11-20T12")
    assert done.exit_code == 1
    assert "live equals replay: 3 rows" in done.output
    assert "1 hours left out, the first 2026-11-20T11: not settled" in done.output
    before = project.verify(from_="2026-11-20T09", to="2026-11-20T10")
    assert before.exit_code == 0
    assert "live equals replay: 0 rows, 0 differences" in before.output


def test_what_a_replay_published_is_verified_too(tmp_path: Path) -> None:
    """Without a stream the hours are replay's: complete ones are compared, others named."""
    project = StreamedProject(tmp_path)
    text = (tmp_path / "labeling.toml").read_text().split("[[source]]")
    project.configure("[[source]]".join(text[:2]))
    project.load(project.file("log.jsonl", [event("show", 0), event("click", 5)]), source="old")
    assert "not published whole" in project.verify().output
    project.replay()
    done = project.verify(to="2026-11-20T12")
    assert done.exit_code == 0, done.output
    assert done.output.endswith("live equals replay: 1 rows, 0 differences\n")


@pytest.mark.parametrize("seed", [1, 2])
def test_random_streams_keep_law_2(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is late, too late or doubled, in whatever batches: no difference is a bug."""
    rules = (RULE, REPEATS)
    monkeypatch.setattr(replay_project, "RULES", rules)
    project = StreamedProject(tmp_path)
    rng = Random(seed)
    events = [
        event(rng.choice(("show", "click", "click")), second, f"u{rng.randrange(5)}", item="i")
        for second in (rng.randrange(3 * 3600) for _ in range(400))
    ]
    # Most come in time, some within the lateness, some after it; some twice.
    lag = [rng.choice((0, 0, 0, 50, 300, 5000)) for _ in events]
    arrived = sorted(zip(events, lag, strict=True), key=lambda e: e[0]["ts"] + 1000 * e[1])
    queue = [e for e, _ in arrived for _ in range(1 + (rng.random() < 0.05))]
    with project.stream(*rules) as stream:
        while queue:
            size = rng.randrange(1, 120)
            stream.take(*queue[:size])
            queue = queue[size:]
        stream.take(event("tick", 5 * 3600, **TICK))
    found = project.verify("--publish", to="2026-11-20T13")
    assert found.exit_code == 0, found.output
    assert " 0 bugs" in found.output
    assert " 0 too late" not in found.output
    again = project.verify(to="2026-11-20T13")
    assert again.output.splitlines()[-1].endswith(" rows, 0 differences")


def test_parts_by_user_find_the_same(project: StreamedProject) -> None:
    """An hour that memory cannot hold is compared in parts of its users."""
    project.sql("UPDATE shown_v1 SET clicks = 7 WHERE user_id = 'v'")
    whole = project.verify("--format", "json")
    config = (project.folder / "labeling.toml").read_text()
    project.configure('memory = "6KB"\n' + config)
    parts = project.verify("--format", "json")

    def told(text: str) -> list[object]:
        hour, total = (json.loads(line) for line in text.splitlines())
        hour["differences"].sort(key=str)
        return [hour, total]

    assert told(parts.output) == told(whole.output)


def test_json_tells_every_difference(project: StreamedProject) -> None:
    """An object for each hour, with key, column and both values, then the totals."""
    hour, total = (
        json.loads(line) for line in project.verify("--format", "json").output.splitlines()
    )
    assert hour["hour"] == "2026-11-20T10"
    assert (hour["rows"], hour["equal"], hour["too_late"]) == (3, 3, 1)
    assert hour["differences"] == [
        {
            "user_id": "u",
            "anchor_ts": "2026-11-20T10:00:00.000Z",
            "anchor_id": "show-u-i-0",
            "kind": "different",
            "column": "clicks",
            "stored": "1",
            "replayed": "2",
            "cause": "too late",
        }
    ]
    assert total == {"total": {"rows": 3, "too_late": 1, "bugs": 0}}


def test_gaps_are_listed(project: StreamedProject) -> None:
    """Hours whose records had expired at the broker are named: importing them heals."""
    with Store.open(project.config.store) as store, store.commit("gap") as commit:
        gap = {"source": "app", "cluster": "main", "topic": "t", "partition": 3}
        commit.append_gaps(pl.DataFrame([{**gap, "from_offset": 5, "to_offset": 9}]))
    done = project.verify()
    assert done.exit_code == 0
    assert "app main/t[3] offsets 5 to 9 had expired" in done.output


def test_hours_dropped_by_retention_are_left_out(project: StreamedProject) -> None:
    """Rows that retention dropped are not missing: the hours are named."""
    config = (project.folder / "labeling.toml").read_text()
    project.configure(config + '[retention]\nshown = "1h"\n')
    with project.stream() as stream:
        stream.take(event("tick", 30 * 3600, **TICK))
    assert project.replay().exit_code == 0
    project.replay(from_="2026-11-20T09", to="2026-11-20T10")
    done = project.verify()
    assert done.exit_code == 1
    assert "dropped by [retention]" in done.output
