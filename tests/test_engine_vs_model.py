"""``evaluate`` against the slow twin: the same rows on dense random streams, cell by cell.

Always holds: values and their Python types are equal, and so is the order of rows.

Not promised: small counter-examples from the many seeded worlds; those of hypothesis are small.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

import rules as shipped
from labeling.model.event import TS
from labeling.model.rule import LabelRule
from labeling.model.window import EndOfDay, end_of_day
from tests.engine_drive import (
    Asked,
    compare,
    differences,
    engine_rows,
    extended,
    finals,
    in_order,
    last_point,
    worlds,
)
from tests.model.assign import Fact, Twins, selects, window_end
from tests.model.oracle import Row, rows
from tests.model.sample_rules import CALENDAR, DECLARED, DOUBLE, NOTES, RULES, TWINS, VIEWS
from tests.strategies import THOROUGH, examples, fact, facts, table
from tests.test_golden_model import TWINS as SHIPPED_TWINS

HALF_HOUR = 1_800_000
WORLDS = 2_000 if THOROUGH else 120
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)


@each_rule
def test_many_worlds(rule: LabelRule) -> None:
    """Many users in one frame: each one's rows are the model's for that user alone."""
    assert_worlds_agree(rule, worlds(Random(7), WORLDS, sorted(rule.event_types)))


def assert_worlds_agree(
    rule: LabelRule, by_user: dict[str, list[Fact]], twins: Twins = TWINS
) -> None:
    """All users in one frame against each by itself."""
    got: dict[str, list[Row]] = {}
    for r in engine_rows(rule, [e for mine in by_user.values() for e in mine]):
        got.setdefault(r["user_id"], []).append(r)
    for user, mine in by_user.items():
        found = compare(rows(rule, mine, None, twins), got.get(user, []))
        assert not found, f"{table(mine)}\n" + "\n".join(found)


def test_declared_columns_and_booleans_that_may_be_null() -> None:
    """Conditions see only true and false: a null is not true, and its negation is."""
    by_user = worlds(Random(13), WORLDS, ["impression", "click"])
    full = {user: [extended(DECLARED, e) for e in mine] for user, mine in by_user.items()}
    assert_worlds_agree(DECLARED, full)


SHIPPED = [r for r in shipped.RULES if isinstance(r, LabelRule)]


@pytest.mark.parametrize("unit_ms", [1_000, 90_000, 5_400_000])
@pytest.mark.parametrize("rule", SHIPPED, ids=lambda r: r.name)
def test_shipped_rules(rule: LabelRule, unit_ms: int) -> None:
    """The shipped rules, on scales of their repeats, their windows and a calendar day."""
    by_user = worlds(Random(5), WORLDS, sorted(rule.event_types), unit_ms=unit_ms)
    full = {user: [extended(rule, e) for e in mine] for user, mine in by_user.items()}
    assert_worlds_agree(rule, full, SHIPPED_TWINS)


@each_rule
def test_rows_at_every_point(rule: LabelRule) -> None:
    """A shrinking example for each rule: all points of all candidates, repeats as absent rows."""

    @examples(20)
    @given(facts(types=(*rule.event_types, "other")), st.integers(0, 3), st.integers(0, 3))
    def equal(events: list[Fact], modulus: int, rest: int) -> None:
        note(table(events))
        # All points, or a few: the answer to one question does not depend on the others.
        asked = None if modulus == 0 else lambda _, p: p % (2 * modulus) == rest
        assert differences(rule, events, TWINS, asked) == []

    equal()


DENSE_VIEWS = ("impression", *["view_start", "view_end", "view_heartbeat"] * 2, "click", "like")


@pytest.mark.parametrize("rule", [NOTES, VIEWS], ids=lambda r: r.name)
def test_dwell_in_dense_views(rule: LabelRule) -> None:
    """Views upon views: ties of starts and ends, wrong ids, heartbeats after the close."""
    assert_worlds_agree(rule, worlds(Random(3), WORLDS, DENSE_VIEWS))


@pytest.mark.parametrize("days", [0, 1])
def test_calendar_days_of_25_hours(days: int) -> None:
    """On a scale of half hours, over the night in which Berlin puts its clocks back."""
    window = end_of_day(days, tz="Europe/Berlin")
    rule = replace(CALENDAR, window=window, early=("3h", "23h30m"))
    types = sorted(rule.event_types)
    assert_worlds_agree(rule, worlds(Random(9), WORLDS, types, unit_ms=HALF_HOUR))


@pytest.mark.parametrize(
    ("tz", "near"),
    [
        ("UTC", "2026-03-01"),
        ("Asia/Shanghai", "2026-03-01"),
        ("Europe/Berlin", "2026-03-29"),
        ("Europe/Berlin", "2026-10-25"),
        ("America/Havana", "2026-03-08"),
        ("America/Havana", "2026-11-01"),
        ("Australia/Lord_Howe", "2026-04-05"),
        ("Antarctica/Casey", "2016-10-22"),
        ("America/St_Johns", "2006-10-29"),
        ("Pacific/Apia", "2011-12-30"),
    ],
)
def test_ends_of_days(tz: str, near: str) -> None:
    """Where clocks change: the end that a search by minutes finds, and none before the anchor."""
    middle = datetime.fromisoformat(near).replace(tzinfo=ZoneInfo("UTC"))
    rng = Random(near)
    minutes = sorted(rng.sample(range(-2000, 2000), 80))
    moments = [middle + timedelta(minutes=m, milliseconds=rng.randrange(60_000)) for m in minutes]
    given_ts = [round(m.timestamp() * 1000) for m in moments]
    for days in (0, 1):
        window: EndOfDay = end_of_day(days, tz=tz)
        ends = pl.DataFrame({"ts": given_ts}).select(
            window.end(pl.col("ts").cast(TS)).cast(pl.Int64)
        )
        rule = replace(CALENDAR, window=window)
        assert ends["ts"].to_list() == [window_end(rule, ts) for ts in given_ts]
        assert all(end >= ts for ts, end in zip(given_ts, ends["ts"], strict=True))


def test_blocks_of_users_and_hours_are_the_whole() -> None:
    """Replay purity: asked in buckets of users and ranges of anchor time, the rows are the same."""
    by_user = worlds(Random(11), 20, sorted(NOTES.event_types))
    events = [e for mine in by_user.values() for e in mine]
    times = sorted({e["event_ts"] for e in events})
    middle = times[len(times) // 2]
    for rule in RULES:
        whole = engine_rows(rule, events)
        parts: list[Row] = []
        for bucket in range(3):
            mine = [e for n, u in enumerate(by_user) if n % 3 == bucket for e in by_user[u]]
            for first, last in ((times[0], middle), (middle, times[-1] + 1)):
                reach = [
                    e for e in mine if first - rule.reach_ms <= e["event_ts"] < last + rule.reach_ms
                ]
                parts += engine_rows(rule, reach, between(first, last))

        assert sorted(parts, key=in_order) == whole


def between(first: int, last: int) -> Asked:
    """Ask for anchors in ``[first, last)``."""
    return lambda e, _: first <= e["event_ts"] < last


def test_repeats_alone_can_be_asked_for() -> None:
    """A question about repeats only is answered with absent rows."""
    clicks = [fact("click", 0), fact("click", 1, "b"), fact("like", 2, "c")]
    got = engine_rows(DOUBLE, clicks, lambda e, _: e["event_id"] == "b")
    assert [(r["anchor_id"], r["present"], r["again"]) for r in got] == [("b", False, None)] * 2


def test_nothing_gives_nothing() -> None:
    """No events and nothing asked give no rows, of the same columns."""
    for rule in RULES:
        assert engine_rows(rule, []) == []
    assert engine_rows(NOTES, worlds(Random(1), 1, ["impression"])["0.u1"], lambda *_: False) == []


def test_the_last_point_is_the_window_end() -> None:
    """``final`` of ``points`` marks exactly the model's last point."""
    by_user = worlds(Random(5), 10, sorted(CALENDAR.event_types))
    for rule in RULES:
        for mine in by_user.values():
            assert finals(rule, mine) == sorted(
                last_point(rule, e) for e in mine if selects(rule.anchor, e, TWINS)
            )
