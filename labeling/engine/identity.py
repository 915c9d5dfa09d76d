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

from labeling.engine.keys import string_key, user_key
from labeling.engine.runs import Keys, Places, distinct
from labeling.model.event import IDENTITY, ORIGIN_SCHEMA

_BUCKET_MS: Final = 60_000
_FAN_IN: Final = 4
_MIX: Final = 0x9E3779B97F4A7C15
#: The identity itself, and what is known of an event beside what it says.
_NOT_CONTENT: Final = frozenset({*IDENTITY, *ORIGIN_SCHEMA, "user_key", "watermark_ts"})
#: Of the hash of contents: an arbitrary number.
_SEED: Final = 1


@dataclass(frozen=True)
class _Part:
    """Identities of one minute, sorted by ``who`` (user and time); ``which`` is the event's id."""

    who: Keys
    which: Keys
    content: Keys

    def at(self, places: Places) -> _Part:
        """Those at some places, in increasing order."""
        return _Part(self.who[places], self.which[places], self.content[places])

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
        order, minute, new = _hashed(events)
        first = _first_of_each(new)
        repeat = first != np.arange(len(first))
        content = new.content[first]
        minutes = dict(self.minutes)
        for at in distinct(minute):
            rows = np.flatnonzero(minute == at)
            parts = minutes.get(int(at), ())
            mine = new.at(rows)
            for part in parts:
                hits, was = _look_up(part, mine)
                repeat[rows[hits]] = True
                content[rows[hits]] = was
            fresh = rows[~repeat[rows]]
            if len(fresh):
                minutes[int(at)] = _merged((*parts, new.at(fresh)))
        told = pl.DataFrame({"repeat": repeat, "conflict": repeat & (content != new.content)})
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return replace(self, minutes=minutes), told[back]

    def drop_before(self, low_ms: int) -> Identities:
        """Without the minutes that end before the time."""
        kept = {m: p for m, p in self.minutes.items() if (m + 1) * _BUCKET_MS > low_ms}
        return replace(self, minutes=kept)


@dataclass(frozen=True)
class Outcomes:
    """A batch's events, in its order: new, too late, and seen before (with ``conflict``)."""

    accepted: pl.DataFrame
    too_late: pl.DataFrame
    duplicates: pl.DataFrame


def told_apart(seen: Identities, batch: pl.DataFrame) -> tuple[Identities, Outcomes]:
    """Tell what is too late, then what is a repeat, from what is new.

    Args:
        seen: what came before.
        batch: judged events (``Watermarks.judge``), one item after the other as they came.

    Returns:
        The identities with the new ones, and what became of each event.
    """
    too_late = batch["arrival"] == "too_late"
    timely = (batch.filter(~too_late) if too_late.any() else batch).with_columns(user_key())
    seen, told = seen.add(timely)
    repeat = told["repeat"]
    accepted = (timely.filter(~repeat) if repeat.any() else timely).drop("user_key")
    again = timely.filter(repeat).with_columns(told["conflict"].filter(repeat)).drop("user_key")
    return seen, Outcomes(accepted, batch.filter(too_late), again)


def _hashed(events: pl.DataFrame) -> tuple[Places, npt.NDArray[np.int64], _Part]:
    """Events by ``who``, those of one as they came: their places, minutes and identities."""
    mix = pl.lit(_MIX, dtype=pl.UInt64)
    at = pl.col("event_ts").dt.epoch("ms")
    named = events.select(
        minute=at // _BUCKET_MS,
        who=(at.reinterpret(signed=False) * mix) ^ pl.col("user_key"),
        which=string_key("event_id"),
    )
    # Polars' own hash is not the same in every version: it is compared within one process only.
    content = events.select(sorted({*events.columns} - _NOT_CONTENT))
    order = named["who"].arg_sort().to_numpy()
    who, which, minute = (named[c].to_numpy()[order] for c in ("who", "which", "minute"))
    hashes = content.hash_rows(_SEED).to_numpy()[order]
    return order, minute, _Part(who, which, hashes)


def _first_of_each(part: _Part) -> Places:
    """For each place, where the same identity stands first."""
    first = np.arange(len(part.who))
    same = part.who[1:] == part.who[:-1]
    if not same.any():
        return first
    several = np.flatnonzero(np.append(same, [False]) | np.append([False], same))
    who, which = part.who[several], part.which[several]
    order = np.lexsort((several, which, who))
    who, which, several = who[order], which[order], several[order]
    begins = np.append([True], (who[1:] != who[:-1]) | (which[1:] != which[:-1]))
    first[several] = several[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
    return first


def _look_up(part: _Part, mine: _Part) -> tuple[Places, Keys]:
    """Which of the identities (by ``who``) the part holds, and the content with which it does."""
    place = np.searchsorted(part.who, mine.who)
    alive = np.arange(len(place))
    hits, was = [alive[:0]], [part.content[:0]]
    while len(alive):
        inside = place < len(part.who)
        alive, place = alive[inside], place[inside]
        same = part.who[place] == mine.who[alive]
        alive, place = alive[same], place[same]
        found = part.which[place] == mine.which[alive]
        hits.append(alive[found])
        was.append(part.content[place[found]])
        # Others of the same user and millisecond stand right behind.
        alive, place = alive[~found], place[~found] + 1
    return np.concatenate(hits), np.concatenate(was)


def _merged(parts: tuple[_Part, ...]) -> tuple[_Part, ...]:
    """Neighbours of like size made one."""
    while len(parts) >= _FAN_IN and len(parts[-_FAN_IN].who) <= _FAN_IN * len(parts[-1].who):
        parts = (*parts[:-_FAN_IN], _Part.of(parts[-_FAN_IN:]))
    return parts
