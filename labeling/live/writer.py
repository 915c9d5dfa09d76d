"""What the shards made into the store: one transaction for effect and position.

Always holds: a commit takes whole results in, of this run alone; after it the store names every
archived event, every row, and the positions behind them; before it, nothing of them. Rows that
cannot have been published are inserted without a look; all others go through ``changes``.

Not promised: that topics have been written. That follows the commit; see ``outbox``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from labeling.engine.changes import changes
from labeling.engine.watermark import NEVER
from labeling.errors import StoreError
from labeling.io.archive import hour_start
from labeling.io.store import Commit, Counts, Store
from labeling.live.books import position_rows, watermark_rows
from labeling.live.items import Bundle, Place, Position, Result
from labeling.live.outbox import Outbox
from labeling.live.records import reject_records
from labeling.live.resume import Resume
from labeling.model.event import TS
from labeling.model.kinds import Rule
from labeling.model.table import table_of

_HOUR_MS: Final = 3_600_000
_LAST: Final = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Committed:
    """What a commit did: its number, and by rule key what was published, as change records.

    ``inserted`` has key, values and ``point_ts``, ``reason``; ``changed`` is what ``changes`` made.
    """

    number: int
    inserted: Mapping[str, pl.DataFrame]
    changed: Mapping[str, pl.DataFrame]

    def kinds(self) -> dict[tuple[str, str], int]:
        """How many changes were published, by (rule key, kind)."""
        counts = {(key, "insert"): rows.height for key, rows in self.inserted.items()}
        for key, changed in self.changed.items():
            if changed.height:
                for kind, count in changed.group_by("kind").len().iter_rows():
                    counts[key, kind] = counts.get((key, kind), 0) + count
        return counts


class Writer:
    """Takes bundles of results into one store.

    Args:
        store: open for writing, by this process alone.
        rules: those of the flow.
        begin: what the run started from.
        outbox: of the topics to be written; it listens to the store.
        rejects_topic: where rejects go; None: nowhere.
    """

    def __init__(
        self,
        store: Store,
        rules: Sequence[Rule],
        begin: Resume,
        outbox: Outbox,
        *,
        rejects_topic: str | None = None,
    ) -> None:
        self._store = store
        self._rules = rules
        self._begin = begin
        self._outbox = outbox
        self._rejects_topic = rejects_topic
        self._passed = {shard: dict(marks) for shard, marks in begin.passed.items()}
        self._complete = {r.key: self._first_open(r) for r in rules}

    def commit(self, bundles: Sequence[Bundle]) -> Committed:
        """Take bundles in, in one transaction.

        Raises:
            StoreError: a result of another run, the disk is full, the file cannot be written;
                nothing was taken in, and the same call may be made again.
        """
        results = [r for bundle in bundles for r in bundle.results]
        for result in results:
            self._refuse_others(result)
        passed = {shard: dict(marks) for shard, marks in self._passed.items()}
        for result in results:
            passed[result.shard].update(result.passed)
        with self._store.commit("stream") as commit:
            commit.add_files([b.file for b in bundles if b.file is not None])
            sources = _name_features(commit, bundles)
            self._append_events(commit, results)
            made = {r: self._publish(commit, r, results) for r in self._rules}
            for source in sources:
                commit.features(
                    source, pl.concat([r.features[source] for r in results if source in r.features])
                )
            complete = {r: self._close_hours(commit, r, passed) for r in self._rules}
            for rule in self._rules:
                commit.passed(table_of(rule), self.mark(rule), _lowest(passed, rule))
            self._stage_rejects(commit, results)
            self._outbox.note(commit)
        self._outbox.send()
        self._passed = passed
        self._complete |= {r.key: hour for r, hour in complete.items()}
        return Committed(
            commit.number,
            {r.key: inserted for r, (inserted, _) in made.items()},
            {r.key: changed for r, (_, changed) in made.items()},
        )

    def mark(self, rule: Rule) -> int:
        """``F`` of a rule in the store: the lowest of all shards, epoch ms."""
        return _lowest(self._passed, rule)

    def said(self, rule: Rule) -> str:
        """How far a rule has come: its watermark, and the rows that are not final."""
        mark = self.mark(rule)
        if mark <= 0:
            return f"{rule.key}: nothing has passed yet"
        at = datetime.fromtimestamp(mark / 1000, UTC)
        open_from = datetime.fromtimestamp((mark - rule.window_ms) / 1000, UTC)
        table = table_of(rule)
        rows = self._store.rows_between(table, open_from, _LAST)
        waits = ""
        if rows.height:
            last = rows["anchor_ts"].max()
            if isinstance(last, datetime):
                until = last + timedelta(milliseconds=rule.window_ms)
                waits = f"; {rows.height:,} rows wait for event time {until:%Y-%m-%dT%H:%M:%S}Z"
        return f"{rule.key}: the watermark is {at:%Y-%m-%dT%H:%M:%S}Z{waits}"

    def _refuse_others(self, result: Result) -> None:
        if result.run != self._begin.run:
            raise StoreError(
                f"a result of run {result.run} came to run {self._begin.run}: a process of an "
                "earlier run is still there; stop it and start all processes of the flow again"
            )

    def _append_events(self, commit: Commit, results: Sequence[Result]) -> None:
        """All that is not rows: counts, rejects, late events, conflicts, gaps, positions."""
        for counts in _summed(results):
            commit.append_counts(counts)
        commit.append_rejects(pl.concat([r.rejects for r in results]))
        commit.append_late(pl.concat([r.late for r in results]))
        commit.append_conflicts(pl.concat([r.conflicts for r in results]))
        commit.append_gaps(_gap_rows(results))
        # A shard may have made several steps, over other partitions each: the later one stands.
        positions: dict[int, dict[Place, Position]] = {}
        for result in results:
            positions.setdefault(result.shard, {}).update(result.positions)
        commit.set_positions(position_rows(positions))
        commit.set_watermarks(watermark_rows({r.shard: r.passed for r in results}))

    def _publish(
        self, commit: Commit, rule: Rule, results: Sequence[Result]
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """A rule's rows, step by step; those inserted without a look, and the others' changes."""
        told = [
            self._publish_round(commit, rule, [r.rows[rule.key] for r in each])
            for each in _rounds(results)
        ]
        changed = [frame for _, frame in told if frame.height]
        return pl.concat([new for new, _ in told]), pl.concat(changed or [pl.DataFrame()])

    def _publish_round(
        self, commit: Commit, rule: Rule, frames: Sequence[pl.DataFrame]
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows of one step of some shards."""
        rows = pl.concat(frames)
        table = table_of(rule)
        compared = pl.lit(max(self._begin.compared_ms[rule.key], NEVER), pl.Int64).cast(TS)
        fresh = rows.select(pl.col("fresh") & (pl.col("point_ts") >= compared)).to_series()
        new = rows.filter(fresh & rows["present"]).drop("fresh", "present")
        if new.height:
            first = new.with_columns(revision=pl.lit(1, pl.Int32))
            commit.publish_first(table, first, pl.DataFrame())
        known = rows.filter(~fresh).drop("fresh")
        if known.is_empty():
            return new, pl.DataFrame()
        stored = self._store.current(table, known)
        made = changes(stored, known, table.keys, whole=table.whole)
        if made.height:
            commit.publish(table, made)
        return new, made

    def _stage_rejects(self, commit: Commit, results: Sequence[Result]) -> None:
        """Lay the rejects beside the commit; the changes it publishes are heard by the outbox."""
        if self._rejects_topic:
            rejects = pl.concat([r.rejects for r in results])
            self._outbox.stage(commit, self._rejects_topic, reject_records(rejects))

    def _close_hours(
        self, commit: Commit, rule: Rule, passed: Mapping[int, Mapping[tuple[str, str], int]]
    ) -> int:
        """Note the hours that have become complete; the first one that has not, since 1970."""
        first, mark = self._complete[rule.key], _lowest(passed, rule)
        last = (mark - rule.window_ms - 1) // _HOUR_MS
        if mark == NEVER:
            return first
        begin = first if first > NEVER else self._born(rule)
        if begin is None or begin >= last:
            return first
        hours = dict.fromkeys((hour_start(h) for h in range(begin, last)), True)
        commit.set_hours(table_of(rule), hours, archive_commit=commit.number, published_by="stream")
        return last

    def _first_open(self, rule: Rule) -> int:
        """The first hour (since 1970) that the stream has not yet noted as complete."""
        noted = self._store.hours(table_of(rule)).filter(
            (pl.col("published_by") == "stream") & pl.col("complete")
        )["hour"]
        since = self._begin.since_ms[rule.key]
        begin = since // _HOUR_MS if since > NEVER else NEVER
        if noted.is_empty():
            return begin
        newest = noted.max()
        after = int(newest.timestamp()) // 3600 + 1 if isinstance(newest, datetime) else begin
        return max(begin, after)

    def _born(self, rule: Rule) -> int | None:
        """The hour of the first row of a rule that the stream owns from the beginning."""
        name = table_of(rule).table
        tables = self._store.query("SELECT table_name FROM duckdb_tables()")["table_name"]
        if name not in tables:
            return None
        found = self._store.query(f'SELECT min(epoch_ms(anchor_ts)) FROM "{name}"').item()
        return None if found is None else int(found) // _HOUR_MS


def _name_features(commit: Commit, bundles: Sequence[Bundle]) -> list[str]:
    """Name the bundles' files of features; their sources."""
    sources = sorted({source for b in bundles for source in b.features})
    for source in sources:
        files = [b.features[source] for b in bundles if source in b.features]
        commit.add_feature_files(source, files)
    return sources


def _lowest(passed: Mapping[int, Mapping[tuple[str, str], int]], rule: Rule) -> int:
    return min(marks.get(("rule", rule.key), NEVER) for marks in passed.values())


def _rounds(results: Sequence[Result]) -> list[list[Result]]:
    """The results in rounds of one of each shard: a shard's steps follow one another."""
    rounds: list[list[Result]] = []
    made: dict[int, int] = {}
    for result in results:
        place = made.get(result.shard, 0)
        made[result.shard] = place + 1
        if place == len(rounds):
            rounds.append([])
        rounds[place].append(result)
    return rounds


def _summed(results: Sequence[Result]) -> list[Counts]:
    """One row of counts for each source."""
    by_source: dict[str, list[Counts]] = {}
    for result in results:
        for counts in result.counts:
            by_source.setdefault(counts.source, []).append(counts)
    return [
        Counts(
            source=source,
            **{
                name: sum(asdict(c)[name] for c in counts)
                for name in asdict(counts[0])
                if name != "source"
            },
        )
        for source, counts in sorted(by_source.items())
    ]


def _gap_rows(results: Sequence[Result]) -> pl.DataFrame:
    rows = [
        (*m.place, m.gap.from_offset, m.gap.to_offset, m.mark_ms, m.next_ms)
        for result in results
        for m in result.gaps
    ]
    names = ("source", "cluster", "topic", "partition", "from_offset", "to_offset")
    frame = pl.DataFrame(rows, schema=[*names, "from_ts", "to_ts"], orient="row")
    return frame.with_columns(pl.col("from_ts", "to_ts").cast(pl.Int64).cast(TS))
