"""Declarations of samples and rollups, and the sums that rollups are kept by.

Always holds: what cannot mean anything is refused with the name of the rule and the fix; a
definition has one digest; sums that were added to are those of all differences.

Not promised: what samples and rollups come to; see test_samples and test_rollups.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labeling import (
    Event,
    Features,
    LabelRule,
    Rollup,
    SampleRule,
    end_of_day,
    happened,
    rows,
    total,
)
from labeling.errors import RuleError
from labeling.io.store.database import Database
from labeling.io.store.sums import add_sums
from rules.order_attribution import ORDER_ATTRIBUTION

LABELS = LabelRule(
    name="notes",
    anchor=Event("impression"),
    match=("user_id", "item_id"),
    window="30m",
    early=("1m", "5m"),
    labels={"clicked": happened("click")},
)


def without(**more: Any) -> LabelRule:
    """The label rule otherwise."""
    given_ = {"early": LABELS.early, "labels": LABELS.labels, "window": "30m", **more}
    return LabelRule(name="notes", anchor=LABELS.anchor, match=LABELS.match, **given_)


def sample(**more: Any) -> SampleRule:
    """A sample rule, otherwise where named."""
    named = {"labels": LABELS, "label": "clicked", "features": Features("ranker"), **more}
    return SampleRule(name="samples", **named)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"label": "dwell"}, "'dwell' is no Boolean label of notes; name one of clicked"),
        ({"label": "item_id"}, "no Boolean"),
        ({"labels": without(carry=("item_id",))}, "'request_id', which notes does not carry"),
        ({"negatives": 0.0}, "above 0"),
        ({"negatives": 1e-10}, "above 0"),
        ({"negatives": 1.0000000001}, "up to 1"),
        ({"labels": without(labels={**LABELS.labels, "kept": happened("like")})}, "kept is a col"),
        ({"weight": pl.col("nothing") * 2}, "weight reads nothing"),
    ],
)
def test_a_sample_rule_that_means_nothing(more: dict[str, Any], said: str) -> None:
    """It is refused with its name."""
    with pytest.raises(RuleError, match=f"sample rule 'samples': .*{said}"):
        sample(**more)


def test_a_sample_follows_its_labels() -> None:
    """Another label rule, part, label or source is another definition; names and versions not."""
    base = sample().digest
    assert SampleRule(
        name="other", version=2, labels=LABELS, label="clicked", features=Features("ranker")
    ).digest == base  # fmt: skip
    others = [
        sample(labels=without(window="20m")),
        sample(negatives=0.5),
        sample(features=Features("other")),
        sample(features=Features("ranker", within="2h")),
        sample(weight=pl.lit(2)),
    ]
    assert len({base, *(s.digest for s in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("more", "first_ms"),
    [
        ({}, 60_000),
        ({"early": ()}, 1_800_000),
        ({"early": (), "window": end_of_day(0, tz="UTC")}, 0),
    ],
)
def test_features_may_come_until_the_first_point(more: dict[str, Any], first_ms: int) -> None:
    """The first early delay, else the window; a calendar window may have no length."""
    assert sample(labels=without(**more)).served_after_ms == first_ms


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"by": ("nowhere",)}, "by 'nowhere': not there"),
        ({"by": ("anchor_ts",)}, "by 'anchor_ts'"),
        ({"sums": {}}, "nothing is summed"),
        ({"sums": {"a": total("nothing")}}, "sum 'a' reads nothing"),
        ({"sums": {"a": rows(pl.col("nothing"))}}, "sum 'a' reads nothing"),
        ({"sums": {"a": total("scene")}}, "only whole numbers"),
        ({"sums": {"scene": rows()}}, "scene is a column already"),
        ({"sums": {"hour": rows()}}, "hour is a column already"),
    ],
)
def test_a_rollup_that_means_nothing(more: dict[str, Any], said: str) -> None:
    """It is refused with its name."""
    named = {"of": LABELS, "by": ("scene",), "sums": {"shown": rows()}, **more}
    with pytest.raises(RuleError, match=f"rollup 'hourly': .*{said}"):
        Rollup(name="hourly", **named)


def test_what_a_row_adds() -> None:
    """A flag counts, a number adds, null adds nothing; ``where`` leaves rows out."""
    frame = pl.DataFrame({"clicked": [True, False, None], "position": [3, None, 5]})
    told = {
        "rows": rows(),
        "clicks": total("clicked"),
        "places": total("position"),
        "clicked_places": total("position", pl.col("clicked")),
    }
    found = frame.select(t.value().alias(name) for name, t in told.items()).sum()
    assert found.row(0) == (3, 1, 8, 3)
    assert set(found.dtypes) == {pl.Int64()}


def test_a_rollup_of_attributions_and_of_samples() -> None:
    """Columns of touches, and of samples, are columns like any other."""
    orders = Rollup(
        name="orders", of=ORDER_ATTRIBUTION, by=("touch_type",), sums={"shares": rows()}
    )
    kept = Rollup(name="kept", of=sample(), by=("status",), sums={"weight": total("weight")})
    assert list(orders.group_schema) == ["hour", "touch_type"]
    assert kept.of_table.name == "samples"


_STEP = st.lists(
    st.tuples(st.sampled_from([None, "", "a"]), st.integers(-2, 2), st.integers(-(2**40), 2**40)),
    max_size=4,
)


@settings(deadline=None, max_examples=40)
@given(steps=st.lists(_STEP, max_size=6))
@example(steps=[[("a", -1, 0)], [("a", 1, 0)], [(None, 1, 1)], [(None, -1, -1), ("a", 0, 2)]])
def test_sums_are_those_of_all_differences(tmp_path_factory: Any, steps: list[Any]) -> None:
    """Whatever is added in whatever portions; a null group is one; groups of zeros are gone."""
    expected: dict[str | None, tuple[int, int]] = {}
    with Database(tmp_path_factory.mktemp("sums") / "s.duckdb", read_only=False) as db:
        db.run("CREATE TABLE sums (name VARCHAR, rows BIGINT, money BIGINT)")
        for step in steps:
            for name, count, money in step:
                one, other = expected.get(name, (0, 0))
                expected[name] = (one + count, other + money)
            frame = pl.DataFrame(
                step, schema={"name": pl.String, "rows": pl.Int64, "money": pl.Int64}, orient="row"
            )
            add_sums(db, "sums", frame, ["name"])
            found = {name: (n, money) for name, n, money in db.frame("FROM sums").iter_rows()}
            assert found == {name: sums for name, sums in expected.items() if any(sums)}


def test_only_whole_numbers_are_summed(tmp_path: Path) -> None:
    """A float is refused: its sum would depend on the order."""
    with Database(tmp_path / "s.duckdb", read_only=False) as db:
        db.run("CREATE TABLE sums (name VARCHAR, part DOUBLE)")
        with pytest.raises(ValueError, match="'part' of sums is Float64"):
            add_sums(db, "sums", pl.DataFrame({"name": ["a"], "part": [0.5]}), ["name"])
    assert duckdb.connect(str(tmp_path / "s.duckdb")).sql("FROM sums").fetchall() == []
