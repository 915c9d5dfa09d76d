"""The parts of ``check``: streams that hit the bounds, differences to the last bit, shrinking.

Always holds: nothing here runs a whole check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from labeling import Event, LabelRule, aggregate, column, count, happened
from labeling.engine.evaluate import evaluate
from labeling.engine.points import points
from labeling.model.event import IDENTITY
from labeling.model.kinds import Rule
from labeling.testing.check.domain import domain
from labeling.testing.check.finding import Broken, Cell, differences
from labeling.testing.check.shrink import smallest
from labeling.testing.check.streams import frames
from rules.delayed_conversion import DELAYED_CONVERSION
from rules.note_labels import NOTE_LABELS
from tests.shipped import RULES

FLOATING = LabelRule(
    name="floating",
    anchor=Event("impression"),
    match=("user_id",),
    window="1m",
    carry=(),
    columns={"price": "f64"},
    labels={"top": aggregate("click", pl.col("price").max(), pl.Float64)},
)


def together(rule: Rule, seed: int = 0, examples: int = 20) -> pl.DataFrame:
    """All streams of a seed."""
    return list(frames(rule, seed=seed, examples=examples))[-1]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: str(r.name))
def test_streams_follow_from_rule_and_seed(rule: Rule) -> None:
    """The same seed gives the same events, another others; all types of the rule are there."""
    events = together(rule)
    assert events.equals(together(rule))
    assert not events.equals(together(rule, seed=1))
    assert events.select(pl.struct(IDENTITY).is_unique().all()).item()
    assert dict(events.schema) == dict(rule.event_schema)
    assert rule.event_types <= set(events["event_type"])


@pytest.mark.parametrize("rule", RULES, ids=lambda r: str(r.name))
def test_streams_make_values_of_every_kind(rule: Rule) -> None:
    """No column of the rows is the same throughout: what never varies is never tested."""
    events = together(rule, examples=40)
    rows = evaluate(rule, events, points(rule, events)).filter("present")
    flat = [c for c in rule.value_schema if c not in rule.carry and rows[c].n_unique() < 2]
    assert not flat


def test_streams_stand_on_the_bounds() -> None:
    """Clicks fall on the last millisecond of a window and on the one after, ties occur."""
    events = together(NOTE_LABELS, examples=60)
    shown = events.filter(pl.col("event_type") == "impression")
    pairs = shown.join(events, on=["user_id", "item_id"], suffix="_after")
    after = (pairs["event_ts_after"] - pairs["event_ts"]).dt.total_milliseconds()
    assert {0, 60_000, 60_001, 1_800_000, 1_800_001} <= set(after)
    assert events["impression_id"].is_in(events["event_id"].implode()).any()


def test_calendar_windows_are_tried_at_their_end() -> None:
    """Events stand on the last millisecond of the local day and on the first of the next."""
    events = together(DELAYED_CONVERSION, examples=40)
    ends = points(DELAYED_CONVERSION, events).filter("final")["point_ts"].unique()
    ms = set(events["event_ts"].dt.epoch("ms"))
    assert {e in ms for e in ends.dt.epoch("ms")} == {True, False}
    assert any(e + 1 in ms for e in ends.dt.epoch("ms"))


def test_constants_of_conditions_are_among_the_values() -> None:
    """What a rule compares with, in our words or Polars', is drawn, and so are its neighbours."""
    rule = LabelRule(
        name="constants",
        anchor=Event("impression", where=column("scene") == "search"),
        match=("user_id",),
        window="1m",
        carry=(),
        labels={
            "big": count(Event("order", where=pl.col("value") >= 4711)),
            "ios": happened(Event("click", where=pl.col("platform").is_in(["ios", "web"]))),
        },
    )
    pools = domain(rule).pools
    assert "search" in pools["scene"]
    assert {4710, 4711, 4712} <= set(pools["value"])
    assert {"ios", "web"} <= set(pools["platform"])


def floating(price: float) -> pl.DataFrame:
    """The one row of a rule whose label is a double."""
    row = {"user_id": "u1", "anchor_ts": 0, "anchor_id": "a", "top": price}
    schema = dict(FLOATING.row_schema)
    return pl.DataFrame([row], schema={**schema, "anchor_ts": pl.Int64()}).cast(schema)  # type: ignore[arg-type]  # a schema


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (0.1 + 0.2, 0.3, False),
        (0.0, -0.0, False),
        (0.5, 0.5, True),
        (float("nan"), float("nan"), True),
    ],
)
def test_rows_differ_by_a_bit(one: float, other: float, *, equal: bool) -> None:
    """Doubles are the same when their bits are; a difference names label and values."""
    cells = differences(FLOATING, floating(one), floating(other))
    assert (not cells) is equal
    assert equal or (cells[0].column, cells[0].expected) == ("top", str(one))


def test_a_row_that_is_missing_is_a_difference() -> None:
    """On either side."""
    row = floating(1.0)
    missing = differences(FLOATING, row, row.clear())
    extra = differences(FLOATING, row.clear(), row)
    assert [(c.column, c.expected, c.got) for c in missing] == [("(row)", "a row", "no row")]
    assert [(c.column, c.expected, c.got) for c in extra] == [("(row)", "no row", "a row")]


def needs(*ids: str, tried: list[int] | None = None) -> Callable[[pl.DataFrame], Broken | None]:
    """Something that is wrong as long as these events are there."""

    def fails(events: pl.DataFrame) -> Broken | None:
        if tried is not None:
            tried.append(events.height)
        there = set(ids) <= set(events["event_id"])
        cell: Any = Cell({"user_id": "u1"}, "x", "1", "2")
        return Broken("wrong", (cell,), events) if there else None

    return fails


def many() -> pl.DataFrame:
    """Eighty events of four users."""
    numbers = range(80)
    return pl.DataFrame(
        {
            "event_id": [f"e{n}" for n in numbers],
            "user_id": [f"u{n % 4}" for n in numbers],
            "value": list(numbers),
        }
    )


def test_shrinking_leaves_what_is_needed() -> None:
    """Of eighty events the two that matter stay, also those of another user, values emptied."""
    fails = needs("e5", "e42")
    start = fails(many())
    assert start is not None
    events = smallest(fails, start, tries=200).events
    assert sorted(events["event_id"]) == ["e42", "e5"]
    assert events["value"].null_count() == 2


def test_shrinking_stops_when_its_tries_are_used_up() -> None:
    """What it has by then still fails."""
    tried: list[int] = []
    fails = needs("e5", "e42", tried=tried)
    start = fails(many())
    assert start is not None
    best = smallest(fails, start, tries=10)
    assert len(tried) == 11
    assert 2 < best.events.height < 80
    assert needs("e5", "e42")(best.events) is not None
