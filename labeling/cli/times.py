"""Times as people write them on the command line.

Always holds: what is read without a zone is UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime

from labeling.errors import ConfigError


def parse_time(text: str) -> datetime:
    """A time as it is written on the command line; without a zone it is UTC.

    Raises:
        ConfigError: not a time.

    >>> parse_time("2026-11-20T10").isoformat()
    '2026-11-20T10:00:00+00:00'
    """
    hour = len("2026-11-20T10")
    try:
        found = datetime.fromisoformat(f"{text}:00" if len(text) == hour else text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is not a time; write 2026-11-20, 2026-11-20T10 or 2026-11-20T10:30:00+01:00"
        ) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def parse_hour(text: str) -> datetime:
    """A full hour in UTC, as the archive and the store count them.

    Raises:
        ConfigError: not a time, or one inside an hour.
    """
    found = parse_time(text)
    if found != found.replace(minute=0, second=0, microsecond=0):
        raise ConfigError(
            f"{text!r} lies inside an hour; hours are published whole: write 2026-11-20T10"
        )
    return found
