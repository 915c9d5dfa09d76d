"""The engine's stream behind the model's interface: the same cases, tables, changes and counts.

Always holds: a step is committed whole or not at all; after a crash only what was committed is
used: the watermarks, the stored rows and the archive's tail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from labeling.engine import watermark
from labeling.engine.changes import apply, changes
from labeling.engine.keys import user_key
from labeling.engine.step import Out, restore, start, step
from labeling.model.kinds import Rule
from labeling.model.table import table_of
from tests.engine_drive import dicts, frame, in_order, plain
from tests.model.assign import identity
from tests.model.clock import Item
from tests.strategies import LATENESS_MS, Case


def empty_table(rule: Rule) -> pl.DataFrame:
    """A rule's stored rows before the first."""
    extra = {"revision": pl.Int32(), "present": pl.Boolean()}
    return pl.DataFrame(schema={**rule.row_schema, **extra})


class Shard:
    """One shard's memory, and what it committed."""

    def __init__(self, rules: Sequence[Rule], since_ms: Mapping[str, int]) -> None:
        self.rules, self.since_ms = tuple(rules), dict(since_ms)
        self.state = start(rules, lateness_ms=LATENESS_MS, since_ms=self.since_ms)
        self.archive = [frame([]).with_columns(arrival=pl.lit("on_time"))]
        self.tables = {r.key: empty_table(r) for r in rules}

    def crash(self, marks: watermark.Watermarks) -> None:
        """Memory is lost and read back from the archive's tail, nothing older than it must be."""
        kept = pl.concat(self.archive)
        bounds = [marks.of_rule(r) - r.reach_ms for r in self.rules]
        low = min(*bounds, *(marks.of_source(s.name) for s in marks.specs))
        tail = kept.filter(pl.col("event_ts").cast(pl.Int64) >= low - LATENESS_MS)
        recent = pl.col("event_ts").cast(pl.Int64) >= marks.lowest_source - LATENESS_MS
        columns = sorted(set().union(*(r.event_columns for r in self.rules)))
        half = tail.height // 2
        self.state = restore(
            self.rules,
            [part.filter(recent) for part in (tail[:half], tail[half:])],
            marks,
            lateness_ms=LATENESS_MS,
            since_ms=self.since_ms,
            older=[tail.filter(~recent).select(columns)],
        )

    def take(
        self, batch: pl.DataFrame, marks: watermark.Watermarks, *, crash: bool
    ) -> tuple[Out, dict[str, pl.DataFrame]]:
        """A step and its commit; with ``crash`` it is lost before the commit and done again."""
        state, out = step(self.rules, self.state, batch, marks)
        if crash:
            state, out = step(self.rules, self.state, batch, marks)
        made = {}
        for r in self.rules:
            rows = out.rows[r.key].drop("fresh")
            stored, table = self.tables[r.key], table_of(r)
            made[r.key] = changes(stored, rows, table.keys, whole=table.whole)
            self.tables[r.key] = apply(stored, made[r.key], table.keys)
        self.state = state
        self.archive.append(out.accepted)
        return out, made


class EngineStream:
    """All shards of a case, and the watermarks that they agree on."""

    def __init__(
        self,
        rules: Sequence[Rule],
        case: Case,
        shards: int = 1,
        since_ms: Mapping[str, int] | None = None,
    ) -> None:
        specs = [
            watermark.Source(s.name, s.max_disorder_ms, s.partitions, s.event_types)
            for s in case.sources
        ]
        self.rules = tuple(rules)
        self.marks = watermark.Watermarks.start(specs, self.rules)
        self.shards = [Shard(self.rules, since_ms or {}) for _ in range(shards)]
        self.counts = (0, 0, 0)
        self.conflicts = 0
        self.archived: list[dict[str, Any]] = []

    def step(
        self, items: Sequence[Item], *, crash: bool = False
    ) -> dict[str, list[dict[str, Any]]]:
        """All shards through the same items; returns the changes by rule, by time and key."""
        if crash:
            for shard in self.shards:
                shard.crash(self.marks)
        made: dict[str, list[dict[str, Any]]] = {r.key: [] for r in self.rules}
        after, self.conflicts = self.marks, 0
        for n, shard in enumerate(self.shards):
            after, batch = self._judged(items, n)
            out, found = shard.take(batch, after, crash=crash)
            told = (out.too_late.height, out.duplicates.height, out.accepted.height)
            self.counts = (
                self.counts[0] + told[0],
                self.counts[1] + told[1],
                self.counts[2] + told[2],
            )
            self.conflicts += int(out.duplicates["conflict"].sum())
            self.archived += out.accepted.rows(named=True) + out.too_late.rows(named=True)
            for name, changed in found.items():
                made[name] += dicts(changed)
        self.marks = after
        return {name: sorted(rows, key=in_order) for name, rows in made.items()}

    def _judged(
        self, items: Sequence[Item], shard: int
    ) -> tuple[watermark.Watermarks, pl.DataFrame]:
        """One shard's part of the items, judged, and the marks after them."""
        marks, parts = self.marks, [frame([]).with_columns(arrival=pl.lit("on_time"))]
        for i in items:
            mine = frame(i.events)
            mine = mine.filter(user_key() % len(self.shards) == shard)
            given = watermark.Item(i.source, i.partition, mine, i.max_ts_ms, i.idle, i.ended)
            marks, judged = marks.judge(given, LATENESS_MS)
            parts.append(judged)
        return marks, pl.concat(parts)

    def arrivals(self) -> list[tuple[Any, ...]]:
        """Identity and arrival of everything archived, sorted."""
        return sorted((*identity(plain(e)), e["arrival"]) for e in self.archived)

    def tables(self, rule: Rule) -> dict[tuple[Any, ...], tuple[int, dict[str, Any] | None]]:
        """Key to (revision, values or None where retracted)."""
        found = {}
        for row in (r for shard in self.shards for r in dicts(shard.tables[rule.key])):
            revision, present = row.pop("revision"), row.pop("present")
            key = tuple(row.pop(k) for k in rule.row_keys)
            found[key] = (revision, row if present else None)
        return found
