"""The simulator's laws: the same rows every time, references that hold, rates that are documented.

Always holds: streams here are small and seeded; one of 60,000 events is shared by the tests that
only read it.

Not promised: that the simulator is fast. The benchmarks measure that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from labeling.model.event import Contract, event_schema
from labeling.testing.simulator import EXTRA_COLUMNS, FEATURE_SCHEMA, World, simulate, traffic
from tests.simulated import LONG, START, WORLD, log, near, of


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    """A log of several chunks, for tests that only read it."""
    return log(**LONG)


def test_the_same_seed_gives_the_same_rows() -> None:
    """Rows depend on the seed: equal for equal, different for another."""
    assert log(events=12_000).equals(log(events=12_000))
    assert not log(events=12_000).equals(log(events=12_000, seed=2))


def test_the_start_moves_the_times_alone() -> None:
    """A log that starts a day later is the same log moved: the daily curve is daily."""
    later = log(events=12_000, start=START + timedelta(days=1))
    moved = log(events=12_000).with_columns(pl.col("event_ts") + pl.duration(days=1))
    assert later.equals(moved)


def test_threads_do_not_matter() -> None:
    """One Polars thread makes the rows that several make."""
    script = (
        "import hashlib, polars as pl; from datetime import UTC, datetime\n"
        "from labeling.testing.simulator import World, simulate\n"
        "start = datetime(2026, 11, 20, 6, tzinfo=UTC)\n"
        "made = simulate(World(), events=12_000, hours=2, seed=1, start=start)\n"
        "text = ''.join(f.write_ndjson() for f in made)\n"
        "print(pl.thread_pool_size(), hashlib.sha256(text.encode()).hexdigest())\n"
    )
    root = str(Path(__file__).resolve().parent.parent)
    found = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"POLARS_MAX_THREADS": n, "PYTHONPATH": root},
            capture_output=True, text=True, check=True,
        ).stdout.split()
        for n in ("1", "3")
    ]  # fmt: skip
    assert [size for size, _ in found] == ["1", "3"]
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize(
    ("count", "hours"), [(1, 1.0), (99, 0.01), (7_000, 300.0), (30_000, 3.0), (260_000, 0.05)]
)
def test_exactly_so_many_events_in_order_within_the_span(count: int, hours: float) -> None:
    """N is exact from one event to several chunks, from seconds to days; ids are unique."""
    made = log(events=count, hours=hours)
    assert made.height == count
    assert made["event_id"].n_unique() == count
    key = made.select("event_ts", "event_id")
    assert key.equals(key.sort("event_ts", "event_id"))
    end = START + timedelta(hours=hours)
    assert made.filter(pl.col("event_ts").is_between(START, end, closed="left")).height == count


def test_chunks_come_in_order_and_are_bounded() -> None:
    """A log is yielded in pieces, none of which holds much more than its share."""
    heights = [f.height for f in simulate(WORLD, **LONG)]
    assert len(heights) == 12
    assert max(heights) < 2 * 60_000 / 12


def test_the_contract_holds(events: pl.DataFrame) -> None:
    """Columns and types are the contract's with the declared extras, and rows pass its model."""
    assert dict(events.schema) == event_schema(EXTRA_COLUMNS)
    rows = events.sample(500, seed=1).drop(*EXTRA_COLUMNS)
    assert all(Contract.model_validate(row) for row in rows.iter_rows(named=True))


@pytest.mark.parametrize(
    ("column", "target", "same"),
    [
        ("impression_id", "impression", ("user_id", "author_id", "session_id")),
        ("view_id", "view_start", ("user_id", "item_id", "page_id", "session_id")),
        ("order_id", "order", ("user_id", "item_id")),
    ],
)
def test_references_hold(
    events: pl.DataFrame, column: str, target: str, same: tuple[str, ...]
) -> None:
    """What an event refers to exists, once, at or before it, and agrees with it on the rest."""
    targets = of(events, target).filter(pl.col(column).is_not_null())
    assert targets[column].n_unique() == targets.height > 0
    users = events.filter(pl.col(column).is_not_null(), pl.col("event_type") != target)
    both = users.join(targets, on=column, how="left", suffix="_of")
    assert users.height > 0
    assert both["event_ts_of"].null_count() == 0
    assert both.filter(pl.col("event_ts") < pl.col("event_ts_of")).is_empty()
    for name in same:
        assert both.filter(pl.col(name) != pl.col(f"{name}_of")).is_empty()


def test_lists_are_of_distinct_items_in_slots(events: pl.DataFrame) -> None:
    """A request shows 6 to 10 items, each once, in slots from 0 on, in the order of time."""
    lists = of(events, "impression").group_by("request_id", maintain_order=True)
    made = lists.agg("position", size=pl.len(), items=pl.col("item_id").n_unique())
    assert (made["size"] == made["items"]).all()
    assert all(row == list(range(len(row))) for row in made["position"].to_list())
    sizes = made["size"].value_counts().sort("size")
    assert set(range(WORLD.shown, WORLD.served + 1)) <= set(sizes["size"].to_list())
    assert made["size"].max() == WORLD.served


def test_pages_lead_to_each_other(events: pl.DataFrame) -> None:
    """A page named as the one before is a page that the same user was on; profiles follow views."""
    pages = events.select("page_id", "user_id").unique()
    led = events.filter(pl.col("referrer_page_id").is_not_null())
    known = led.join(
        pages, left_on=["referrer_page_id", "user_id"], right_on=["page_id", "user_id"], how="semi"
    )
    assert known.height == led.height > 0
    profiles = of(events, "impression").filter(scene="profile")
    views = of(events, "view_start").select(referrer_page_id="page_id", author="author_id")
    reached = profiles.join(views, on="referrer_page_id")
    assert reached.height == profiles.height > 0
    assert (reached["author_id"] == reached["author"]).all()


def test_an_item_has_one_author_and_one_duration(events: pl.DataFrame) -> None:
    """The author and the duration are functions of the item, also in another traffic."""
    both = pl.concat([events, log(events=12_000, seed=9)]).filter(pl.col("item_id").is_not_null())
    by_item = both.group_by("item_id").agg(
        pl.col("author_id").n_unique(), pl.col("item_duration_ms").drop_nulls().n_unique()
    )
    assert by_item["author_id"].max() == 1
    assert by_item["item_duration_ms"].max() == 1


def test_the_mix_is_typical(events: pl.DataFrame) -> None:
    """Every type occurs; 55 to 65 % are impressions; few items take many of them."""
    share = events["event_type"].value_counts(normalize=True)
    mix = dict(share.iter_rows())
    assert 0.55 < mix["impression"] < 0.65
    assert len(mix) == 16
    shown = of(events, "impression")["item_id"].value_counts(sort=True)["count"]
    assert int(shown.head(40).sum()) > 0.1 * int(shown.sum())


def test_rates_are_the_constants(events: pl.DataFrame) -> None:
    """Shares that a constant of the world states are found in the log."""
    count = dict(events["event_type"].value_counts().iter_rows())
    views = count["view_start"]
    for kind in ("like", "favorite", "comment", "share"):
        assert near(count[kind] / views, getattr(WORLD, kind), views)
    assert near(count["hide"] / count["impression"], WORLD.hide, count["impression"])
    assert near(count["view_end"] / views, WORLD.with_view_end, views)
    named = of(events, "view_start")
    assert near(1 - named["view_id"].null_count() / views, WORLD.with_view_id, views)
    assert near(1 - named["impression_id"].null_count() / views, WORLD.references, views)
    feed = of(events, "impression").filter(pl.col("scene") != "profile")["is_ad"]
    assert near(int(feed.sum()) / len(feed), WORLD.ad_share, len(feed))
    visits = of(events, "impression").filter(scene="profile", position=0).height
    assert near(visits / of(named, "view_start").filter(pl.col("scene") != "profile").height,
                WORLD.visit, views)  # fmt: skip


def test_a_field_of_the_world_is_obeyed() -> None:
    """A rate set to one or to zero makes the thing always or never happen."""
    never = replace(WORLD, references=0.0, like=0.0, with_view_end=1.0, order=0.0)
    made = log(never, events=12_000)
    assert of(made, "click")["impression_id"].null_count() == of(made, "click").height
    assert made.filter(pl.col("event_type").is_in(["like", "unlike", "order", "refund"])).is_empty()
    always = log(replace(WORLD, references=1.0), events=12_000)
    assert of(always, "click")["impression_id"].null_count() == 0


def test_a_trainer_finds_the_coefficients_again() -> None:
    """Logistic regression of clicks on features and slots gives the documented coefficients."""
    world = replace(WORLD, references=1.0, ad_share=0.0)
    chunks = list(traffic(world, events=250_000, hours=3, seed=2, start=START, features=True))
    made = pl.concat([c.events for c in chunks])
    features = pl.concat([c.features for c in chunks if c.features is not None])
    clicked = of(made, "click").select("impression_id", clicked=1).unique()
    rows = (
        of(made, "impression").filter(scene="discovery")
        .join(features, on=["request_id", "item_id"])
        .join(clicked, on="impression_id", how="left")
    )  # fmt: skip
    x = rows.select(pl.lit(1.0), "position", "item_quality", "affinity").to_numpy()
    y = rows["clicked"].fill_null(0).to_numpy()
    weights = np.zeros(4)
    for _ in range(8):
        p = 1 / (1 + np.exp(-x @ weights))
        weights += np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x, x.T @ (y - p))
    truth = [world.click_bias, world.click_position, world.click_quality, world.click_affinity]
    assert np.abs(weights - truth).max() < 0.06


def test_features_are_what_was_served() -> None:
    """One record per (request, item), the whole list, at or before its first impression."""
    chunks = list(traffic(WORLD, **LONG, features=True))
    features = pl.concat([c.features for c in chunks if c.features is not None])
    assert dict(features.schema) == dict(FEATURE_SCHEMA)
    assert features["served_ts"].is_sorted()
    assert features.select("request_id", "item_id").is_unique().all()
    assert (features["request_id"].value_counts()["count"] == WORLD.served).all()
    shown = of(pl.concat([c.events for c in chunks]), "impression")
    both = shown.join(features, on=["request_id", "item_id"])
    assert both.height == shown.height
    assert set(features["request_id"]) == set(shown["request_id"])
    assert both.filter(pl.col("served_ts") > pl.col("event_ts")).is_empty()
    assert both.filter(pl.col("slot") != pl.col("position")).is_empty()
    assert (both["item_duration_ms"] == both["item_duration_ms_right"]).all()


def test_asking_for_features_changes_no_event() -> None:
    """Events are the same with and without features."""
    given: dict[str, Any] = {"events": 12_000, "hours": 2.0, "seed": 1, "start": START}
    with_features = [c.events for c in traffic(WORLD, **given, features=True)]
    assert pl.concat(with_features).equals(log(events=12_000))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"events": 0}, "above zero"),
        ({"hours": 0.0}, "above zero"),
        ({"start": START.replace(tzinfo=None)}, "timezone"),
        ({"events": 10**10}, "use parts"),
    ],
)
def test_simulate_refuses(wrong: dict[str, Any], says: str) -> None:
    """No events, no time, no timezone, more than ids can number: each is named."""
    sane: dict[str, Any] = {"events": 10, "hours": 1.0, "seed": 1, "start": START}
    with pytest.raises(ValueError, match=says):
        next(simulate(WORLD, **(sane | wrong)))


@pytest.mark.parametrize("wrong", [{"users": 0}, {"items": 5}, {"shown": 11}, {"zipf": 1.0}])
def test_a_world_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """Sizes that cannot fill a list, and a popularity that cannot be drawn."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        World(**wrong)
