"""Compaction: the same events in fewer files, whatever happens on the way."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from labeling.errors import StoreError
from labeling.io import compaction, leases
from labeling.io.archive import SORTED_BY
from labeling.io.compaction import Compacted, compact, complete_before, stems
from labeling.io.remote import open_store
from labeling.io.store import Store
from tests.replay_project import ReplayProject, event
from tests.store_shapes import at
from tests.tail_project import LATER, Tail


@pytest.fixture
def tail(tmp_path: Path) -> Tail:
    """An empty store and archive."""
    return Tail(tmp_path)


@pytest.fixture
def store(tail: Tail) -> Iterator[Store]:
    """Its store, open."""
    with Store.open(tail.path) as opened:
        yield opened


def test_tail_becomes_sorted_hours(tail: Tail, store: Store) -> None:
    """One file per hour, in the archive's order, ``archived`` filled, kind and edges right."""
    before = tail.fill(store, seed=1)
    done = tail.compact(store)
    files = store.files()
    assert (done.tails, done.events, done.hours) == (
        6,
        before.height,
        (at(), at(hours=1), at(hours=2)),
    )
    assert [(f.kind, f.hour) for f in files] == [("hour", at(hours=h)) for h in range(3)]
    for file in files:
        raw = pl.read_parquet(tail.archive.root / file.name)
        assert raw.equals(raw.sort(SORTED_BY))
        assert raw["archived"].null_count() == 0
        assert raw["archived"].max() == file.max_archived
        assert file.source is None
    assert tail.all(store).equals(before)
    assert tail.lying() == [f.name for f in files]
    assert tail.compact(store) == Compacted()


def test_what_is_not_complete_waits(tail: Tail, store: Store) -> None:
    """A file with one event at or after the bound stays in the tail, whole."""
    rng = random.Random(2)
    tail.write(store, tail.batch(rng, 20, [0]))
    edge = tail.batch(rng, 3, [0]).with_columns(
        event_ts=pl.Series([at(), at(1), at(hours=1)], dtype=pl.Datetime("ms", "UTC"))
    )
    waiting = tail.write(store, edge)
    before = tail.all(store)
    assert tail.compact(store, at(hours=1)).tails == 1
    assert [f.name for f in store.files() if f.kind == "tail"] == [waiting.name]
    assert tail.all(store).equals(before)
    assert tail.compact(store, at(1, hours=1)).tails == 1
    assert tail.all(store).equals(before)


def test_columns_no_longer_declared_stay(tail: Tail, store: Store, tmp_path: Path) -> None:
    """A column that the configuration dropped, or has since added, survives with its values."""
    wide = Tail(tmp_path, {"campaign_id": "str"})
    rng = random.Random(3)
    wide.write(store, wide.batch(rng, 10, [0]))
    wide.batch(rng, 10, [0])  # their ids are taken
    tail.write(
        store, tail.batch(rng, 10, [0]).with_columns(event_id=pl.lit("n") + pl.col("event_id"))
    )
    before = wide.all(store)
    tail.compact(store)
    assert wide.all(store).equals(before)
    assert wide.all(store)["campaign_id"].null_count() == 10


def test_late_events_are_merged_when_there_are_four_files(tail: Tail, store: Store) -> None:
    """Fewer small files of an hour are left alone, and no more than a batch of events is merged."""
    rng = random.Random(13)
    seen = []
    for _ in range(5):
        tail.write(store, tail.batch(rng, 10, [0]))
        done = tail.compact(store)
        seen.append((done.merged, sorted(f.rows for f in store.files())))
    merged = [(0, [10]), (0, [10, 10]), (0, [10] * 3), (4, [40]), (0, [10, 40])]
    assert seen == merged
    for _ in range(4):
        tail.write(store, tail.batch(rng, 10, [1]))
    tail.compact(store, batch_rows=10)
    assert [f.rows for f in store.files(from_ts=at(hours=1))] == [10] * 4
    assert len(tail.lying()) == len(store.files()) == 6


@pytest.mark.parametrize("seed", range(6))
def test_any_mixture_keeps_every_event(
    tail: Tail, store: Store, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random tail files, bounds, batch sizes, merges and readers: the archive never changes."""
    rng = random.Random(seed)
    monkeypatch.setattr(compaction, "FEW", rng.choice([2, 4]))
    written, stem = [], stems(store).__next__
    readers = ExitStack()
    held: list[tuple[Any, pl.DataFrame]] = []
    with readers:
        for _ in range(25):
            step = rng.choice(["write", "write", "compact", "read", "end"])
            if step == "write":
                frame = tail.batch(rng, rng.randrange(1, 30), range(rng.randrange(1, 5)))
                file = tail.write(store, frame)
                archived = store.last_commit
                assert file.hour is None
                written.append(frame.with_columns(archived=pl.lit(archived, pl.Int64)))
            elif step == "compact":
                bound = at(rng.randrange(2), hours=rng.randrange(6))
                compact(store, tail.archive, bound, stem, batch_rows=rng.choice([1, 25, 10**6]))
            elif step == "read" and written:
                readers.enter_context(leases.reading(tail.archive.root))
                held.append((store.files(), pl.concat(written).sort("event_id")))
            elif step == "end":
                held.clear()
                readers.close()
            for files, expected in held:
                assert tail.archive.read(files).sort("event_id").equals(expected)
            if written:
                assert tail.all(store).equals(pl.concat(written).sort("event_id"))
    compact(store, tail.archive, LATER, stem)
    assert tail.lying() == sorted(f.name for f in store.files())


def test_complete_hours_follow_the_watermark(store: Store) -> None:
    """The lowest source of any shard less lateness, down to its hour; nothing read, nothing."""
    assert complete_before(store, 0) is None

    def mark(*f_ms: int) -> datetime | None:
        with store.commit("marks") as commit:
            rows = [(n, "source", "app", f) for n, f in enumerate(f_ms)]
            commit.set_watermarks(
                pl.DataFrame(rows, schema=["shard", "kind", "name", "f_ms"], orient="row")
            )
        return complete_before(store, 60_000)

    ten = int(at().timestamp() * 1000)
    assert mark(ten + 60_000, ten + 3 * 3_600_000) == at()
    assert mark(ten + 59_999, ten + 3 * 3_600_000) == at(hours=-1)
    assert mark(-(2**62), ten) is None
    assert mark(2**62, 2**62) == datetime.max.replace(tzinfo=UTC)


def log() -> list[dict[str, Any]]:
    """Two hours of shows and clicks, each event once."""
    rng = random.Random(11)
    found = {}
    for n in range(300):
        kind, user, item = rng.choice(["show", "click"]), rng.choice("abcde"), rng.choice("ij")
        made = event(kind, rng.randrange(7000), user=user, item=item, slot=n)
        found[made["id"]] = made
    return list(found.values())


def streamed(folder: Path, archived: pl.DataFrame) -> ReplayProject:
    """A project whose archive is what a stream would have written of the events."""
    folder.mkdir()
    made = ReplayProject(folder)
    config = made.config
    with Store.open(config.store) as store:
        tail = Tail(folder)
        shuffled = archived.sample(fraction=1, shuffle=True, seed=12)
        for part in shuffled.with_columns(archived=pl.lit(None, pl.Int64)).iter_slices(60):
            tail.write(store, part)
        with store.commit("end") as commit:
            commit.end_source("app", None)
    return made


def test_replay_reads_tail_hours_and_imports_alike(tmp_path: Path) -> None:
    """Over a tail, over what is compacted of it and over an import the rows are the same.

    A compaction makes nothing out of date.
    """
    (tmp_path / "imported").mkdir()
    imported = ReplayProject(tmp_path / "imported")
    imported.take_in("log", log())
    raw, compacted = (streamed(tmp_path / n, imported.archived()) for n in ("raw", "compacted"))
    half = compacted.command("compact", "--before", "2026-11-20T11")
    assert half.output.startswith("0 tail files"), half.output  # each has an event of both hours
    done = compacted.command("compact", "--before", "2026-11-20T12")
    assert "5 tail files" in done.output, done.output
    assert "into 2 hours" in done.output
    assert "5 old files deleted" in done.output
    for project in (imported, raw, compacted):
        assert project.replay().exit_code == 0
    book = ["commit", "first_commit"]
    for project in (raw, compacted):
        assert project.rows().drop(book).equals(imported.rows().drop(book))
        assert project.changes() == imported.changes()
    assert imported.rows().height > 50
    raw.command("compact", "--before", "2026-11-20T12")
    assert "nothing to publish, 2 hours up to date" in raw.replay().output
    assert "no change" in raw.replay("--force").output


def test_command_without_a_stream(tmp_path: Path) -> None:
    """Without a watermark there is nothing to do; beside another compaction it says so."""
    project = ReplayProject(tmp_path)
    project.take_in("log", log())
    assert "nothing to compact" in project.command("compact").output
    with leases.alone(project.config.store):
        busy = project.command("compact", "--before", "2026-11-20T12")
    assert (busy.exit_code, "wait until it ends" in busy.stderr) == (1, True)


def test_beside_a_flow_that_is_gone_it_leaves_the_store_alone(tmp_path: Path) -> None:
    """A compaction that outlives its flow must not lock the store against the next one."""
    path = tmp_path / "store.duckdb"
    Store.open(path).close()
    with pytest.raises(StoreError, match="no flow serves"):
        open_store(path, needed=True)
    with Store.open(path) as store:
        assert store.run == 2
