"""Rows of rules in the store: publication, lookups, views, retention."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from labeling.errors import ConfigError, RuleError, StoreError
from labeling.io.archive import Archive
from labeling.io.store import Store
from labeling.model.table import RuleTable
from tests.store_shapes import (
    CLICKS,
    VALUES,
    Change,
    at,
    changes,
    events,
    key,
    keys,
    value,
    write_hour,
)

DAY_MS = 86_400_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store, open for writing."""
    with Store.open(tmp_path / "store.duckdb") as opened:
        yield opened


def publish(store: Store, *rows: Change, table: RuleTable = CLICKS) -> Any:
    """Publish changes in a commit of their own."""
    with store.commit("publish") as commit:
        return commit.publish(table, changes(rows))


def rows(store: Store, what: str = "clicks_v1") -> list[tuple[Any, ...]]:
    """User, paid, revision and both commits of every row of a table or view."""
    sql = f"SELECT user_id, paid, revision, first_commit, commit FROM {what} ORDER BY ALL"
    return store.query(sql).rows()


def test_insert_update_retract_return(store: Store) -> None:
    """A row goes through its life; revisions continue and the first commit stays."""
    k = key("u", 5)
    publish(store, (k, 1, "insert", None, value(1)))
    assert rows(store) == [("u", 1, 1, 1, 1)]
    publish(store, (k, 2, "update", value(1), value(2)))
    assert rows(store) == [("u", 2, 2, 1, 2)]
    publish(store, (k, 3, "retract", value(2), None))
    assert rows(store) == []
    stored = store.current(CLICKS, keys(k)).row(0, named=True)
    assert (stored["revision"], stored["present"], stored["paid"]) == (3, False, None)
    publish(store, (k, 4, "insert", None, value(4)))
    assert rows(store) == [("u", 4, 4, 1, 4)]
    assert store.query("FROM retracted").is_empty()
    log = store.query(
        "SELECT revision, kind, old, new, commit FROM label_changes ORDER BY revision"
    )
    assert [(r, k, c) for r, k, _, _, c in log.rows()] == [(2, "update", 2), (3, "retract", 3)]
    # Of an update only what differs, of a retraction everything.
    assert (json.loads(log.item(0, "old")), json.loads(log.item(0, "new"))) == (
        {"paid": 1},
        {"paid": 2},
    )
    assert json.loads(log.item(1, "old")) == value(2)
    assert log.item(1, "new") is None


def test_several_revisions_of_a_key_in_one_call(store: Store) -> None:
    """Only the last state stays in the table; every update is in the log; row order is free."""
    done = publish(
        store,
        (key("a", 1), 3, "update", value(2), value(3)),
        (key("a", 1), 1, "insert", None, value(1)),
        (key("b", 2), 1, "insert", None, value(7)),
        (key("a", 1), 2, "update", value(1), value(2)),
        (key("c", 3), 1, "insert", None, value(0)),
        (key("c", 3), 2, "retract", value(0), None),
        (key("d", 3), 1, "insert", None, value(0)),
        (key("d", 3), 2, "retract", value(0), None),
        (key("d", 3), 3, "insert", None, value(5)),
    )
    assert (done.inserted, done.updated, done.retracted) == (5, 2, 2)
    assert rows(store) == [("a", 3, 3, 1, 1), ("b", 7, 1, 1, 1), ("d", 5, 3, 1, 1)]
    assert store.query("SELECT user_id, revision FROM retracted").rows() == [("c", 2)]
    assert store.query("SELECT count(*) FROM label_changes").item() == 4


def told_back(store: Store, now: dict[Any, Any]) -> dict[Any, dict[str, Any] | None]:
    """Every value ever published, from the current rows and ``label_changes`` alone."""
    log = store.query("SELECT user_id, anchor_ts, anchor_id, revision, old FROM label_changes")
    before = {((u, t, a), r): json.loads(old) for u, t, a, r, old in log.iter_rows()}
    told: dict[Any, dict[str, Any] | None] = {}
    for k, (last, current) in now.items():
        seen = current
        for revision in range(last, 0, -1):
            told[k, revision] = seen
            old = before.get((k, revision))
            seen = None if old is None else {**(seen or {}), **old}
    return told


@pytest.mark.parametrize("seed", range(6))
def test_random_changes_equal_a_dict(store: Store, seed: int) -> None:
    """Any sequence of valid changes leaves the store where a dict ends, key by key."""
    rng = random.Random(seed)
    pool = [key(f"u{i % 4}", 7 * i, f"a{i % 3}") for i in range(12)]
    state: dict[Any, tuple[int, dict[str, Any] | None]] = {}
    history: dict[Any, dict[str, Any] | None] = {}
    logged = 0
    for _ in range(8):
        batch: list[Change] = []
        for _ in range(rng.randrange(1, 15)):
            k = rng.choice(pool)
            revision, old = state.get(k, (0, None))
            new = None if old is not None and rng.random() < 0.4 else value(rng.randrange(99))
            kind = "insert" if old is None else "retract" if new is None else "update"
            logged += kind != "insert"
            batch.append((k, revision + 1, kind, old, new))
            state[k] = (revision + 1, new)
            history[k, revision + 1] = new
        rng.shuffle(batch)
        publish(store, *batch)
    stored = store.current(CLICKS, keys(*pool))
    got = {
        (r["user_id"], r["anchor_ts"], r["anchor_id"]): (
            r["revision"],
            {name: r[name] for name in VALUES} if r["present"] else None,
        )
        for r in stored.iter_rows(named=True)
    }
    assert got == state
    assert told_back(store, got) == history
    assert store.query("SELECT count(*) FROM label_changes").item() == logged
    assert store.rows_between(CLICKS, at(), at(hours=1)).height == sum(
        v is not None for _, v in state.values()
    )
    assert store.stored_between(CLICKS, at(), at(hours=1)).equals(stored)


def test_current_knows_only_what_was_asked(store: Store) -> None:
    """Keys never published are left out; types are the rule's; other versions do not show."""
    publish(
        store,
        (key("a", 1), 1, "insert", None, value(1)),
        (key("b", 2), 1, "insert", None, value(2)),
    )
    found = store.current(CLICKS, keys(key("b", 2), key("c", 3), key("b", 2)))
    assert found["user_id"].to_list() == ["b"]
    assert dict(found.schema) == {**CLICKS.schema, "revision": pl.Int32(), "present": pl.Boolean()}
    second = RuleTable("clicks", 2, "digest-2", VALUES)
    assert store.current(second, keys(key("b", 2))).is_empty()
    assert store.current(CLICKS, keys()).is_empty()


def test_hour_of_rows_is_half_open(store: Store) -> None:
    """The first millisecond belongs to its hour, the first of the next hour to the next."""
    hour = 3_600_000
    ends = [key("first", 0), key("last", hour - 1), key("next", hour)]
    publish(store, *((k, 1, "insert", None, value(1)) for k in ends))
    assert store.rows_between(CLICKS, at(), at(hours=1))["user_id"].to_list() == ["first", "last"]
    with store.commit("hours") as commit:
        counted = [
            commit.set_hours(CLICKS, {at(hours=h): True}, archive_commit=1)[at(hours=h)]
            for h in (0, 1, 2)
        ]
    assert counted == [2, 1, 0]


def test_a_changed_rule_of_a_known_version_is_refused(store: Store) -> None:
    """Another digest under a published version is an error that names the next version."""
    publish(store, (key("a", 1), 1, "insert", None, value(1)))
    changed = RuleTable("clicks", 1, "other", VALUES)
    with pytest.raises(StoreError, match=r"clicks version 1 has changed.*version 2"):
        publish(store, (key("b", 1), 1, "insert", None, value(1)), table=changed)
    assert len(rows(store)) == 1


@pytest.mark.parametrize("name", ["hours", "commits", "counts_total", "clicks_final", "clicks_v1"])
def test_names_of_tables_are_taken(store: Store, name: str) -> None:
    """A rule cannot take the name of a table or of another rule's view."""
    publish(store, (key("a", 1), 1, "insert", None, value(1)))
    with pytest.raises(StoreError, match="give the rule another name"):
        publish(store, table=RuleTable(name, 1, "d", VALUES))


def test_columns_of_the_store_are_taken() -> None:
    """A label named like one of the store's own columns is refused when the table is described."""
    with pytest.raises(RuleError, match="revision is a column of every rule's table"):
        RuleTable("r", 1, "d", {"revision": pl.Int32()})
    with pytest.raises(RuleError, match="must be an Int64 label"):
        RuleTable("r", 1, "d", {"paid": pl.Float64()}, frozenset({"paid"}))


def test_views_show_money_in_whole_units(store: Store) -> None:
    """Micro-units in the table are doubles in the view, under the same name."""
    publish(store, (key("a", 1), 1, "insert", None, value(1_250_000)))
    assert store.query("SELECT paid FROM clicks_v1").row(0) == (1_250_000,)
    shown = store.query("SELECT paid, clicked FROM clicks")
    assert shown.row(0) == (1.25, False)
    assert shown.schema["paid"] == pl.Float64()


def test_view_follows_the_newest_version_or_the_active_one(store: Store) -> None:
    """A new version takes the view over; an activated one holds it."""
    publish(store, (key("a", 1), 1, "insert", None, value(1_000_000)))
    second = RuleTable("clicks", 2, "digest-2", {"clicked": pl.Boolean()})
    with store.commit("second") as commit:
        commit.publish(second, changes([]).with_columns(new=pl.lit(None, pl.Struct(second.values))))
    assert "paid" not in store.query("FROM clicks").columns
    with store.commit("back") as commit:
        commit.activate("clicks", 1)
    assert store.query("SELECT paid FROM clicks").rows() == [(1.0,)]
    with (
        store.commit("unknown") as commit,
        pytest.raises(StoreError, match="clicks has no version 9"),
    ):
        commit.activate("clicks", 9)


def test_final_rows(store: Store) -> None:
    """Final: rows of complete hours; elsewhere those whose window ended before ``through_ts``."""
    window = CLICKS.window_ms or 0
    later = 3_600_000
    ks = [key("early", 0), key("late", 1), key("done", later), key("open", 2 * later)]
    publish(store, *((k, 1, "insert", None, value(1)) for k in ks))
    with store.commit("hours") as commit:
        # The last point of "early" is passed (strictly before), that of "late" is not.
        through = at(window + 1)
        commit.set_hours(CLICKS, {at(): False}, archive_commit=0, through_ts=through)
        commit.set_hours(CLICKS, {at(hours=1): True}, archive_commit=0)
    final = "SELECT user_id FROM clicks_final ORDER BY 1"
    assert store.query(final)["user_id"].to_list() == ["done", "early"]
    with store.commit("complete") as commit:
        commit.set_hours(CLICKS, {at(): True}, archive_commit=0)
    assert store.query(final)["user_id"].to_list() == ["done", "early", "late"]
    assert store.hours(CLICKS)["complete"].to_list() == [True, True]


def day(store: Store, archive: Archive, number: int, size: int = 1) -> None:
    """Publish ``size`` rows and an event of the day ``number`` days after ``T0``'s."""
    rng = random.Random(number)
    batch = [
        (key(f"u{i}", number * DAY_MS + i, f"{rng.random()}"), 1, "insert", None, value(i))
        for i in range(size)
    ]
    event = events(["u"]).with_columns(event_ts=at(number * DAY_MS))
    file = write_hour(archive, event, f"f{number}", hours=24 * number)
    with store.commit(f"day {number}") as commit:
        commit.add_files([file])
        commit.publish(CLICKS, changes(batch))
        commit.set_hours(CLICKS, {at(hours=24 * number): True}, archive_commit=1)
        commit.append_rejects(
            pl.DataFrame({"source": "app", "offset": number, "reason": "bad_json", "detail": "x"})
        )


def anchor_days(store: Store) -> list[datetime]:
    """The days that rows are left of."""
    return store.query("SELECT DISTINCT anchor_ts FROM clicks ORDER BY 1")["anchor_ts"].to_list()


def test_retention_drops_whole_days_by_the_data_s_own_time(store: Store, tmp_path: Path) -> None:
    """Kept: every day that a row within ``keep`` of the newest event lies in; the rest goes."""
    archive = Archive(tmp_path / "archive", {})
    for number in range(5):
        day(store, archive, number)
    dropped = store.retain({"clicks": DAY_MS, "rejects": 2 * DAY_MS, "label_changes": None})
    assert dropped == {"clicks_v1": 3, "rejects": 2}
    assert anchor_days(store) == [at(3 * DAY_MS), at(4 * DAY_MS)]
    assert store.hours(CLICKS)["hour"].to_list() == [at(hours=72), at(hours=96)]
    assert store.query('SELECT min("offset") FROM rejects').item() == 2
    before = store.last_commit
    assert store.retain({"clicks": DAY_MS}) == {}
    assert store.last_commit == before


def test_retention_names_what_it_knows(store: Store) -> None:
    """A table that is always kept is refused; a rule without a table yet has nothing to drop."""
    with pytest.raises(ConfigError, match="counts, always kept whole"):
        store.retain({"counts": DAY_MS})
    assert store.retain({"rule_to_come": DAY_MS}) == {}


def test_retention_bounds_the_file(store: Store, tmp_path: Path) -> None:
    """With two days kept the file of later days is not larger than that of the first ones."""
    archive = Archive(tmp_path / "archive", {})
    sizes = []
    for number in range(16):
        day(store, archive, number, 20_000)
        store.retain({"clicks": DAY_MS, "rejects": DAY_MS})
        store.checkpoint()
        sizes.append(store.path.stat().st_size)
    assert store.query("SELECT count(*) FROM clicks").item() == 40_000
    assert max(sizes[8:]) <= 1.3 * max(sizes[3:8]), sizes
