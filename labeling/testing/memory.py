"""A store in memory: what the commits of one rule's stream leave behind, and nothing else.

Always holds: effect and position move together, in ``commit`` alone; ``restart`` makes a state of
what was committed and the archive's tail, so that whoever throws a state away loses nothing.

Not promised: more than one process, or that anything outlives it. The store on disk keeps the
same things in a transaction of DuckDB.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from labeling.engine.changes import apply, changes
from labeling.engine.step import Out, State, restore, start, step
from labeling.engine.watermark import NEVER, Item, Source, Watermarks
from labeling.model.event import TS, event_schema
from labeling.model.kinds import Rule
from labeling.model.table import table_of

_SOURCE = "case"
_PARTITION = "0"


@dataclass(frozen=True)
class Taken:
    """A step that was made and not committed: the first ``events`` after the position."""

    events: int
    state: State
    watermarks: Watermarks
    out: Out


@dataclass
class MemoryStore:
    """What was committed.

    ``consumed`` is the position: how many events of the input were taken. ``archive`` holds
    accepted and too late events as they were committed, with ``arrival``; ``stored`` the rows
    as ``changes`` takes them; ``published`` the changes of the commits that had rows.
    """

    rule: Rule
    lateness_ms: int
    watermarks: Watermarks
    stored: pl.DataFrame
    consumed: int = 0
    archive: list[pl.DataFrame] = field(default_factory=list)
    published: list[pl.DataFrame] = field(default_factory=list)

    @staticmethod
    def empty(rule: Rule, *, max_disorder_ms: int, lateness_ms: int) -> MemoryStore:
        """A store before its first commit, fed by one source of one partition."""
        source = Source(_SOURCE, max_disorder_ms, (_PARTITION,))
        watermarks = Watermarks.start((source,), (rule,))
        return MemoryStore(rule, lateness_ms, watermarks, nothing_stored(rule))

    @property
    def rows(self) -> pl.DataFrame:
        """The current rows: columns of the rule's ``row_schema``."""
        return current(self.rule, self.stored)

    @property
    def archived(self) -> pl.DataFrame:
        """Every archived event, in the order of the commits, with ``arrival``."""
        schema = {**event_schema(self.rule.columns), "arrival": pl.String()}
        return pl.concat(
            [pl.DataFrame(schema=schema), *(f.select(list(schema)) for f in self.archive)]
        )

    def fresh(self) -> State:
        """The state before the first step."""
        return start((self.rule,), lateness_ms=self.lateness_ms, since_ms={})

    def take(self, state: State, events: pl.DataFrame, *, ended: bool = False) -> Taken:
        """Make one step over one item and commit nothing.

        Args:
            state: as of the last commit.
            events: the next events of the input, in its order; may be empty.
            ended: the input ends with this item.

        Raises:
            RuntimeError: events went missing, or were counted twice (law 5).
        """
        highest = events["event_ts"].dt.epoch("ms").max() if events.height else None
        top = highest if isinstance(highest, int) else None
        item = Item(_SOURCE, _PARTITION, events, top, ended=ended)
        watermarks, judged = self.watermarks.judge(item, self.lateness_ms)
        state, out = step((self.rule,), state, judged, watermarks)
        counted = out.accepted.height + out.too_late.height + out.duplicates.height
        if counted != events.height:
            raise RuntimeError(f"{events.height} events went in, {counted} are accounted for")
        return Taken(events.height, state, watermarks, out)

    def commit(self, taken: Taken) -> State:
        """Keep what a step made, all of it, and go on from its state."""
        rows = taken.out.rows[self.rule.key].drop("fresh")
        # Most steps of a few events publish nothing; the first gives the changes their columns.
        if rows.height or not self.published:
            table = table_of(self.rule)
            made = changes(self.stored, rows, table.keys, whole=table.whole)
            self.stored = apply(self.stored, made, table.keys)
            self.published.append(made)
        self.archive += [
            frame for frame in (taken.out.accepted, taken.out.too_late) if frame.height
        ]
        self.watermarks = taken.watermarks
        self.consumed += taken.events
        return taken.state

    def restart(self) -> State:
        """The state as of the last commit, from the archive's tail: no older event can matter."""
        mark = self.watermarks.of_rule(self.rule)
        tail = self.archived.filter(pl.col("arrival") != "too_late")
        if mark > NEVER:
            oldest = mark - self.lateness_ms - self.rule.reach_ms
            tail = tail.filter(pl.col("event_ts").dt.epoch("ms") >= oldest)
        return restore(
            (self.rule,), [tail], self.watermarks, lateness_ms=self.lateness_ms, since_ms={}
        )


def nothing_stored(rule: Rule) -> pl.DataFrame:
    """The stored rows of a rule before anything was published."""
    schema = {**rule.row_schema, "revision": pl.Int32(), "present": pl.Boolean()}
    return pl.DataFrame(schema=schema)


def current(rule: Rule, stored: pl.DataFrame) -> pl.DataFrame:
    """The rows that are there, without their book-keeping: the rule's ``row_schema``."""
    return stored.filter("present").select(list(rule.row_schema))


def block(events: pl.DataFrame, low_ms: int, high_ms: int) -> pl.DataFrame:
    """The events from ``low_ms`` to ``high_ms``, both inclusive, as replay reads them."""
    low, high = (pl.lit(t, dtype=pl.Int64).cast(TS) for t in (low_ms, high_ms))
    inside = events.filter(pl.col("event_ts").is_between(low, high))
    return inside.sort("user_id", "event_ts", "event_id", maintain_order=True)
