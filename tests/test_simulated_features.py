"""The log of features that is simulated: what it holds, what goes missing, what arrives late.

Always holds: logs are small and seeded; each test writes into a folder of its own.

Not promised: anything about what the features are good for; the trainer's example tells.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from labeling.errors import ConfigError
from labeling.testing.simulator import (
    FEATURE_SCHEMA,
    FeatureLog,
    World,
    click_log_odds,
    features_path,
    traffic,
    write_log,
)
from tests.simulated import START, WORLD, near, of
from tests.test_simulate import run

_SPAN: Final[dict[str, Any]] = {"events": 20_000, "hours": 2.0, "seed": 1, "start": START}


def written(
    folder: Path, kind: FeatureLog | None = None, form: str = "parquet"
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events and the features of a small log, in the order of arrival."""
    log = folder / f"log.{form}"
    rows = write_log(WORLD, log, **_SPAN, form=form, features=kind or True)
    read = pl.read_parquet if form == "parquet" else pl.read_ndjson
    events, features = read(log), read(features_path(log))
    assert (events.height, features.height) == (rows.rows, rows.features)
    return events, features


def requests(frame: pl.DataFrame) -> set[str]:
    """The requests of a frame."""
    return set(frame["request_id"].drop_nulls())


def test_the_plain_log_is_the_traffic_s(tmp_path: Path) -> None:
    """Without options the file holds what the traffic gives; asking for it changes no event."""
    events, features = written(tmp_path)
    chunks = list(traffic(WORLD, **_SPAN, features=True))
    assert features.equals(pl.concat([c.features for c in chunks if c.features is not None]))
    assert events.equals(pl.concat([c.events for c in chunks]))


def test_the_same_seed_gives_the_same_features(tmp_path: Path) -> None:
    """Everything that happens to features is drawn from the seed, and events are as they were."""
    kind = FeatureLog(record_bytes=400, missing=0.1, unshown=0.1, duplicates=0.1, late=0.1)
    for name in ("one", "two", "plain"):
        (tmp_path / name).mkdir()
    one, two = written(tmp_path / "one", kind), written(tmp_path / "two", kind)
    assert one[1].equals(two[1])
    assert one[0].equals(written(tmp_path / "plain")[0])


@pytest.mark.parametrize("size", [300, 1_000, 5_000])
def test_records_have_the_size_asked_for(tmp_path: Path, size: int) -> None:
    """A line of JSON is as long as asked for within three percent, in the declared columns."""
    kind = FeatureLog(record_bytes=size)
    _, features = written(tmp_path, kind, "jsonl")
    lines = features_path(tmp_path / "log.jsonl").read_bytes().splitlines()
    assert abs(sum(map(len, lines)) / len(lines) / size - 1) < 0.03
    assert set(features.columns) == set(kind.schema)
    assert kind.floats == {300: 4, 1_000: 31, 5_000: 64}[size]
    # An item's embedding is its own, wherever it is shown; the numbers are each record's.
    of_item = features.group_by("item_id").agg(pl.col("embedding").n_unique())
    assert (of_item["embedding"] == 1).all()
    assert features["embedding"].n_unique() == of_item.height
    assert features.select("f00", "f01", "f02").unique().height == features.height


def test_what_is_served_and_what_is_shown(tmp_path: Path) -> None:
    """Of some requests nothing was logged, others were never shown; lists are whole."""
    events, features = written(tmp_path, FeatureLog(missing=0.1, unshown=0.2))
    shown, logged = requests(of(events, "impression")), requests(features)
    unseen = {name for name in logged if name.startswith("x")}
    assert near(len(shown - logged) / len(shown), 0.1, len(shown))
    assert near(len(unseen) / len(shown), 0.2, len(shown))
    assert logged - unseen < shown
    assert (features["request_id"].value_counts()["count"] == WORLD.served).all()
    assert features["served_ts"].is_sorted()


def test_what_is_late_and_what_comes_twice(tmp_path: Path) -> None:
    """A late record arrives after younger ones, by no more than was said; repeats are equal."""
    kind = FeatureLog(duplicates=0.05, late=0.1, late_by_ms=600_000)
    _, features = written(tmp_path, kind)
    behind = features["served_ts"].cum_max() - features["served_ts"]
    assert 0 < behind.dt.total_milliseconds().to_numpy().max() <= 600_000
    late = int((behind.dt.total_milliseconds() > 0).sum())
    assert near(late / features.height, 0.1, features.height)
    known = features.unique()
    assert near((features.height - known.height) / known.height, 0.05, known.height)
    _, plain = written(tmp_path)
    assert known.sort(known.columns).equals(plain.sort(plain.columns))


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_record_of_a_whole_request(tmp_path: Path, form: str) -> None:
    """Items of a request in a list, in their order, hold what a record of each holds."""
    kind = FeatureLog(record_bytes=300, unshown=0.1, by_request=True)
    _, lists = written(tmp_path, kind, form)
    assert set(lists.columns) == {"request_id", "served_ts", "items"}
    items = lists.explode("items").unnest("items").select(list(kind.schema))
    _, rows = written(tmp_path, FeatureLog(record_bytes=300, unshown=0.1), form)
    assert items.equals(rows.select(list(kind.schema)))


def test_clicks_follow_the_features() -> None:
    """The log-odds are those that clicks were drawn with: bin by bin, as many as they say."""
    world = replace(WORLD, references=1.0)
    chunks = list(traffic(world, **_SPAN, features=True))
    events = pl.concat([c.events for c in chunks])
    features = pl.concat([c.features for c in chunks if c.features is not None])
    clicked = of(events, "click")["impression_id"].to_list()
    told = (
        of(events, "impression")
        .join(features, on=["request_id", "item_id"])
        .select(
            p=1 / (1 + (-click_log_odds(world)).exp()), hit=pl.col("impression_id").is_in(clicked)
        )
        .sort("p")
        .with_columns(fifth=pl.int_range(pl.len()) * 5 // pl.len())
    )  # fmt: skip
    fifths = told.group_by("fifth").agg(pl.col("p", "hit").mean(), n=pl.len()).sort("fifth")
    assert fifths["p"].item(-1) > 3 * fifths["p"].item(0)
    assert all(near(hit, p, n) for _, p, hit, n in fifths.iter_rows())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"record_bytes": 100}, "at least 300"),
        ({"late": 1.5}, "late"),
        ({"missing": -1}, "missing"),
    ],
)
def test_what_cannot_be_made_is_refused(wrong: dict[str, Any], says: str) -> None:
    """A size without room for padding, and shares that are none."""
    with pytest.raises(ValueError, match=says):
        FeatureLog(**wrong)


def test_the_command_takes_the_options(tmp_path: Path) -> None:
    """Each option reaches the file; without ``--features`` they are refused, nothing is made."""
    out = tmp_path / "log.jsonl"
    usual = ("--events", "3000", "--out", str(out))
    with pytest.raises(ConfigError, match="--features"):
        run(*usual, "--feature-bytes", "1000")
    with pytest.raises(ConfigError, match="at least 300"):
        run(*usual, "--features", "--feature-bytes", "10")
    assert not list(tmp_path.iterdir())
    line = run(
        *usual, "--features", "--feature-bytes", "600", "--features-missing", "0.2",
        "--features-unshown", "0.2", "--features-twice", "0.2", "--features-late", "0.2",
        "--late-by", "5m", "--by-request",
    )  # fmt: skip
    found = pl.read_ndjson(features_path(out))
    assert f"{found.height:,} features" in line
    assert not found["served_ts"].is_sorted()
    assert found.is_duplicated().any()
    assert any(name.startswith("x") for name in found["request_id"])
    items = found.explode("items").unnest("items")
    assert {"f00", "embedding", *FEATURE_SCHEMA} <= set(items.columns)


def test_a_world_can_turn() -> None:
    """Log-odds are the world's: one coefficient more on affinity is one more for each of it."""
    row = {"position": [3], "scene": ["search"], "is_ad": [True], "item_quality": [0.5]}
    frame = pl.DataFrame({**row, "affinity": [2.0]})
    usual, keen = (frame.select(click_log_odds(World(click_affinity=a))).item() for a in (0.5, 1.5))
    assert usual == pytest.approx(-2.2 - 0.3 + 0.35 + 1.0 + 0.4 - 0.6)
    assert keen == pytest.approx(usual + 2.0)
