"""Whose an hour of a rule is: the stream's, or replay's.

Always holds: the stream owns the hours of a rule from ``since`` on, each until it is settled:
``F > end + settle``, which is the rule's longest window, its undo window and the lateness. Before
and afterwards they are replay's. Whoever publishes an hour that is not theirs is refused by the
writer, in the transaction that would have held it. ``F`` never falls, so that what was settled once
stays so.

Not promised: that an hour which nobody publishes is told. ``labeling verify`` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import polars as pl

from labeling.engine.watermark import NEVER
from labeling.errors import StoreError
from labeling.model.kinds import Rule

STREAM: Final = "stream"
REPLAY: Final = "replay"
_HOUR_MS: Final = 3_600_000
_STREAMS: Final = "FROM streams"
_MARKS: Final = (
    "SELECT kind, name, CAST(min(f_ms) AS BIGINT) AS f_ms FROM watermarks GROUP BY ALL ORDER BY ALL"
)


@dataclass(frozen=True, slots=True)
class Stream:
    """A rule's version that a stream has published, as of the latest commit. Times are epoch ms.

    ``since_ms``: the first anchor time that the stream owns (``NEVER``: from the beginning);
    ``settle_ms``: how long after its end an hour stays the stream's; None: for good; ``f_ms``:
    the rule's ``F``, the lowest of all shards.
    """

    since_ms: int
    settle_ms: int | None
    f_ms: int

    def began(self, hour: datetime) -> bool:
        """Whether the stream publishes, or published, the hour."""
        return _ms(hour) >= self.since_ms

    def settled(self, hour: datetime) -> bool:
        """Whether the stream will not touch the hour again."""
        return self.settle_ms is not None and self.f_ms > _ms(hour) + _HOUR_MS + self.settle_ms

    def owns(self, hour: datetime) -> bool:
        """Whether nobody else may publish the hour."""
        return self.began(hour) and not self.settled(hour)


@dataclass(frozen=True, slots=True)
class Streams:
    """Every stream of a store, by rule key; ``F`` of their sources, and its lowest (epoch ms)."""

    by_rule: dict[str, Stream]
    lowest_ms: int
    by_source: Mapping[str, int] = field(default_factory=dict)

    @property
    def since_ms(self) -> int | None:
        """Where the first of them begins; None where there is none."""
        return min((s.since_ms for s in self.by_rule.values()), default=None)

    def mark_of(self, key: str, apart: Collection[str] = ()) -> int:
        """``F`` of a rule, epoch ms: its own, or that of all sources where it has no stream.

        Args:
            key: of the rule.
            apart: sources that it does not wait for.
        """
        stream = self.by_rule.get(key)
        if stream is not None:
            return stream.f_ms
        fed = [f for name, f in self.by_source.items() if name not in apart]
        return min(fed, default=NEVER) if apart else self.lowest_ms


def streams_of(query: Callable[[str], pl.DataFrame]) -> Streams:
    """What streams own in a store.

    Args:
        query: answers SQL, such as ``Store.query``.
    """
    marks = {(kind, name): f for kind, name, f in query(_MARKS).iter_rows()}
    sources = {name: f for (kind, name), f in marks.items() if kind == "source"}
    found = {}
    for row in query(_STREAMS).iter_rows(named=True):
        key = f"{row['rule']}@{row['version']}"
        since = NEVER if row["since_ts"] is None else _ms(row["since_ts"])
        found[key] = Stream(since, row["settle_ms"], marks.get(("rule", key), NEVER))
    return Streams(found, min(sources.values(), default=NEVER), sources)


def live_since(
    query: Callable[[str], pl.DataFrame], rules: Callable[[], Iterable[Rule]]
) -> datetime | None:
    """The first event time that a stream of the store reads; None where there is no stream.

    That is where its rows begin, less what they look back on. What is imported at or after it is
    too late for the stream, which has read there what it knows of.

    Args:
        query: answers SQL, such as ``Store.query``.
        rules: those of the configuration; asked for only where there is a stream.
    """
    streams = streams_of(query).by_rule
    if not streams:
        return None
    back_ms = {rule.key: rule.looks_back_ms for rule in rules()}
    first = min(stream.since_ms - back_ms.get(key, 0) for key, stream in streams.items())
    return datetime.fromtimestamp(max(first, 0) / 1000, UTC)


def refuse_foreign(
    query: Callable[[str], pl.DataFrame], key: str, hours: Iterable[datetime], published_by: str
) -> None:
    """Hold a publication to who owns its hours; the writer calls it inside the transaction.

    Args:
        query: answers SQL as of the transaction.
        key: ``name@version`` of the rule.
        hours: what is published.
        published_by: ``stream`` or ``replay``.

    Raises:
        StoreError: names the first hour that is another's.
    """
    stream = streams_of(query).by_rule.get(key)
    if published_by == STREAM:
        foreign = [h for h in hours if stream is None or not stream.began(h)]
        if foreign:
            raise StoreError(f"{key}: {_hour(min(foreign))} is replay's, not the stream's")
    elif stream is not None:
        foreign = [h for h in hours if stream.owns(h)]
        if foreign:
            raise StoreError(owned_text(key, stream, foreign))


def owned_text(key: str, stream: Stream, hours: Sequence[datetime]) -> str:
    """That hours are the stream's, until when, and what to do."""
    count = f"{len(hours)} hours belong" if len(hours) > 1 else "1 hour belongs"
    text = f"{key}: {count} to the stream until settled, the first {_hour(min(hours))}"
    if stream.settle_ms is None:
        return f"{text}; the stream did not note when that is: start `labeling run` of this version"
    end = datetime.fromtimestamp((_ms(min(hours)) + _HOUR_MS + stream.settle_ms) / 1000, UTC)
    at = "not set" if stream.f_ms <= NEVER else f"{_time(stream.f_ms)}"
    return f"{text}. Its watermark is {at}; wait until it has passed {end:%Y-%m-%dT%H:%M:%S}"


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%S}"


def _hour(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H}"


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
