"""The plain-Python model against the page, clause by clause, on streams worked out by hand.

Always holds: each test names its clause of ``docs/semantics.md``; expected values were written down
from the page before the model was run.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from labeling.model.expr import Node, anchor, column, label
from labeling.model.rule import LabelRule
from labeling.model.selector import Event
from labeling.model.vocabulary import (
    active,
    count,
    count_distinct,
    first_value,
    happened,
    last_value,
    max_of,
    min_of,
    sum_of,
    time_to,
)
from labeling.model.window import end_of_day
from tests.model.assign import Fact, points, window_end
from tests.model.oracle import final_rows, rows
from tests.model.sample_rules import POLARS, T0, TWINS
from tests.strategies import fact


def rule(labels: Mapping[str, Node] | None = None, **changed: Any) -> LabelRule:
    """A rule of impressions with a window of 10 ms."""
    fields: dict[str, Any] = {
        "name": "hand",
        "anchor": Event("impression"),
        "match": ("user_id", "item_id"),
        "window": "10ms",
        "carry": (),
        "labels": labels or {"clicks": count("click")},
    }
    return LabelRule(**(fields | changed))


def said(r: LabelRule, events: list[Fact], name: str | None = None) -> dict[str, Any]:
    """Anchor id to the value of one label at the end of the window."""
    name = name or next(iter(r.labels))
    return {row["anchor_id"]: row[name] for row in final_rows(r, events)}


def test_where_of_an_anchor_must_be_true() -> None:
    """Clause 1: a null where selects no candidate, comparing null with != is not true."""
    r = rule(anchor=Event("impression", where=column("scene") != "search"))
    events = [
        fact("impression", 0, "a", scene="feed"),
        fact("impression", 1, "b", scene="search"),
        fact("impression", 2, "c"),
        fact("click", 3, "d", scene="feed"),
    ]
    assert said(r, events) == {"a": 1}


def test_a_repeat_of_a_repeat_is_a_repeat() -> None:
    """Clause 2: each looks at the candidate just before it, inclusive; a null repeats nothing."""
    r = rule(repeat_within="3ms")
    events = [fact("impression", t, n) for t, n in ((0, "a"), (3, "b"), (6, "c"), (10, "d"))]
    events += [fact("impression", 0, n, item_id=None) for n in "ef"]
    events += [fact("impression", 0, "g", item_id="i2"), fact("impression", 0, "h", item_id="i2")]
    assert said(r, events) == {"a": 0, "d": 0, "e": 0, "f": 0, "g": 0}
    absent = [x for x in rows(r, events) if not x["present"]]
    assert [x["anchor_id"] for x in absent] == ["h", "b", "c"]
    assert {x["clicks"] for x in absent} == {None}


def test_an_anchor_with_a_null_match_column_has_a_row_without_events() -> None:
    """Clause 3: null equals nothing, null least of all."""
    events = [fact("impression", 0, "a", item_id=None), fact("click", 1, "b", item_id=None)]
    assert said(rule(), events) == {"a": 0}


def test_points_are_early_ones_below_the_end_and_the_end() -> None:
    """Clauses 4 and 5: an early point at the end is dropped; a row sees up to its point."""
    r = rule(early=("2ms", "5ms"))
    assert points(r, 100) == [102, 105, 110]
    day = rule(window=end_of_day(0), early=("2ms", "5ms"))
    assert points(day, 86_400_000 - 3) == [86_400_000 - 1]
    assert points(day, 86_400_000 - 4) == [86_400_000 - 2, 86_400_000 - 1]
    events = [fact("impression", 0), fact("click", 2, "b"), fact("click", 6, "c")]
    found = [(x["point_ts"] - T0, x["clicks"]) for x in rows(r, events)]
    assert found == [(2, 1), (5, 1), (10, 2)]


@pytest.mark.parametrize(
    ("tz", "local", "days", "end"),
    [
        ("UTC", "2026-03-01T00:00:00.000", 0, "2026-03-01T23:59:59.999"),
        ("Asia/Shanghai", "2026-03-01T15:59:59.999", 1, "2026-03-02T15:59:59.999"),
        ("Europe/Berlin", "2026-10-24T22:00:00.000", 0, "2026-10-25T22:59:59.999"),
        ("Europe/Berlin", "2026-03-28T23:00:00.000", 0, "2026-03-29T21:59:59.999"),
        # Clocks go forward at midnight: the day begins at 01:00, 04:00 UTC.
        ("America/Havana", "2026-03-07T12:00:00.000", 0, "2026-03-08T04:59:59.999"),
        # Clocks go back at 01:00 to 00:00: midnight happens twice, the first one counts.
        ("America/Havana", "2026-10-31T12:00:00.000", 0, "2026-11-01T03:59:59.999"),
    ],
)
def test_calendar_windows(tz: str, local: str, days: int, end: str) -> None:
    """The last millisecond of the local day, also where midnight is missing or comes twice."""

    def ms(text: str) -> int:
        at = datetime.fromisoformat(text).replace(tzinfo=UTC)
        return round(at.timestamp() * 1000)

    assert window_end(rule(window=end_of_day(days, tz=tz)), ms(local)) == ms(end)


def test_the_lane_decides_who_takes_an_event() -> None:
    """Clause 6: one follow goes to the item's anchor and to the author's latest."""
    r = rule(
        {
            "item": count("follow"),
            "author": count(Event("follow", match=("user_id", "author_id"))),
        }
    )
    events = [
        fact("impression", 0, "a"),
        fact("impression", 1, "b", item_id="i2"),
        fact("follow", 2, "c"),
        fact("follow", 3, "d", item_id=None),
        fact("follow", 3, "e", author_id=None),
    ]
    assert said(r, events, "item") == {"a": 2, "b": 0}
    assert said(r, events, "author") == {"a": 0, "b": 2}


def test_both_ends_of_the_window_are_inside() -> None:
    """Clause 7: at the anchor's time and at the end, not one ms later; ids do not matter."""
    events = [fact("impression", 0, "m")]
    events += [
        fact("click", t, n) for t, n in ((0, "a"), (0, "z"), (10, "b"), (11, "c"), (-1, "d"))
    ]
    assert said(rule(), events) == {"m": 3}


def test_a_candidate_goes_to_another_before_it() -> None:
    """Clause 7: an event is never its own; equal times go by id; a repeat goes to its anchor."""
    r = rule({"n": count("click")}, anchor=Event("click"), repeat_within="2ms")
    events = [fact("click", t, n) for t, n in ((5, "b"), (5, "c"), (9, "a"))]
    assert said(r, events) == {"b": 2, "a": 0}


def test_a_reference_goes_to_the_named_anchor_or_to_nothing() -> None:
    """Clause 8: by id or by the column, the latest of several, and never to a guess."""
    r = rule(reference="impression_id")
    events = [
        fact("impression", 0, "a"),
        fact("impression", 1, "b", impression_id="r"),
        fact("impression", 2, "c", impression_id="r"),
        fact("impression", 3, "d"),
        fact("click", 4, "e", impression_id="a"),
        fact("click", 4, "f", impression_id="r"),
        fact("click", 4, "g", impression_id="zz"),
        fact("click", 4, "h"),
        fact("click", 11, "i", impression_id="a"),
        fact("click", 4, "j", impression_id="a", item_id="i2"),
    ]
    assert said(r, events) == {"a": 1, "b": 0, "c": 1, "d": 1}


def test_a_reference_names_one_anchor_also_under_every() -> None:
    """Clauses 8 and 10: without a reference to all that can take it, with one to the named."""
    r = rule(reference="impression_id", assign="every")
    events = [
        fact("impression", 0, "a"),
        fact("impression", 4, "b"),
        fact("click", 5, "c"),
        fact("click", 6, "d", impression_id="a"),
        fact("click", 12, "e"),
    ]
    assert said(r, events) == {"a": 2, "b": 2}


def test_latest_takes_equal_times_by_id() -> None:
    """Clause 9: of two anchors in one ms the greater id is the latest."""
    events = [fact("impression", 0, "b"), fact("impression", 0, "a"), fact("click", 0, "0")]
    assert said(rule(), events) == {"a": 0, "b": 1}


def test_measures_over_values_and_nulls() -> None:
    """The table of measures: nulls skipped, order by (event_ts, event_id), within inclusive."""
    r = rule(
        {
            "happened": happened("click"),
            "distinct": count_distinct("click", "value"),
            "sum": sum_of("click", "value"),
            "first": first_value("click", "value"),
            "last": last_value("click", "value"),
            "least": min_of("click", "value"),
            "most": max_of("click", "scene"),
            "time": time_to(Event("click", where=column("value").is_null())),
            "near": count(Event("click", within="4ms")),
        }
    )
    events = [fact("impression", 0), fact("impression", 0, "x", item_id="i2")]
    events += [
        fact("click", 5, "e", scene="b"),
        fact("click", 4, "d", value=7),
        fact("click", 4, "c", value=9, scene="a"),
        fact("click", 3, "b"),
        fact("click", 6, "f", value=7),
        fact("click", 7, "g"),
    ]
    full, empty = final_rows(r, events)
    assert list(full.values())[5:] == [True, 2, 23, 9, 7, 7, "b", 3, 3]
    assert list(empty.values())[5:] == [False, 0, 0, None, None, None, None, None, 0]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["like"], True),
        (["like", "unlike"], False),
        (["like", "like", "unlike"], False),
        (["like", "unlike", "like"], True),
        (["unlike"], False),
        (["both"], False),
        (["like", "both", "like"], True),
        ([], False),
    ],
)
def test_active(kinds: list[str], expected: bool) -> None:  # noqa: FBT001 - a table's column
    """The last of likes and undoings decides; what is both is an undoing."""
    r = rule({"liked": active(Event("like", "both"), undone_by=Event("unlike", "both"))})
    events = [fact("impression", 0)] + [fact(k, 1, n) for k, n in zip(kinds, "bcde", strict=False)]
    assert said(r, events) == {"a": expected}


def test_expressions_with_null() -> None:
    """Comparisons with null are False, arithmetic null, division by zero null, labels refer on."""
    v, null = first_value("click", "value"), first_value("like", "value")
    r = rule(
        {
            "half": label("v") / 2,
            "v": v,
            "by_zero": v / (v - 3),
            "sum_null": v + null,
            "ne_null": null != 1,
            "not_ne": ~(null != 1),
            "in": v.is_in([3, 4]) & ~null.is_in([1]),
            "null": null.is_null() | (v < 0),
            "filled": null.fill_null(label("v")) * 2,
            "mine": anchor("position") >= 2,
            "eq_nulls": null == anchor("value"),
        }
    )
    events = [fact("impression", 0, position=2), fact("click", 1, value=3)]
    (row,) = final_rows(r, events)
    assert list(row.values())[5:] == [1.5, 3, None, None, False, True, True, True, 6, True, False]


def test_polars_parts_by_their_twins() -> None:
    """Aggregations and Polars conditions run through the plain functions that a test supplies."""
    events = [fact("impression", 0)]
    events += [
        fact("click", t, n, value=v) for t, n, v in ((5, "b", None), (6, "c", 2), (6, "d", 0))
    ]
    row = final_rows(POLARS, events, TWINS)[0]
    assert [row[n] for n in POLARS.labels] == [2, False, "b>c>d", 1]
    row = final_rows(POLARS, events[:1], TWINS)[0]
    assert [row[n] for n in POLARS.labels] == [None, False, None, 0]
