"""Which local hours UTC hours cover, by hand and for any set of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.products.offline.hours import covered

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("zone", "first", "hours", "expected"),
    [
        ("UTC", "2026-11-20T10", 2, ["11-20T10 10:00-11:00", "11-20T11 11:00-12:00"]),
        ("Asia/Kolkata", "2026-11-20T10", 3, ["11-20T16 10:30-11:30", "11-20T17 11:30-12:30"]),
        ("Asia/Kolkata", "2026-11-20T10", 1, []),
        ("Asia/Kathmandu", "2026-11-20T18", 2, ["11-21T00 18:15-19:15"]),
        ("Europe/Berlin", "2026-03-29T00", 2, ["03-29T01 00:00-01:00", "03-29T03 01:00-02:00"]),
        ("Europe/Berlin", "2026-10-25T00", 3, ["10-25T02 00:00-02:00", "10-25T03 02:00-03:00"]),
        ("Europe/Berlin", "2026-10-25T00", 1, []),
        ("Australia/Lord_Howe", "2026-04-04T14", 2, ["04-05T01 14:00-15:30"]),
        ("Australia/Lord_Howe", "2026-10-03T14", 3, ["10-04T01 14:30-15:30", "10-04T02 15:30-16:00", "10-04T03 16:00-17:00"]),  # noqa: E501 - one row
        ("America/St_Johns", "2010-11-07T02", 3, ["11-07T00 02:30-02:31 03:30-04:30"]),
    ],
)  # fmt: skip
def test_hours_of_a_zone(zone: str, first: str, hours: int, expected: list[str]) -> None:
    """Local hours that UTC hours cover, by hand: half-hour zones, hours shown twice or never."""
    start = datetime.fromisoformat(f"{first}:00+00:00")
    found = covered(zone, frozenset(start + i * HOUR for i in range(hours)))
    told = [
        f"{h.at:%m-%dT%H} " + " ".join(f"{a:%H:%M}-{b:%H:%M}" for a, b in h.spans) for h in found
    ]
    assert told == expected


@settings(max_examples=40, deadline=None)
@given(
    zone=st.sampled_from(
        ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Berlin"]
    ),
    start=st.sampled_from(["2026-10-25T00", "2026-03-29T00", "2026-04-04T12", "2026-10-03T12"]),
    hours=st.sets(st.integers(0, 8)),
)
def test_an_hour_is_covered_when_all_its_minutes_are(
    zone: str, start: str, hours: set[int]
) -> None:
    """Any set of UTC hours gives exactly the local hours of which no minute lies elsewhere."""
    begin = datetime.fromisoformat(f"{start}:00+00:00")
    utc = {begin + h * HOUR for h in hours}
    minutes = [begin + timedelta(minutes=m) for m in range(-240, 13 * 60)]
    inside: dict[str, list[bool]] = {}
    for minute in minutes:
        local = minute.astimezone(ZoneInfo(zone)).strftime("dt=%Y-%m-%d/hour=%H")
        inside.setdefault(local, []).append(minute.replace(minute=0) in utc)
    expected = [hour for hour, each in inside.items() if all(each)]
    assert [hour.folder for hour in covered(zone, frozenset(utc))] == expected
