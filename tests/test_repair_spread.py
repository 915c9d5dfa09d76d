"""How many events a repair expects in a range of time, before it reads any."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backfill.repair import Spread
from labeling.io.archive import ArchiveFile

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
BEGIN_MS = int(BEGIN.timestamp()) * 1000
HOUR_MS = 3_600_000


def file(first_hour: int, hours: int, rows: int) -> ArchiveFile:
    """A file with events from the first to the last millisecond of some hours."""
    low = BEGIN + timedelta(hours=first_hour)
    high = low + timedelta(hours=hours) - timedelta(milliseconds=1)
    return ArchiveFile("f", "hour", low, "app", low, high, 0, 1, rows, 1, 1, "")


def test_each_hour_of_a_year_of_files() -> None:
    """Nine thousand hours of nine thousand files: a second or two, and each hour has its own."""
    hours = 9_000
    spread = Spread([file(h, 1, h + 1) for h in range(hours)])
    begins = (BEGIN_MS + h * HOUR_MS for h in range(hours))
    assert [spread.between(at, at + HOUR_MS) for at in begins] == list(range(1, hours + 1))


def test_parts_of_files_count_by_time() -> None:
    """A quarter of a file's time holds a quarter of its events; outside of files is nothing."""
    spread = Spread([file(0, 4, 400), file(2, 1, 50)])
    assert spread.between(BEGIN_MS, BEGIN_MS + HOUR_MS) == 100
    assert spread.between(BEGIN_MS + 2 * HOUR_MS, BEGIN_MS + 3 * HOUR_MS) == 150
    assert spread.between(BEGIN_MS - HOUR_MS, BEGIN_MS) == 0
    assert spread.between(BEGIN_MS + HOUR_MS, BEGIN_MS) == 0
    assert Spread([]).between(BEGIN_MS, BEGIN_MS + HOUR_MS) == 0
