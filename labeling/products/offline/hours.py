"""Which local hours a set of UTC hours covers.

Always holds: an instant lies in one local hour, the one that a clock of the zone shows; an hour
that a clock shows twice is one hour, with all of its instants; one that it skips does not exist.
An hour is covered when every instant of it lies in one of the UTC hours.

Not promised: hours of 60 minutes, or that begin with a UTC hour; nor zones as they were before
1972, whose offsets have seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

import polars as pl

from labeling.model.event import TS

_HOUR: Final = timedelta(hours=1)
#: No clock was ever set by more at once.
_AROUND: Final = timedelta(hours=25)


@dataclass(frozen=True, slots=True)
class LocalHour:
    """An hour as a clock shows it.

    Args:
        at: its start on that clock, without a zone.
        utc: the UTC hours that it touches, by time.
        spans: its instants as ``[from, to)`` in UTC, by time; adjoining ones are one.
    """

    at: datetime
    utc: tuple[datetime, ...]
    spans: tuple[tuple[datetime, datetime], ...]

    @property
    def folder(self) -> str:
        """The folder of its files.

        >>> LocalHour(datetime(2026, 11, 20, 9), (), ()).folder
        'dt=2026-11-20/hour=09'
        """
        return f"{self.at:dt=%Y-%m-%d/hour=%H}"


@lru_cache(maxsize=64)
def covered(zone: str, hours: frozenset[datetime]) -> tuple[LocalHour, ...]:
    """The local hours all of whose instants lie in the hours given, by time of their first.

    Args:
        zone: an IANA name.
        hours: starts of UTC hours.

    Example:
        ``covered("Asia/Kolkata", hours)``: from 10:00 and 11:00 UTC comes 16:00, which is 10:30 to
        11:30.
    """
    minutes = pl.DataFrame({"ts": _minutes(hours)}, schema={"ts": TS}).with_columns(
        utc=pl.col("ts").dt.truncate("1h"),
        at=pl.col("ts").dt.convert_time_zone(zone).dt.replace_time_zone(None).dt.truncate("1h"),
    )
    # A run: minutes of one local hour that follow one another.
    new = (pl.col("at") != pl.col("at").shift()) | (pl.col("ts").diff() > pl.duration(minutes=1))
    runs = (
        minutes.with_columns(run=new.fill_null(value=False).cum_sum())
        .group_by("at", "run", maintain_order=True)
        .agg(pl.col("utc").unique(maintain_order=True), low=pl.col("ts").min(), high=pl.max("ts"))
    )
    by_hour: dict[datetime, list[tuple[list[datetime], datetime, datetime]]] = {}
    for at, _, utc, low, high in runs.iter_rows():
        by_hour.setdefault(at, []).append((utc, low, high + timedelta(minutes=1)))
    return tuple(
        LocalHour(at, touched, tuple((low, high) for _, low, high in parts))
        for at, parts in by_hour.items()
        if hours.issuperset(touched := tuple(dict.fromkeys(h for utc, *_ in parts for h in utc)))
    )


def _minutes(hours: frozenset[datetime]) -> pl.Series:
    """Every minute of the hours and of those that may share a local hour with them, sorted."""
    near = pl.DataFrame({"hour": sorted(hours)}, schema={"hour": TS}).select(
        pl.datetime_ranges(
            pl.col("hour") - _AROUND, pl.col("hour") + _AROUND, "1h", eager=False
        ).explode()
    )
    starts = near.to_series().unique().sort().to_frame("ts")
    return starts.select(
        pl.datetime_ranges(pl.col("ts"), pl.col("ts") + _HOUR, "1m", closed="left").explode()
    ).to_series()
