"""Marks and watermarks (design section 2), and how an item's events are judged by them.

Always holds: no watermark goes back; an item's events are judged by the watermark of their source
as it stood before the item.

Not promised: that ``F`` tells the truth. An idle partition may wake up behind it; its events are
then late or too late.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from labeling.model.kinds import Rule
from tests.model.assign import Fact

NEVER = -(2**62)
FOREVER = 2**62


@dataclass(frozen=True)
class Source:
    """Where events come from; ``event_types`` None can carry anything."""

    name: str
    max_disorder_ms: int
    partitions: tuple[str, ...]
    event_types: frozenset[str] | None = None

    def can_feed(self, rule: Rule) -> bool:
        """Whether an event of this source may be one that the rule reads."""
        return self.event_types is None or bool(self.event_types & rule.event_types)


@dataclass(frozen=True)
class Item:
    """One partition's batch; ``events`` may be those of one shard, ``max_ts_ms`` is the whole's."""

    source: str
    partition: str
    events: tuple[Fact, ...]
    max_ts_ms: int | None
    idle: bool = False
    ended: bool = False


@dataclass
class Clock:
    """The marks of all partitions and every ``F``."""

    sources: tuple[Source, ...]
    rules: tuple[Rule, ...]
    marks: dict[tuple[str, str], int] = field(default_factory=dict)
    idle: set[tuple[str, str]] = field(default_factory=set)
    of_source: dict[str, int] = field(default_factory=dict)
    of_rule: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Nothing is read yet."""
        for source in self.sources:
            self.of_source.setdefault(source.name, NEVER)
            for partition in source.partitions:
                self.marks.setdefault((source.name, partition), NEVER)
        for rule in self.rules:
            self.of_rule.setdefault(rule.key, NEVER)

    def copy(self) -> Clock:
        """What a commit writes down."""
        return Clock(
            self.sources,
            self.rules,
            dict(self.marks),
            set(self.idle),
            dict(self.of_source),
            dict(self.of_rule),
        )

    def judge(self, item: Item, lateness_ms: int) -> list[tuple[Fact, str]]:
        """The item's events, each on_time, late or too_late; then the marks move (clause 17)."""
        limit = self.of_source[item.source]
        judged = []
        for e in item.events:
            if e["event_ts"] < limit - lateness_ms:
                judged.append((e, "too_late"))
            elif e["event_ts"] < limit:
                judged.append((e, "late"))
            else:
                judged.append((e, "on_time"))
        self._read(item)
        self._move()
        return judged

    def _read(self, item: Item) -> None:
        """The partition's own mark and idleness."""
        (source,) = [s for s in self.sources if s.name == item.source]
        at = (item.source, item.partition)
        if item.max_ts_ms is not None:
            self.marks[at] = max(self.marks[at], item.max_ts_ms - source.max_disorder_ms)
        if item.ended:
            self.marks[at] = FOREVER
        self.idle.discard(at)
        if item.idle:
            self.idle.add(at)

    def _move(self) -> None:
        """Every ``F``: of sources, of rules, then the floors of sources."""
        awake: dict[str, int] = {}
        for s in self.sources:
            live = [self.marks[s.name, p] for p in s.partitions if (s.name, p) not in self.idle]
            if live:
                self._raise(self.of_source, s.name, [min(live)])
                awake[s.name] = self.of_source[s.name]
        for rule in self.rules:
            feeding = [awake[s.name] for s in self.sources if s.name in awake and s.can_feed(rule)]
            if feeding:
                self._raise(self.of_rule, rule.key, [min(feeding)])
        for s in self.sources:
            self._raise(
                self.of_source, s.name, [self.of_rule[r.key] for r in self.rules if s.can_feed(r)]
            )
            if s.name not in awake and awake:
                self._raise(self.of_source, s.name, [min(awake.values())])

    @staticmethod
    def _raise(table: dict[str, int], name: str, floors: Iterable[int]) -> None:
        """Never back."""
        table[name] = max([table[name], *floors])
