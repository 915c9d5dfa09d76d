"""How far event time has come: of partitions, of sources, of rules.

Always holds: a watermark never goes back; it is a function of the items and of the order in which
each partition's came, and of nothing else; a source's is never below that of a rule that it can
feed, nor, while all its partitions are idle, below the lowest of the sources that are not.

Not promised: that an event at or above the watermark has not been seen: it says only that every
event below it has been read, as far as ``max_disorder`` and idleness allow to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from labeling.model.kinds import Rule

#: Nothing read yet, and everything there will be: epoch milliseconds beyond any event's.
NEVER: Final = -(2**62)
FOREVER: Final = 2**62


@dataclass(frozen=True)
class Source:
    """Where events come from, as far as time is concerned.

    Args:
        name: as in the configuration.
        max_disorder_ms: how much earlier than the highest seen an event of one partition may be.
        partitions: their names.
        event_types: what it can carry; ``None`` for anything.
    """

    name: str
    max_disorder_ms: int
    partitions: tuple[str, ...]
    event_types: frozenset[str] | None = None

    def feeds(self, types: Iterable[str]) -> bool:
        """Whether it can carry any of the types."""
        return self.event_types is None or not self.event_types.isdisjoint(types)


@dataclass(frozen=True)
class Item:
    """One batch of one partition, or the part of it that belongs to one shard.

    Args:
        source: the source's name.
        partition: the partition's.
        events: in the order of the partition.
        max_ts_ms: the highest ``event_ts`` of the whole batch, before sharding; ``None`` if it has
            none.
        idle: the partition has been read to the broker's end and counts as idle from here on.
        ended: nothing will follow: its mark is ``FOREVER``.
    """

    source: str
    partition: str
    events: pl.DataFrame
    max_ts_ms: int | None
    idle: bool = False
    ended: bool = False


@dataclass(frozen=True)
class Watermarks:
    """The marks of all partitions, and what follows from them.

    ``marks`` and ``idle`` are by (source, partition); ``sources`` and ``rules`` hold ``F`` by name
    and by rule key, in epoch milliseconds.
    """

    specs: tuple[Source, ...]
    reads: Mapping[str, frozenset[str]]
    marks: Mapping[tuple[str, str], int]
    idle: frozenset[tuple[str, str]]
    sources: Mapping[str, int]
    rules: Mapping[str, int]

    @staticmethod
    def start(
        sources: Sequence[Source],
        rules: Sequence[Rule],
        waits: Mapping[str, frozenset[str]] | None = None,
    ) -> Watermarks:
        """Before anything was read: all at ``NEVER``.

        Args:
            sources: what is read.
            rules: what is evaluated.
            waits: rule key to types that it waits for beside those that it reads.
        """
        more = waits or {}
        return Watermarks(
            specs=tuple(sources),
            reads={r.key: r.event_types | more.get(r.key, frozenset()) for r in rules},
            marks={(s.name, p): NEVER for s in sources for p in s.partitions},
            idle=frozenset(),
            sources={s.name: NEVER for s in sources},
            rules={r.key: NEVER for r in rules},
        )

    @staticmethod
    def resume(
        sources: Sequence[Source],
        rules: Sequence[Rule],
        marks: Mapping[tuple[str, str], int],
        idle: Iterable[tuple[str, str]],
        passed: Mapping[str, int],
        waits: Mapping[str, frozenset[str]] | None = None,
    ) -> Watermarks:
        """As committed: ``passed`` has ``F`` of sources by name and of rules by key.

        A rule that is new starts where the sources that feed it have come to.
        """
        fresh = Watermarks.start(sources, rules, waits)
        known = replace(
            fresh,
            marks={**fresh.marks, **marks},
            idle=frozenset(idle),
            sources={name: passed.get(name, NEVER) for name in fresh.sources},
            rules={key: passed.get(key, NEVER) for key in fresh.rules},
        )
        return _settled(known)

    def with_partitions(self, source: str, partitions: Iterable[str]) -> Watermarks:
        """With partitions that were not known yet, of which nothing has been read."""
        new = {(source, p): NEVER for p in partitions if (source, p) not in self.marks}
        return replace(self, marks={**self.marks, **new}) if new else self

    def of_source(self, name: str) -> int:
        """``F`` of a source, epoch ms."""
        return self.sources[name]

    def of_rule(self, rule: Rule) -> int:
        """``F`` of a rule, epoch ms: a point is passed when it is below."""
        return self.rules[rule.key]

    def judge(self, item: Item, lateness_ms: int) -> tuple[Watermarks, pl.DataFrame]:
        """The item's events as on time, late or too late, and the watermarks after it.

        Each is judged by ``F`` of its source as it stood before the item: below ``F - lateness_ms``
        is too late, else below ``F`` late.

        Returns:
            The new watermarks, and the events with ``arrival`` (String).
        """
        now = self.of_source(item.source)
        at = pl.col("event_ts").dt.epoch("ms")
        arrival = (
            pl.when(at < now - lateness_ms)
            .then(pl.lit("too_late"))
            .when(at < now)
            .then(pl.lit("late"))
            .otherwise(pl.lit("on_time"))
        )
        return self.after(item), item.events.with_columns(arrival=arrival)

    def after(self, item: Item) -> Watermarks:
        """The watermarks once the item has been read."""
        key = (item.source, item.partition)
        spec = next(s for s in self.specs if s.name == item.source)
        mark = self.marks.get(key, NEVER)
        if item.max_ts_ms is not None:
            mark = max(mark, item.max_ts_ms - spec.max_disorder_ms)
        if item.ended:
            mark = FOREVER
        idle = self.idle | {key} if item.idle else self.idle - {key}
        return _settled(replace(self, marks={**self.marks, key: mark}, idle=idle))

    def lowest(self, spec: Source) -> int | None:
        """The lowest mark of the partitions that are not idle; ``None`` where all are.

        A source whose partitions are not known yet is not idle: nothing of it has been read.
        """
        mine = {p: m for (s, p), m in self.marks.items() if s == spec.name}
        marks = [m for p, m in mine.items() if (spec.name, p) not in self.idle]
        return min(marks, default=None if mine else NEVER)

    @property
    def lowest_source(self) -> int:
        """The lowest ``F`` of all sources; repeats below it less lateness are too late."""
        return min(self.sources.values(), default=NEVER)


def _settled(marks: Watermarks) -> Watermarks:
    """``F`` of sources and rules from partitions' marks and idleness."""
    raw = {s.name: marks.lowest(s) for s in marks.specs}
    # A partition that wakes up may lie behind what its source has passed: that stands.
    live = {n: max(mark, marks.sources[n]) for n, mark in raw.items() if mark is not None}
    rules = dict(marks.rules)
    for key, types in marks.reads.items():
        feeding = [live[s.name] for s in marks.specs if s.name in live and s.feeds(types)]
        rules[key] = max(rules[key], min(feeding, default=NEVER))
    sources = dict(marks.sources)
    floor = min(live.values(), default=NEVER)
    for spec in marks.specs:
        fed = [rules[key] for key, types in marks.reads.items() if spec.feeds(types)]
        own = live.get(spec.name, floor)
        sources[spec.name] = max(sources[spec.name], own, *fed, NEVER)
    return replace(marks, sources=sources, rules=rules)
