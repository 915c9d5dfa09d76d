"""Durations and windows: how far forward a label looks.

Always holds: a window's end is inclusive, is never before the anchor, and does not go back as
the anchor moves forward. ``longest_ms`` bounds every end: what looks that far back from a time
sees every anchor that the time can concern.

Not promised: that a calendar window has one length. Days of 23 and 25 hours are days.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"(\d+)\s*(ms|s|m|h|d)")
_HOUR_MS: Final = _UNITS["h"]
_DAY_MS: Final = _UNITS["d"]
#: By how many minutes a local midnight has been missing, in any zone of the tz database.
_MIDNIGHT_GAPS: Final = (0, 30, 60, 120, 180, 1440)


def duration_ms(text: str) -> int:
    """Milliseconds of a duration such as ``"30m"``, ``"1d"``, ``"1h30m"`` or ``"500ms"``.

    Raises:
        ValueError: not one or more whole numbers, each with a unit of ms, s, m, h or d.

    >>> duration_ms("1h30m")
    5400000
    """
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        raise ValueError(
            f"duration {text!r}: write whole numbers with units, such as '30m' or '1d12h'"
        )
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


@dataclass(frozen=True)
class Duration:
    """A window of fixed length: it ends ``ms`` milliseconds after the anchor, inclusive."""

    ms: int

    @property
    def longest_ms(self) -> int:
        """The length itself."""
        return self.ms

    def end(self, ts: pl.Expr) -> pl.Expr:
        """The last instant of the window of an anchor at ``ts``."""
        return ts + pl.duration(milliseconds=self.ms)

    def __str__(self) -> str:
        """The canonical text that enters a rule's digest."""
        return f"duration({self.ms}ms)"


@dataclass(frozen=True)
class EndOfDay:
    """A window to the last millisecond of the local day ``days`` after the anchor's."""

    days: int
    tz: str

    @property
    def longest_ms(self) -> int:
        """An upper bound: the days in full, and two hours for clocks put back."""
        return (self.days + 1) * _DAY_MS + 2 * _HOUR_MS

    def end(self, ts: pl.Expr) -> pl.Expr:
        """The last millisecond of that local day, in UTC.

        Where midnight does not exist (clocks put forward at midnight, a day left out), the next
        day begins at the first instant that does; where it happens twice, at the first of the two
        that lies after the anchor.
        """
        local = ts.dt.convert_time_zone(self.tz).dt.replace_time_zone(None).dt.truncate("1d")
        midnight = local + pl.duration(days=self.days + 1)

        def begins(ambiguous: Literal["earliest", "latest"]) -> pl.Expr:
            tries = [midnight + pl.duration(minutes=late) for late in _MIDNIGHT_GAPS]
            instants = [
                t.dt.replace_time_zone(self.tz, ambiguous=ambiguous, non_existent="null")
                for t in tries
            ]
            return pl.coalesce(instants).dt.convert_time_zone("UTC")

        first = begins("earliest")
        begin = pl.when(first > ts).then(first).otherwise(begins("latest"))
        return begin - pl.duration(milliseconds=1)

    def __str__(self) -> str:
        """The canonical text that enters a rule's digest."""
        return f"end_of_day({self.days},{self.tz})"


Window = Duration | EndOfDay


def end_of_day(days: int = 0, *, tz: str = "UTC") -> EndOfDay:
    """A calendar window: to the end of the local day ``days`` days after the anchor's own.

    Args:
        days: 0 for the anchor's day, 1 for the day after it, and so on.
        tz: an IANA time zone name.

    Raises:
        ValueError: negative ``days`` or an unknown zone.

    >>> str(end_of_day(1, tz="Asia/Shanghai"))
    'end_of_day(1,Asia/Shanghai)'
    """
    if days < 0:
        raise ValueError(f"end_of_day({days}): a window looks forward; use 0 or more days")
    try:
        ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(
            f"end_of_day: unknown time zone {tz!r}; use an IANA name such as 'Europe/Berlin'"
        ) from error
    return EndOfDay(days, tz)
