"""Import: counts that add up, identities once, bounded chunks, crash safety."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from labeling.cli.times import parse_time
from labeling.errors import ConfigError, DataError, StoreError
from labeling.io import importing, merging
from tests.import_project import CONFIG, Project, row
from tests.store_shapes import at

HOUR_MS = 3_600_000


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with one JSON source."""
    return Project(tmp_path)


def test_events_land_in_their_hours(project: Project) -> None:
    """Each event is archived once, in its hour's file, with its position, arrival and commit."""
    path = project.file("a.jsonl", [row(1), row(2, ms=HOUR_MS), row(3, ms=HOUR_MS - 1)])
    totals = project.load(path)
    assert (totals.records, totals.events, totals.accepted) == (3, 3, 3)
    back = project.archived()
    assert back["event_id"].to_list() == ["e1", "e3", "e2"]
    assert back.select("source", "topic", "offset", "arrival", "archived").row(0) == (
        "app",
        "a.jsonl",
        1,
        "on_time",
        1,
    )
    hours = project.query("SELECT hour, rows FROM archive_files ORDER BY hour").rows()
    assert hours == [(at(), 2), (at(hours=1), 1)]


def test_importing_twice_adds_nothing(project: Project) -> None:
    """The second import of a file is all duplicates; archive and rejects are as before."""
    path = project.file("a.jsonl", [row(1), row(2), "{broken"])
    project.load(path)
    before, files = project.archived(), project.registered()
    again = project.load(path)
    assert (again.accepted, again.duplicate, again.rejected, again.conflicts) == (0, 2, 1, 0)
    assert project.archived().equals(before)
    assert project.registered() == files
    assert project.query("SELECT count(*) FROM rejects").item() == 1
    total = project.query("FROM counts_total").row(0, named=True)
    assert total["adds_up"] is True
    assert (total["events"], total["accepted"], total["duplicate"]) == (6, 2, 2)


def test_repeats_within_the_input(project: Project) -> None:
    """Of one identity the first of the input stays; other content is listed with both places."""
    path = project.file("a.jsonl", [row(1), row(2), row(1), row(1, item="other"), row(1, user="v")])
    totals = project.load(path)
    assert (totals.accepted, totals.duplicate, totals.conflicts) == (3, 2, 1)
    assert project.archived()["item_id"].to_list() == ["i1", "i1", "i2"]
    conflict = project.query("SELECT event_id, kept_offset, dropped_offset FROM conflicts")
    assert conflict.rows() == [("e1", 1, 4)]


def test_the_first_archived_stays(project: Project) -> None:
    """A later file's event of a known identity is dropped and listed where its content differs."""
    project.load(project.file("a.jsonl", [row(1), row(2)]))
    totals = project.load(project.file("b.jsonl", [row(1, item="other"), row(2), row(3)]))
    assert (totals.accepted, totals.duplicate, totals.conflicts) == (1, 2, 1)
    assert project.archived()["item_id"].to_list() == ["i1", "i2", "i3"]
    pair = project.query("SELECT kept_topic, dropped_topic FROM conflicts").row(0)
    assert pair == ("a.jsonl", "b.jsonl")


def test_equal_time_is_not_equal_identity(project: Project) -> None:
    """Events of one user in one millisecond with different ids are all archived."""
    project.load(project.file("a.jsonl", [row(n, ms=5) for n in range(3)]))
    totals = project.load(project.file("b.jsonl", [row(n, ms=5) for n in range(2, 5)]))
    assert (totals.accepted, totals.duplicate) == (2, 1)
    assert project.archived()["event_id"].to_list() == ["e0", "e1", "e2", "e3", "e4"]


@pytest.mark.parametrize("seed", range(4))
def test_chunks_change_nothing(
    project: Project, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the chunk size and file order, the archive holds each identity once."""
    rng = random.Random(seed)
    rows = [row(rng.randrange(60), user=rng.choice("abc"), ms=None) for _ in range(200)]
    paths = [project.file(f"{n}.jsonl", rows[n * 50 : n * 50 + 50]) for n in range(4)]
    rng.shuffle(paths)
    monkeypatch.setattr(importing, "CHUNK_EVENTS", rng.choice([1, 30, 75]))
    totals = project.load(*paths)
    identities = {(r["user"], r["ts"], r["id"]) for r in rows}
    back = project.archived()
    assert set(
        back.select("user_id", pl.col("event_ts").dt.timestamp("ms"), "event_id").iter_rows()
    ) == (identities)
    assert back.height == len(identities) == totals.accepted
    assert totals.accepted + totals.duplicate == totals.events == 200
    assert project.query("SELECT count(*) FROM counts").item() >= 200 // 75
    # Small files of the hour were merged, and the old ones are gone from the folder.
    assert len(project.registered()) == 1
    assert project.parquet_files() == project.registered()


def test_merging_is_bounded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are not small stay; groups stop at the bound; no event is lost."""
    monkeypatch.setattr(merging, "SMALL", 6)
    monkeypatch.setattr(merging, "MERGED", 8)
    for n in range(6):
        rows = [row(100 * n + i, ms=1000 * n + i) for i in range(7 if n == 0 else 3)]
        project.load(project.file(f"{n}.jsonl", rows))
    assert project.archived().height == 22
    sizes = project.query("SELECT rows FROM archive_files ORDER BY rows")["rows"].to_list()
    assert sum(sizes) == 22
    assert len(sizes) <= 4
    assert 7 in sizes


def test_ends_are_declared(project: Project) -> None:
    """The default end is all there is (null); ``until`` sets a finite one."""
    path = project.file("a.jsonl", [row(1)])
    project.load(path, until_ts=at(hours=1))
    assert project.query("SELECT source, end_ts FROM source_ends").rows() == [("app", at(hours=1))]
    project.load(path)
    assert project.query("SELECT source, end_ts FROM source_ends").rows() == [("app", None)]


def test_hours_of_a_live_flow_are_too_late(project: Project) -> None:
    """From ``live_since`` on events are archived as too late, listed and counted as such."""
    rows = [row(1), row(2, ms=HOUR_MS), row(3, ms=HOUR_MS + 1)]
    totals = project.load(project.file("a.jsonl", rows), live_since=at(hours=1))
    assert (totals.accepted, totals.too_late) == (1, 2)
    assert project.archived()["arrival"].to_list() == ["on_time", "too_late", "too_late"]
    late = project.query("SELECT event_id, arrival FROM late_events ORDER BY 1").rows()
    assert late == [("e2", "too_late"), ("e3", "too_late")]


def test_imported_files_are_listed(project: Project) -> None:
    """Each finished file has a row with its digest and numbers."""
    project.load(project.file("a.jsonl", [row(1), "{"]), project.file("b.jsonl", [row(2)]))
    listed = project.query(
        "SELECT file, records, events, length(digest) FROM imports ORDER BY file"
    )
    assert [(Path(f).name, *rest) for f, *rest in listed.rows()] == [
        ("a.jsonl", 2, 2, 32),
        ("b.jsonl", 1, 1, 32),
    ]


def test_a_declared_column_added_later_is_null_before(project: Project) -> None:
    """Adding a column rewrites nothing: older events read as null, also after a merge."""
    project.load(project.file("a.jsonl", [row(1)]))
    project.configure('columns = { campaign_id = "str" }\n' + CONFIG + 'campaign_id = "campaign"\n')
    project.load(project.file("b.jsonl", [row(2, campaign="c")]))
    assert project.archived()["campaign_id"].to_list() == [None, "c"]


def test_a_missing_file_is_refused_before_anything_is_read(project: Project) -> None:
    """One missing input stops the import before its neighbours are archived."""
    with pytest.raises(DataError, match=r"gone\.jsonl: no such file"):
        project.load(project.file("a.jsonl", [row(1)]), project.folder / "gone.jsonl")
    assert project.registered() == []


def kill_import(project: Project, where: str) -> None:
    """Run an import in a process that kills itself at ``where``."""
    code = f"""
    import os, signal
    from pathlib import Path
    from labeling.io import importing
    from labeling.io.archive import Archive
    from labeling.io.store import Commit, Store
    from tests.import_project import Project
    importing.CHUNK_EVENTS = 2
    def die(*args, **more): os.kill(os.getpid(), signal.SIGKILL)
    calls = []
    write = Archive.write
    def second(self, *args, **more):
        calls.append(1)
        done = write(self, *args, **more)
        if len(calls) == 2: die()
        return done
    {where}
    project = Project(Path({str(project.folder)!r}))
    project.load(*sorted(project.folder.glob("*.jsonl")))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("where", "known", "lying"),
    [
        ("Commit.add_files = die", 0, 1),
        ("Archive.write = second", 1, 2),
        ("Archive.remove = die", 1, 5),
    ],
    ids=["before the first commit", "after the second file's rename", "between merge and delete"],
)
def test_a_kill_leaves_orphans_that_the_next_import_removes(
    project: Project, where: str, known: int, lying: int
) -> None:
    """After kill -9 readers see only committed files; the next import completes and cleans up."""
    paths = [project.file(f"{n}.jsonl", [row(2 * n), row(2 * n + 1)]) for n in range(4)]
    stranger = project.config.archive / "dt=2026-11-20/hour=10/mine.parquet"
    kill_import(project, where)
    assert (len(project.registered()), len(project.parquet_files())) == (known, lying)
    stranger.write_bytes(b"not ours")
    assert project.archived().height == 2 * min(known, 1) * (4 if lying == 5 else 1)
    project.load(*paths)
    assert project.archived()["event_id"].to_list() == [f"e{n}" for n in range(8)]
    ours = set(project.parquet_files()) - {"dt=2026-11-20/hour=10/mine.parquet"}
    assert ours == set(project.registered())
    assert stranger.read_bytes() == b"not ours"


def test_a_lost_store_beside_a_full_archive_is_refused(project: Project) -> None:
    """A new store does not touch, or mix with, another store's files."""
    path = project.file("a.jsonl", [row(1)])
    project.load(path)
    project.config.store.unlink()
    with pytest.raises(StoreError, match="1 of another store: restore that store"):
        project.load(path)
    assert len(project.parquet_files()) == 1


def test_a_damaged_archive_file_is_named_and_can_be_forgotten(project: Project) -> None:
    """An import into a damaged hour stops with the way out, which works."""
    path = project.file("a.jsonl", [row(1), row(2)])
    project.load(path)
    (name,) = project.registered()
    file = project.config.archive / name
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(DataError, match=f"--forget {name}"):
        project.load(path)
    assert project.command("import", "--forget", name).exit_code == 0
    assert project.load(path).accepted == 2
    assert project.command("import", "--forget", name).exit_code == 1


def test_command_prints_a_summary(project: Project) -> None:
    """Without FILES the sources' own are read; the summary has every count."""
    project.file("a.jsonl", [row(1), row(1), row(1, item="x"), "["])
    done = project.command("import", "--until", "2026-11-21")
    assert done.exit_code == 0
    expected = "1 file, 4 records, 4 events: 1 accepted, 2 duplicate, 0 too late, 1 rejected"
    assert expected in done.output
    assert "labeling rejects" in done.output
    assert "from conflicts" in done.output
    ends = project.query("SELECT end_ts FROM source_ends").item()
    assert ends == datetime(2026, 11, 21, tzinfo=UTC)


def test_command_refuses_what_it_cannot_place(project: Project) -> None:
    """Several sources and files without --source, and times that are none, are usage errors."""
    path = str(project.file("a.jsonl", [row(1)]))
    project.configure(CONFIG + CONFIG.split("\n", 3)[3].replace('"app"', '"web"'))
    done = project.command("import", path)
    assert (done.exit_code, "--source: app, web" in done.stderr) == (2, True)
    assert project.command("import", "--source", "ap", path).exit_code == 2
    assert project.command("import", "--source", "app", path, "--until", "soon").exit_code == 2


def test_retention_runs_after_an_import(project: Project) -> None:
    """``[retention]`` of the configuration is applied, counted from the newest event."""
    project.configure(CONFIG + '[retention]\nrejects = "1d"\n')
    project.load(project.file("a.jsonl", [row(1, ms=-72 * HOUR_MS), "{"]))
    path = project.file("b.jsonl", [row(2)])
    done = project.command("import", str(path))
    assert "retention dropped 1 rows of rejects" in done.output
    assert project.query("FROM rejects").is_empty()


def test_times_on_the_command_line() -> None:
    """A time without a zone is UTC; a bare hour is one."""
    assert parse_time("2026-11-20T10") == at()
    assert parse_time("2026-11-20T11:00+01:00") == at()
    with pytest.raises(ConfigError, match="not a time"):
        parse_time("10 am")
