"""Health: clauses H1 and H2 of docs/health.md, the brake, and what Prometheus is told.

Always holds: counts are compared with a walk, in plain Python, over the history of each row.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from labeling import Event, LabelRule, end_of_day, happened
from labeling.config import Config
from labeling.config.health import HealthConfig
from labeling.config.rules import Tree
from labeling.io.store import Store
from labeling.io.store.listener import DEAF
from labeling.io.store.tables import SCHEMA_VERSION
from labeling.model.table import table_of
from labeling.products.health.keeper import HealthKeeper, brake
from labeling.products.health.metrics import HealthMetrics
from tests.product_histories import (
    KEYS,
    LABELS,
    POINTS,
    TABLE,
    Change,
    Past,
    attach,
    config_of,
    kept,
    known_at,
    lose,
    publication,
    publish,
    publish_first,
)
from tests.store_shapes import T0

VALUE: dict[str, Any] = {
    "scene": "feed", "experiments": None, "position": 0,
    "clicked": False, "liked": False, "clicks": 0, "paid": None,
}  # fmt: skip
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A configuration; the stores are the examples' own."""
    return config_of(tmp_path_factory.mktemp("health"))


def counts(store: Store) -> dict[tuple[Any, ...], tuple[int, int]]:
    """``health_counts`` as the twin has them."""
    found = store.query("SELECT hour, label, delay_ms, rows, positives FROM health_counts").rows()
    assert len(found) == len({row[:3] for row in found})
    return {row[:3]: row[3:] for row in found}


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_counts_are_those_of_a_walk_over_each_row(data: st.DataObject, config: Config) -> None:
    """Whatever is published, in first publications with and without points, and after a failure."""
    past = Past()
    with kept(config.folder / "s.duckdb", config, only=HealthKeeper) as store:
        for _ in range(data.draw(st.integers(1, 4), "commits")):
            with store.commit("c") as commit:
                for first in data.draw(st.lists(st.booleans(), min_size=1, max_size=3)):
                    made = data.draw(publication(past, first=first))
                    if first:
                        first_of(commit, past, made, timed=data.draw(st.booleans(), "timed"))
                    else:
                        publish(commit, made)
            if data.draw(st.booleans(), "a commit fails"):
                lose(store, data.draw(publication(Past({**past.changes}), first=True)))
            assert counts(store) == known_at(past)


def first_of(commit: Any, past: Past, made: list[Change], *, timed: bool) -> None:
    """A first publication, and in the past what it lets one know of when rows came.

    An insert that is the last of its row is of the row's point, if that is told; every other one is
    of the change before it, or of the first point.
    """
    publish_first(commit, made, timed=timed)
    for key in {c.key for c in made}:
        changes = past.changes[key]
        told: list[Change] = []
        for change in changes:
            place = change.place
            if change.kind == "insert" and not (change is changes[-1] and timed):
                place = told[-1].place if told else 0
            told.append(Change(**{**vars(change), "place": place}))
        past.changes[key] = told


def shown(place: int, *, point: int = 0, at: datetime | None = None, **more: Any) -> Change:
    """A row of a key, inserted at a point."""
    user, then, anchor = KEYS[place]
    return Change((user, at or then, anchor), 1, "insert", point, None, {**VALUE, **more})


def later(change: Change, point: int, **more: Any) -> Change:
    """The same row, updated at a point."""
    assert change.new is not None
    new = {**change.new, **more}
    return Change(change.key, change.revision + 1, "update", point, change.new, new)


def test_the_view_tells_rates(config: Config) -> None:
    """Coverage, the share of false negatives, and the shift to the same hour a day before."""
    third = Change(("c", T0, "c"), 1, "insert", 0, None, VALUE)
    day_before = [
        Change((user, T0 - DAY, user), 1, "insert", 0, None, {**VALUE, "clicked": clicked})
        for user, clicked in (("d", True), ("e", False))
    ]
    with kept(config.folder / "v.duckdb", config) as store, store.commit("c") as commit:
        publish(commit, [shown(0, clicked=True), shown(1), third, *day_before])
        publish(commit, [later(third, 2, clicked=True)])
        found = commit.database.frame(
            "SELECT delay_ms, rows, positives, coverage, fake_negative_rate, rate, "
            "rate_day_before, shift FROM health WHERE label = 'clicked' AND hour = ? "
            "ORDER BY delay_ms NULLS LAST",
            [T0],
        ).rows()
        assert found == [
            (60_000, 3, 1, 0.5, 0.5, 1 / 3, 0.5, pytest.approx(-1 / 3)),
            (600_000, 3, 1, 0.5, 0.5, 1 / 3, 0.5, pytest.approx(-1 / 3)),
            (1_800_000, 3, 2, 1.0, 0.0, 2 / 3, 0.5, pytest.approx(1 / 3)),
            (None, 3, 2, 1.0, 0.0, 2 / 3, 0.5, pytest.approx(1 / 3)),
        ]
        liked = "SELECT * FROM health WHERE label = 'liked' AND hour = ?"
        never = commit.database.frame(liked, [T0])
        assert set(never["coverage"]) == set(never["shift"]) == {None}


def test_a_calendar_window_has_no_delay_of_its_own(config: Config) -> None:
    """Its end is as far as the day is long: what is known then counts for longer delays and null.

    A row whose window ends before the early point is known there all the same.
    """
    rule = LabelRule(
        name="daily", anchor=Event("impression"), match=("user_id",), carry=(),
        window=end_of_day(0, tz="UTC"), early=("1h",), labels={"clicked": happened("click")},
    )  # fmt: skip
    table = table_of(rule)
    evening = T0.replace(hour=23, minute=30)
    rows = pl.DataFrame(
        {
            "user_id": ["a", "b"], "anchor_ts": [evening, T0], "anchor_id": ["a", "b"],
            "clicked": [True, False], "revision": [1, 1],
            "point_ts": [evening + timedelta(minutes=30), T0 + timedelta(hours=1)],
        }, schema_overrides={**table.schema, "revision": pl.Int32()},
    )  # fmt: skip
    with kept(config.folder / "d.duckdb", config, Tree((rule,))) as store:
        with store.commit("c") as commit:
            commit.publish_first(table, rows, pl.DataFrame())
        assert counts(store) == {
            (evening.replace(minute=0), "clicked", 3_600_000): (1, 1),
            (evening.replace(minute=0), "clicked", None): (1, 1),
            (T0, "clicked", 3_600_000): (1, 0),
            (T0, "clicked", None): (1, 0),
        }


def test_hours_that_began_uncounted_stay_so(config: Config) -> None:
    """When rows of an hour were published before they were counted, nobody knows when of them.

    Another hour of the same commit is counted from its start.
    """
    old, young = shown(0), [c for c in map(shown, range(len(KEYS))) if c.key[1] > T0][-1]
    with kept(config.folder / "u.duckdb", config) as store:
        store.listener = DEAF
        with store.commit("c") as commit:
            publish(commit, [old])
        attach(store, config)
        with store.commit("c") as commit:
            publish(commit, [later(old, 2, clicked=True), young])
            publish(commit, [shown(1)])
        assert {hour for hour, *_ in counts(store)} == {young.key[1].replace(minute=0)}
        with store.commit("c") as commit:
            publish_first(commit, [Change(("z", T0, "z"), 1, "insert", 0, None, VALUE)], timed=True)
        assert {hour for hour, *_ in counts(store)} == {young.key[1].replace(minute=0)}


def test_a_store_of_an_earlier_version_gets_the_view(tmp_path: Path) -> None:
    """The migration makes what a new file has."""
    path = tmp_path / "old.duckdb"
    with Store.open(path) as store:
        for sql in (
            "DROP VIEW health",
            "DROP TABLE health_counts",
            f"UPDATE meta SET value = '{SCHEMA_VERSION - 1}' WHERE key = 'schema_version'",
        ):
            store.database.run(sql)
    with Store.open(path) as store:
        assert store.query("FROM health").columns[:5] == [
            "rule", "version", "hour", "label", "delay_ms"
        ]  # fmt: skip


def sums(store: Store, hour: datetime, delay_ms: int | None, rows: int, positives: int,
         label: str = "clicked") -> None:  # fmt: skip
    """Counts put into a store as they are."""
    with store.commit("counts") as commit:
        row = [("seen", 1, hour, label, delay_ms, rows, positives)]
        names = ["rule", "version", "hour", "label", "delay_ms", "rows", "positives"]
        frame = pl.DataFrame(row, schema=names, orient="row").with_columns(
            pl.col("version").cast(pl.Int32), pl.col("hour").cast(pl.Datetime("ms", "UTC"))
        )
        commit.add_sums("health_counts", frame, names[:5])


@pytest.fixture
def day(tmp_path: Path, config: Config) -> Any:
    """A store with an hour of 2,000 rows and 200 positives, 150 of them known after a minute.

    A day before there were 100 positives of 2,000.
    """
    with kept(tmp_path / "b.duckdb", config) as store:
        with store.commit("c") as commit:
            publish(commit, [])
        sums(store, T0 - DAY, None, 2_000, 100)
        for delay, positives in ((POINTS[0], 150), (POINTS[2], 199), (None, 200)):
            sums(store, T0, delay, 2_000, positives)
        yield store


@pytest.mark.parametrize(
    ("settings_of", "reason"),
    [
        ({}, None),
        ({"max_shift": 1.0}, None),
        ({"max_shift": 0.99}, r"clicked: rate 0\.1, .* before 0\.05: a shift above .* 0\.99"),
        ({"max_shift": 0.99, "labels": ["liked"]}, None),
        ({"max_shift": 0.99, "min_rows": 2_001}, None),
        ({"min_coverage": 0.75}, None),
        ({"min_coverage": 0.76}, r"clicked: 0\.75 of its positives known after 60 s"),
        ({"min_coverage": 0.76, "min_rows": 2_001}, None),
        ({"min_coverage": 0.76, "labels": ["clicked"]}, "min_coverage = 0.76"),
    ],
)  # fmt: skip
def test_the_brake(day: Store, settings_of: dict[str, Any], reason: str | None) -> None:
    """It holds an hour that shifts by more than the bound, or of which too little was known."""
    held = brake(day.database, HealthConfig(**settings_of), "seen", 1, T0)
    if reason is None:
        assert held is None
    else:
        assert held is not None
        assert pl.Series([held]).str.contains(reason).all()


def test_the_brake_where_there_is_nothing_to_compare(day: Store) -> None:
    """No counts, no day before, and none of a label the day before: only the last one shifts."""
    health = HealthConfig(max_shift=0.5, min_coverage=0.5)
    assert brake(day.database, health, "seen", 1, T0 + timedelta(hours=5)) is None
    assert brake(day.database, health, "seen", 1, T0 - DAY) is None
    for hour, positives in ((T0 - DAY, 0), (T0, 1)):
        sums(day, hour, None, 2_000, positives, "liked")
    held = brake(day.database, HealthConfig(max_shift=2), "seen", 1, T0)
    assert "liked: rate 0.0005" in str(held)


def test_the_brake_without_early_points(config: Config, tmp_path: Path) -> None:
    """``min_coverage`` looks at early points alone: the end of the window is none."""
    with kept(tmp_path / "w.duckdb", config) as store:
        with store.commit("c") as commit:
            publish(commit, [])
        sums(store, T0, POINTS[-1], 2_000, 1)
        sums(store, T0, None, 2_000, 200)
        assert brake(store.database, HealthConfig(min_coverage=0.9), "seen", 1, T0) is None


def test_prometheus_is_told_of_the_latest_complete_hour(day: Store) -> None:
    """By rule, label and delay; a later hour that is not complete is not told of."""
    sums(day, T0 + timedelta(hours=1), None, 10, 10)
    with day.commit("c") as commit:
        commit.set_hours(TABLE, {T0: True, T0 + timedelta(hours=1): False}, archive_commit=0)
    registry = CollectorRegistry()
    registry.register(HealthMetrics(day))
    told = generate_latest(registry).decode()
    wrong = 1 / (2_000 - 199)
    for line in (
        'labeling_label_coverage{delay_s="60",label="clicked",rule="seen@1"} 0.75',
        f'fake_negative_rate{{delay_s="1800",label="clicked",rule="seen@1"}} {wrong}',
        'labeling_label_rate{label="clicked",rule="seen@1"} 0.1',
        'labeling_label_shift{label="clicked",rule="seen@1"} 1.0',
    ):
        assert line in told
    assert set(LABELS) == {"clicked", "liked"}
