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

from labeling.model.event import TS
from labeling.model.rule import LabelRule
from labeling.model.window import EndOfDay, end_of_day
from tests.engine_drive import compare, differences, engine_rows, finals, last_point, worlds
from tests.model.assign import Fact, selects, window_end
from tests.model.oracle import rows
from tests.model.sample_rules import CALENDAR, NOTES, RULES, TWINS, VIEWS
from tests.strategies import THOROUGH, examples, facts, table

HALF_HOUR = 1_800_000
WORLDS = 2_000 if THOROUGH else 120
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)


@each_rule
def test_many_worlds(rule: LabelRule) -> None:
    """In one frame of many users, each user's rows are the model's for that user alone (law 3 too)."""
    by_user = worlds(Random(7), WORLDS, sorted(rule.event_types))
    got = engine_rows(rule, [e for mine in by_user.values() for e in mine])
    for user, mine in by_user.items():
        found = compare(rows(rule, mine, None, TWINS), [r for r in got if r["user_id"] == user])
        assert not found, f"{table(mine)}\n" + "\n".join(found)


@each_rule
def test_rows_at_every_point(rule: LabelRule) -> None:
    """A shrinking example for each rule: all points of all candidates, repeats as absent rows."""

    @examples(25)
    @given(facts(types=(*rule.event_types, "other")))
    def equal(events: list[Fact]) -> None:
        note(table(events))
        assert differences(rule, events, TWINS) == []

    equal()


DENSE_VIEWS = ("impression", *["view_start", "view_end", "view_heartbeat"] * 2, "click", "like")


@given(facts(24, types=DENSE_VIEWS))
@examples(40)
def test_dwell_in_dense_views(events: list[Fact]) -> None:
    """Views upon views: ties of starts and ends, wrong ids, heartbeats after the close."""
    note(table(events))
    assert differences(VIEWS, events, TWINS) + differences(NOTES, events, TWINS) == []


@given(st.integers(0, 10**9))
@examples(20)
def test_calendar_days_of_25_hours(seed: int) -> None:
    """On a scale of half hours, over the night in which Berlin puts its clocks back."""
    types = sorted(CALENDAR.event_types)
    for days in (0, 1):
        rule = replace(CALENDAR, window=end_of_day(days, tz="Europe/Berlin"), early=("3h", "24h"))
        by_user = worlds(Random(seed), 5, types, unit_ms=HALF_HOUR)
        for mine in by_user.values():
            assert differences(rule, mine, TWINS) == []


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
    """The window's end is that of a minute-by-minute search, where clocks change, and never before."""
    middle = datetime.fromisoformat(near).replace(tzinfo=ZoneInfo("UTC"))
    rng = Random(near)
    moments = [
        middle + timedelta(minutes=m, milliseconds=rng.randrange(60_000))
        for m in range(-2000, 2000, 7)
    ]
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
        parts = []
        for bucket in range(3):
            mine = [e for n, u in enumerate(by_user) if n % 3 == bucket for e in by_user[u]]
            for first, last in ((times[0], middle), (middle, times[-1] + 1)):
                reach = [
                    e for e in mine if first - rule.reach_ms <= e["event_ts"] < last + rule.reach_ms
                ]
                parts += engine_rows(
                    rule, reach, lambda e, _, a=first, b=last: a <= e["event_ts"] < b
                )

        def order(row: dict[str, object]) -> tuple[str, ...]:
            return tuple(str(row[k]) for k in ("point_ts", "anchor_ts", "anchor_id", "user_id"))

        assert sorted(parts, key=order) == whole


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
