"""Which events have been seen: by identity, for as long as a repeat can still be on time or late.

Always holds: of events of one identity the first stays, in the order in which they came; a repeat
with other content is told as a conflict.

Not promised: exactness beyond 64 bits: two events of one user and millisecond whose different ids
share an xxh3 hash count as one. At 10^10 events a day that is once in millions of years.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from labeling.engine.keys import string_key, text_key

_BUCKET_MS: Final = 60_000
_FAN_IN: Final = 4
_MIX: Final = 0x9E3779B97F4A7C15
Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class _Part:
    """Identities of one minute, sorted by ``who`` (user and time); ``which`` is the event's id."""

    who: Keys
    which: Keys
    content: Keys

    @staticmethod
    def of(parts: Sequence[_Part]) -> _Part:
        who, which, content = (
            np.concatenate([getattr(p, name) for p in parts])
            for name in ("who", "which", "content")
        )
        order = np.argsort(who, kind="stable")
        return _Part(who[order], which[order], content[order])


@dataclass(frozen=True)
class Identities:
    """Identities by the minute of their ``event_ts``."""

    minutes: Mapping[int, tuple[_Part, ...]] = field(default_factory=dict)

    @property
    def height(self) -> int:
        """How many identities are held."""
        return sum(len(p.who) for parts in self.minutes.values() for p in parts)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return 24 * self.height

    def add(self, events: pl.DataFrame) -> tuple[Identities, pl.DataFrame]:
        """Take in events and tell which were seen before.

        Args:
            events: ``user_key`` and the contract's columns, in the order in which they came.

        Returns:
            The identities with the new ones, and ``repeat`` and ``conflict`` (Boolean) by event.
        """
        if events.is_empty():
            none = pl.Series([], dtype=pl.Boolean)
            return self, pl.DataFrame({"repeat": none, "conflict": none})
        hashed = _hashed(events)
        within = hashed.select(
            repeat=~pl.struct("who", "which").is_first_distinct(),
            first=pl.col("content").first().over("who", "which"),
        )
        repeat = within["repeat"].to_numpy().copy()
        first = within["first"].to_numpy().copy()
        who, which, content = (hashed[c].to_numpy() for c in ("who", "which", "content"))
        minute = hashed["minute"].to_numpy()
        minutes = dict(self.minutes)
        for at in np.unique(minute):
            rows = np.flatnonzero(minute == at)
            parts = minutes.get(int(at), ())
            for part in parts:
                hits, was = _look_up(part, who[rows], which[rows])
                repeat[rows[hits]] = True
                first[rows[hits]] = was
            fresh = rows[~repeat[rows]]
            if len(fresh):
                new = _Part.of([_Part(who[fresh], which[fresh], content[fresh])])
                minutes[int(at)] = _merged((*parts, new))
        told = pl.DataFrame({"repeat": repeat, "conflict": repeat & (first != content)})
        return replace(self, minutes=minutes), told

    def drop_before(self, low_ms: int) -> Identities:
        """Without the minutes that end before the time."""
        kept = {m: p for m, p in self.minutes.items() if (m + 1) * _BUCKET_MS > low_ms}
        return replace(self, minutes=kept)


def _hashed(events: pl.DataFrame) -> pl.DataFrame:
    """Minute, identity and content of events, as integers."""
    mix = pl.lit(_MIX, dtype=pl.UInt64)
    at = pl.col("event_ts").dt.epoch("ms")
    content = pl.lit(0, dtype=pl.UInt64)
    for name, dtype in events.schema.items():
        if name not in ("user_key", "event_ts", "event_id", "user_id", "arrival"):
            content = content * mix ^ _content_key(name, dtype).fill_null(1)
    return events.select(
        minute=at // _BUCKET_MS,
        who=(at.reinterpret(signed=False) * mix) ^ pl.col("user_key"),
        which=string_key("event_id"),
        content=content,
    )


def _content_key(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.List(pl.String()):
        # The separator is no part of any name that people give to experiments.
        return text_key(pl.col(name).list.join("\x1f"))
    if dtype == pl.String():
        return string_key(name)
    if dtype.is_integer() or dtype == pl.Boolean():
        return pl.col(name).cast(pl.Int64).reinterpret(signed=False)
    if isinstance(dtype, pl.Datetime):
        return pl.col(name).dt.epoch("ms").reinterpret(signed=False)
    return text_key(pl.col(name).cast(pl.String))


def _look_up(part: _Part, who: Keys, which: Keys) -> tuple[npt.NDArray[np.intp], Keys]:
    """Which of the identities the part holds, and the content with which it does."""
    order = np.argsort(who)
    place = np.searchsorted(part.who, who[order])
    hits: list[npt.NDArray[np.intp]] = []
    was: list[Keys] = []
    alive = order
    while len(alive):
        inside = place < len(part.who)
        alive, place = alive[inside], place[inside]
        same = part.who[place] == who[alive]
        alive, place = alive[same], place[same]
        found = part.which[place] == which[alive]
        hits.append(alive[found])
        was.append(part.content[place[found]])
        # Others of the same user and millisecond stand right behind.
        alive, place = alive[~found], place[~found] + 1
    return (np.concatenate(hits), np.concatenate(was)) if hits else (order[:0], who[:0])


def _merged(parts: tuple[_Part, ...]) -> tuple[_Part, ...]:
    """Neighbours of like size made one."""
    while len(parts) >= _FAN_IN and len(parts[-_FAN_IN].who) <= _FAN_IN * len(parts[-1].who):
        parts = (*parts[:-_FAN_IN], _Part.of(parts[-_FAN_IN:]))
    return parts
