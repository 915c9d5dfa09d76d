"""Sessions by gaps of inactivity: clause A13 of docs/attribution.md.

Always holds: a session depends on the events before its end alone, and never spans two local days,
so that what it depends on lies within a day. Whether two events are in one session depends on the
events from the one to the other alone.

Not promised: that a session keeps its id. A late event may join two, or start one earlier; rows
that depend on it are corrected, and none is named by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from labeling.model.window import duration_ms

#: The name by which match columns speak of a rule's sessions.
SESSION: Final = "session"
#: No local day is longer.
DAY_MS: Final = 26 * 3_600_000


@dataclass(frozen=True)
class Session:
    """Runs of events no further than ``gap_ms`` apart, inclusive, cut at midnight in ``tz``."""

    gap_ms: int
    tz: str


def session(gap: str = "30m", *, tz: str = "UTC") -> Session:
    """Sessions of a user: events that follow one another within a gap, on one local day.

    Args:
        gap: the longest pause inside a session, inclusive.
        tz: an IANA time zone, whose midnight ends sessions.

    Raises:
        ValueError: no duration, zero, or an unknown zone.

    >>> session("30m")
    Session(gap_ms=1800000, tz='UTC')
    """
    length = duration_ms(gap)
    if length <= 0:
        raise ValueError(f"session({gap!r}): a gap is longer than zero")
    return Session(length, known_zone(tz, "session"))


def known_zone(tz: str, what: str) -> str:
    """The zone's name, if there is such a zone.

    Raises:
        ValueError: there is none; the message begins with ``what``.
    """
    try:
        ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(
            f"{what}: unknown time zone {tz!r}; use an IANA name such as 'Europe/Berlin'"
        ) from error
    return tz
