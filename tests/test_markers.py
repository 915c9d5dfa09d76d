"""Digests and markers of hours: clauses M1 to M6 of docs/markers.md, through a real store.

Always holds: what is compared with is a recount of the stored rows, or a model that is told of
publications and watermarks in plain Python.

Not promised: topics, schedulers and hooks; see test_markers_live.py, test_wait.py, test_notify.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from labeling.io.store import Store
from labeling.io.store.repairs import Cost, Repaired
from labeling.products.markers.digests import digests_of
from labeling.products.markers.keeper import MarkerKeeper
from labeling.products.markers.rows import markers_told
from tests.marker_stores import (
    HOUR,
    SETTLE_MS,
    T0,
    TABLE,
    WINDOW_MS,
    Row,
    check_sums,
    context,
    end,
    move,
    ms,
    opened,
    publish,
    states,
    stream,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with the keeper."""
    with opened(tmp_path) as one:
        yield one


def test_an_hour_is_complete_settled_and_republished(store: Store) -> None:
    """M2 to M4: each state at its watermark, corrections gathered, hours without rows too."""
    with store.commit("a") as commit:
        stream(commit)
        publish(store, commit, [(1, 0, 0), (2, 5, 0), (3, 130, 0)])
        move(store, commit, end(0, WINDOW_MS))
    assert states(store) == []
    with store.commit("b") as commit:
        move(store, commit, end(0, WINDOW_MS + 1))
    assert states(store) == [(0, 1, "complete", 2, 2)]
    with store.commit("late ones are gathered") as commit:
        publish(store, commit, [(1, 0, 1), (4, 7, 1)], "late")
        move(store, commit, end(0, SETTLE_MS))
    assert len(states(store)) == 1
    with store.commit("c") as commit:
        publish(store, commit, [(5, 9, 1)], "late")
        move(store, commit, end(0, SETTLE_MS + 1))
    assert states(store)[1:] == [(0, 2, "settled", 4, 2)]
    with store.commit("nothing new") as commit:
        publish(store, commit, [(5, 9, 1)], "replay")
        commit.set_hours(TABLE, {T0: True}, archive_commit=1)
    assert len(states(store)) == 2
    with store.commit("a repair") as commit:
        publish(store, commit, [(5, 9, 2), (4, 7, None)], "replay")
    assert states(store)[2:] == [(0, 3, "republished", 3, -1)]
    with store.commit("far on: both markers of each hour") as commit:
        move(store, commit, end(2, SETTLE_MS + 1))
    assert states(store)[3:] == [
        (1, 1, "complete", 0, 0), (1, 2, "settled", 0, 0),
        (2, 1, "complete", 1, 1), (2, 2, "settled", 1, 0),
    ]  # fmt: skip
    check_sums(store)


def test_hours_of_replay_and_of_a_cold_rule(store: Store) -> None:
    """M3 without a stream: settled once everything is published; of a cold rule by its repairs."""
    with store.commit("not complete") as commit:
        publish(store, commit, [(1, 0, 1)])
        commit.set_hours(TABLE, {T0: False}, archive_commit=1, through_ts=T0)
    assert states(store) == []
    with store.commit("complete, undos may come") as commit:
        commit.set_hours(TABLE, {T0: True}, archive_commit=1, through_ts=T0 + HOUR)
    assert states(store) == [(0, 1, "complete", 1, 1)]
    with store.commit("all of it, and one without rows") as commit:
        commit.set_hours(TABLE, {T0: True, T0 + HOUR: True}, archive_commit=1)
    assert [s[:3] for s in states(store)] == [
        (0, 1, "complete"), (0, 2, "settled"), (1, 1, "complete"), (1, 2, "settled")
    ]  # fmt: skip
    with store.commit("cold") as commit:
        commit.set_repaired(TABLE, Repaired(end(2, SETTLE_MS), 1, Cost()), WINDOW_MS)
        commit.set_hours(TABLE, {T0 + 2 * HOUR: True}, archive_commit=1)
    assert states(store)[4:] == [(2, 1, "complete", 0, 0)]
    with store.commit("on") as commit:
        commit.set_repaired(TABLE, Repaired(end(2, SETTLE_MS + 1), 1, Cost()), WINDOW_MS)
    assert states(store)[5:] == [(2, 2, "settled", 0, 0)]
    check_sums(store)


def test_a_store_with_rows_from_before(tmp_path: Path) -> None:
    """The first commit counts all rows once, and tells of the hours that were complete."""
    with Store.open(tmp_path / "store.duckdb") as old, old.commit("before markers") as commit:
        stream(commit)
        publish(old, commit, [(1, 0, 0), (2, 61, 0), (3, 130, 0)])
        move(old, commit, end(0, WINDOW_MS + 1))
    with opened(tmp_path) as store:
        assert store.query("FROM digests").is_empty()
        with store.commit("one changes, one is new") as commit:
            publish(store, commit, [(1, 0, 1), (4, 131, 0)])
        check_sums(store)
        with store.commit("on") as commit:
            move(store, commit, end(1, SETTLE_MS + 1))
        assert [s[:4] for s in states(store)] == [
            (0, 1, "complete", 1), (0, 2, "settled", 1),
            (1, 1, "complete", 1), (1, 2, "settled", 1),
        ]  # fmt: skip
        check_sums(store)


def test_what_a_marker_says(tmp_path: Path) -> None:
    """M6: counts of late events, positions and the sums, the same in the store and on the topic."""
    told: list[dict[str, Any]] = []
    cluster = {"cluster": {"main": {"bootstrap": "none:1"}}, "live": {"markers_topic": "markers"}}
    with Store.open(tmp_path / "store.duckdb") as store:
        store.listener = MarkerKeeper(context(tmp_path, told, **cluster))
        with store.commit("all") as commit:
            stream(commit)
            commit.append_late(_late())
            commit.set_positions(_positions())
            publish(store, commit, [(1, 0, 1)])
            move(store, commit, end(0, WINDOW_MS + 1))
        rows = store.query("FROM markers")
        digest = digests_of(store.database, TABLE, [T0]).row(0, named=True)
    assert markers_told(rows) == told
    (one,) = told
    sums = {k: digest[k] for k in ("rows", "digest_hi", "digest_lo")}
    assert one == {
        "rule": "shown", "version": 1, "hour": "2026-11-20T10:00:00Z", "revision": 1,
        "state": "complete", "held": False, "held_reason": None, **sums, "delta_rows": 1,
        "delta_hi": digest["digest_hi"], "delta_lo": digest["digest_lo"], "late": 2, "too_late": 1,
        "positions": {"shows/0": 5, "shows/1": 9}, "commit": 1,
    }  # fmt: skip


def _late() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": ["u"] * 4,
            "event_ts": [T0, T0 + HOUR - timedelta(milliseconds=1), T0, T0 + HOUR],
            "event_id": ["a", "b", "c", "d"],
            "arrival": ["late", "late", "too_late", "late"],
            "source": ["app"] * 4,
        }
    )


def _positions() -> pl.DataFrame:
    places = [(0, 0, 7), (0, 1, 5), (1, 0, 9), (1, 1, 9)]
    return pl.DataFrame(
        [("app", "main", "shows", p, shard, at, 0, False, None) for p, shard, at in places],
        schema=["source", "cluster", "topic", "partition", "shard", "next_offset", "mark_ms",
                "idle", "topic_id"],
        orient="row",
    )  # fmt: skip


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    """Neither in the store nor in the keeper: the same again is counted once."""
    with store.commit("begin") as commit:
        stream(commit)
    for fails in (True, True, False):
        with pytest.raises(ZeroDivisionError) if fails else nullcontext():
            step(store, [(1, 0, 1), (2, 0, 1)], end(0, SETTLE_MS + 1), fails=fails)
        assert store.query("FROM markers").is_empty() == fails
        assert store.query("FROM digests").is_empty() == fails
    assert [s[2:] for s in states(store)] == [("complete", 2, 2), ("settled", 2, 0)]
    check_sums(store)


def test_retention_takes_digests_with_rows(store: Store) -> None:
    """Dropped hours have no digest and keep their markers; published anew they count once."""
    day = 24 * 60
    with store.commit("rows") as commit:
        stream(commit)
        publish(store, commit, [(1, 0, 1), (2, 3 * day, 1)])
        move(store, commit, end(0, SETTLE_MS + 1))
    newest = T0 + timedelta(days=3)
    store.database.run("UPDATE commits SET newest_ts = ?", [newest])
    assert store.retain({"shown": 86_400_000}) == {"shown_v1": 1}
    check_sums(store)
    assert len(states(store)) == 2
    with store.commit("again") as commit:
        publish(store, commit, [(1, 0, 1)])
    check_sums(store)
    assert len(states(store)) == 2, "the same rows are nothing new"


# ---- against a model ----------------------------------------------------------------------------

Step = tuple[list[Row], int, bool]
#: Rows of two users over three hours, how far ``F`` goes on (minutes), and whether it fails first.
STEPS = st.lists(
    st.tuples(
        st.lists(
            st.tuples(
                st.integers(1, 2), st.sampled_from([0, 59, 60, 150]), st.none() | st.integers(0, 1)
            ),
            max_size=3,
        ),
        st.sampled_from([0, 0, 15, 40, 41, 70, 200]),
        st.booleans(),
    ),
    max_size=6,
)


def step(store: Store, rows: Sequence[Row], f_ms: int, *, fails: bool = False) -> None:
    """One commit, which may fail at its end."""
    with store.commit("step") as commit:
        publish(store, commit, rows)
        move(store, commit, f_ms)
        1 // int(not fails)


def expected(steps: Sequence[Step]) -> list[tuple[int, int, str, int]]:
    """Markers (hour, revision, state, rows) by the clauses, told step by step."""
    rows: dict[tuple[int, int], int] = {}
    said: dict[int, list[tuple[str, Any]]] = {}
    found = []
    f_ms = ms(T0)
    for published, minutes, _ in steps:
        for user, minute, clicks in published:
            rows.pop((user, minute), None)
            if clicks is not None:
                rows[user, minute] = clicks
        f_ms += minutes * 60_000
        for hour in range(30):
            now = {key: n for key, n in rows.items() if key[1] // 60 == hour}
            mine = said.setdefault(hour, [])
            due = []
            if len(mine) >= 2 and mine[-1][1] != now:
                due.append("republished")
            if not mine and f_ms > end(hour, WINDOW_MS):
                due.append("complete")
            if len(mine) + len(due) == 1 and f_ms > end(hour, SETTLE_MS):
                due.append("settled")
            for state in due:
                mine.append((state, now))
                found.append((hour, len(mine), state, len(now)))
    return sorted(found)


@given(STEPS)
@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # to shrink takes minutes: each example is a store
)
def test_markers_are_those_of_the_clauses(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    """Random publications and watermarks, failures and restarts between: M1 to M5."""
    folder, f_ms = tmp_path_factory.mktemp("random"), ms(T0)
    with ExitStack() as stack:
        store = stack.enter_context(opened(folder))
        with store.commit("begin") as commit:
            stream(commit)
        for rows, minutes, fails in steps:
            f_ms += minutes * 60_000
            if fails:
                with pytest.raises(ZeroDivisionError):
                    step(store, rows, f_ms, fails=True)
                stack.close()
                store = stack.enter_context(opened(folder))
            step(store, rows, f_ms)
            check_sums(store)
        assert [s[:4] for s in states(store)] == expected(steps)
