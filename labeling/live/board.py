"""What a running flow tells of itself: status, health, metrics.

Always holds: the flow writes, from one thread; others read whole values that were true at some
commit. Times are epoch ms or seconds as named.

Not promised: the figures of other processes' partitions; each process tells of those it reads.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from labeling.engine.watermark import NEVER
from labeling.live.feed import Feed
from labeling.live.items import Result

#: Freshness is told over so many of the latest commits.
_KEPT: Final = 1_000
_OUTCOMES: Final = ("rejected", "too_late", "duplicate", "accepted")


@dataclass(eq=False)
class Board(Collector):
    """The figures of one process. ``feeds`` are set once they are open."""

    feeds: Sequence[Feed] = ()
    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    commits: int = 0
    last_commit: int = 0
    commit_s: float = 0.0
    passed: dict[int, Mapping[tuple[str, str], int]] = field(default_factory=dict)
    held: dict[int, tuple[int, int]] = field(default_factory=dict)
    freshness_s: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    waiting: str | None = None

    def committed(
        self, results: Iterable[Result], number: int, changes: Mapping[tuple[str, str], int],
        took_s: float, now_ms: int,
    ) -> None:  # fmt: skip
        """Take in a commit.

        Args:
            results: what it took in.
            number: its number.
            changes: how many by (rule key, kind).
            took_s: how long it took.
            now_ms: when it was done, by the clock that brokers' times are compared with.
        """
        for result in results:
            for counts in result.counts:
                self.records[counts.source] += counts.records
                for outcome in _OUTCOMES:
                    self.events[counts.source, outcome] += getattr(counts, outcome)
            self.passed[result.shard] = result.passed
            self.held[result.shard] = (result.held, result.held_bytes)
            if result.oldest_ms is not None:
                self.freshness_s.append((now_ms - result.oldest_ms) / 1000)
        self.changes.update(changes)
        self.commits += 1
        self.commit_s += took_s
        self.last_commit = number

    @property
    def registry(self) -> CollectorRegistry:
        """A registry with these figures, and those of the process (memory, CPU, files)."""
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        return registry

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether the flow is well: nothing is waited for, and every partition can be read."""
        problems = self._problems()
        return self.waiting is None and not problems, {
            "ok": self.waiting is None and not problems,
            "waiting": self.waiting,
            "problems": problems,
        }

    def status(self) -> dict[str, Any]:
        """All figures as JSON."""
        ordered = sorted(self.freshness_s)
        return {
            "last_commit": self.last_commit,
            "commits": self.commits,
            "records": dict(self.records),
            "events": {f"{source}.{outcome}": n for (source, outcome), n in self.events.items()},
            "changes": {f"{rule}.{kind}": n for (rule, kind), n in self.changes.items()},
            "lowest_source_ms": self.floor(),
            "watermarks": {f"{k}.{n}": _time(f) for (k, n), f in sorted(self._marks().items())},
            "partitions": self._partitions(),
            "held": {
                "events": sum(n for n, _ in self.held.values()),
                "bytes": sum(b for _, b in self.held.values()),
            },
            "freshness_s": {
                f"p{q}": ordered[min(len(ordered) - 1, len(ordered) * q // 100)] for q in (50, 99)
            }
            if ordered
            else {},
            "waiting": self.waiting,
            "problems": self._problems(),
        }

    def collect(self) -> Iterable[Metric]:
        """The figures for Prometheus."""
        events = CounterMetricFamily(
            "labeling_events", "Events read, by outcome.", labels=("source", "outcome")
        )
        for key, count in self.events.items():
            events.add_metric(key, count)
        changes = CounterMetricFamily(
            "labeling_changes", "Changes published.", labels=("rule", "kind")
        )
        for key, count in self.changes.items():
            changes.add_metric(key, count)
        commits = SummaryMetricFamily("labeling_commit_seconds", "Time of commits.")
        commits.add_metric([], count_value=self.commits, sum_value=self.commit_s)
        yield from (events, changes, commits, *self._gauges())

    def _gauges(self) -> Iterable[Metric]:
        marks = GaugeMetricFamily(
            "labeling_watermark_seconds", "F, event time in Unix seconds.", labels=("kind", "name")
        )
        for key, mark in self._marks().items():
            if mark > NEVER:
                marks.add_metric(key, mark / 1000)
        labels = ("source", "topic", "partition")
        lag = GaugeMetricFamily("labeling_lag_records", "Records not read.", labels=labels)
        seen = GaugeMetricFamily(
            "labeling_partition_mark_seconds", "Mark, event time.", labels=labels
        )
        for one in self._partitions():
            place = (one["source"], one["topic"], str(one["partition"]))
            if one["lag"] is not None:
                lag.add_metric(place, one["lag"])
            if one["mark_ms"] is not None:
                seen.add_metric(place, one["mark_ms"] / 1000)
        fresh = GaugeMetricFamily(
            "labeling_freshness_seconds", "From append to rows in SQL.", labels=("quantile",)
        )
        for name, value in self.status()["freshness_s"].items():
            fresh.add_metric((name,), value)
        held = GaugeMetricFamily("labeling_held_events", "Events in memory.")
        held.add_metric([], sum(n for n, _ in self.held.values()))
        memory = GaugeMetricFamily("labeling_held_bytes", "Bytes of memory that they take.")
        memory.add_metric([], sum(b for _, b in self.held.values()))
        yield from (marks, lag, seen, fresh, held, memory)

    @property
    def lowest_source(self) -> int:
        """The lowest ``F`` of all sources, epoch ms."""
        marks = [f for (kind, _), f in self._marks().items() if kind == "source"]
        return min(marks, default=NEVER)

    def floor(self) -> int | None:
        """``lowest_source``, once anything was read."""
        lowest = self.lowest_source
        return lowest if lowest > NEVER else None

    def _marks(self) -> dict[tuple[str, str], int]:
        """``F`` of the store: the lowest of all shards."""
        shards = list(self.passed.values())
        names = sorted({name for shard in shards for name in shard})
        return {name: min(shard.get(name, NEVER) for shard in shards) for name in names}

    def _partitions(self) -> list[dict[str, Any]]:
        return [one for feed in self.feeds for one in feed.partitions()]

    def _problems(self) -> list[str]:
        return [
            f"{feed.source.name} {partition}: {text}"
            for feed in self.feeds
            for partition, text in sorted(feed.problems.items())
        ]


def _time(ms: int) -> str | None:
    return None if ms <= NEVER else datetime.fromtimestamp(ms / 1000, UTC).isoformat()
