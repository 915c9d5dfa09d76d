"""``step`` over a log in micro-batches of several sizes, by one rule or by several.

Always holds: a batch is the next so many events of the log, judged and stepped as a stream would;
figures are of the steady state, when events leave the memory as fast as they come. Of several
rules each is also stepped by itself.

Not promised: decoding, the archive, the store: ``step`` alone is timed, with judging. Nor that
rules cost together what they cost by themselves: identities are held once, and what several read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final
from unittest.mock import patch

import polars as pl

from benchmarks import data, measure
from labeling.engine import grouped as engine_grouped
from labeling.engine import step as engine_step
from labeling.engine.evaluate import evaluate, labels_at
from labeling.engine.step import State, start, step
from labeling.engine.watermark import NEVER, Item, Source, Watermarks
from labeling.model.kinds import Rule
from labeling.model.window import duration_ms

SMALL: Final = {"events": 200_000, "hours": 2.0, "batches": "50000"}
PARTITION: Final = "0"


@dataclass
class Counted:
    """Events that were evaluated."""

    events: int = 0


@contextmanager
def counting() -> Iterator[Counted]:
    """Count the events that ``step`` evaluates."""
    counted = Counted()

    def telling(found: Callable[..., pl.DataFrame]) -> Callable[..., pl.DataFrame]:
        def count(rule: Rule, events: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
            counted.events += events.height
            return found(rule, events, asked)

        return count

    with ExitStack() as stack:
        stack.enter_context(patch.object(engine_step, "labels_at", telling(labels_at)))
        stack.enter_context(patch.object(engine_grouped, "evaluate", telling(evaluate)))
        yield counted


@dataclass
class Tally:
    """What some steps did: one entry or sum over them."""

    events: int = 0
    rows: int = 0
    evaluated: int = 0
    took: measure.Took = field(default_factory=measure.Took)
    each: list[float] = field(default_factory=list)


@dataclass
class Stream:
    """A source of one partition, stepped batch by batch."""

    rules: tuple[Rule, ...]
    lateness_ms: int
    disorder_ms: int
    state: State = field(init=False)
    watermarks: Watermarks = field(init=False)

    def __post_init__(self) -> None:
        """Before the first event."""
        source = Source(data.SOURCE, self.disorder_ms, (PARTITION,))
        self.watermarks = Watermarks.start((source,), self.rules)
        self.state = start(self.rules, lateness_ms=self.lateness_ms, since_ms={})

    @property
    def mark(self) -> int:
        """The lowest ``F`` of the rules, epoch ms."""
        return min(self.watermarks.of_rule(rule) for rule in self.rules)

    def feed(self, events: pl.DataFrame, counted: Counted, tally: Tally) -> None:
        """Judge and step one batch."""
        before = counted.events
        item = Item(data.SOURCE, PARTITION, events, last_ms(events))
        with measure.timed() as took:
            self.watermarks, batch = self.watermarks.judge(item, self.lateness_ms)
            self.state, out = step(self.rules, self.state, batch, self.watermarks)
        tally.events += events.height
        tally.rows += sum(rows.height for rows in out.rows.values())
        tally.evaluated += counted.events - before
        tally.took.seconds += took.seconds
        tally.took.cpu_seconds += took.cpu_seconds
        tally.each.append(took.seconds)


def last_ms(events: pl.DataFrame) -> int:
    """The highest event time, epoch ms."""
    return int(events["event_ts"].dt.epoch("ms").max())  # type: ignore[arg-type] # an integer


def run(
    *,
    events: int = 10_000_000,
    hours: float = 3.0,
    seed: int = 1,
    batches: str = "10000,100000,500000",
    lateness: str = "10m",
    disorder: str = "30s",
    rules: str = "note_labels",
) -> dict[str, Any]:
    """Drive ``step`` over a simulated log, once for each batch size.

    Args:
        events: of the log.
        hours: that it spans; the memory is full after the longest reach and lateness.
        seed: of the log.
        batches: events per step, separated by commas.
        lateness: how far below the watermark an event still corrects.
        disorder: ``max_disorder`` of the source.
        rules: shipped rules, separated by commas, or ``hot``: those that a flow would stream.
    """
    chosen = data.shipped(rules)
    log = data.log(events, hours, seed)
    waits = duration_ms(lateness), duration_ms(disorder)
    told = {}
    for size in (int(s) for s in batches.split(",")):
        told[f"batches_of_{size}"] = _driven(chosen, log, size, *waits)
        if len(chosen) > 1:
            told[f"batches_of_{size}"]["alone"] = {
                rule.name: _driven((rule,), log, size, *waits) for rule in chosen
            }
    return told


def _driven(
    rules: tuple[Rule, ...], log: pl.DataFrame, size: int, lateness_ms: int, disorder_ms: int
) -> dict[str, Any]:
    """The figures of one batch size."""
    stream = Stream(rules, lateness_ms, disorder_ms)
    reach_ms = max(rule.reach_ms for rule in rules)
    full = data.START.timestamp() * 1_000 + reach_ms + lateness_ms
    warm, steady = Tally(), Tally()
    with counting() as counted:
        for batch in log.iter_slices(size):
            stream.feed(
                batch, counted, steady if stream.mark != NEVER and stream.mark >= full else warm
            )
    held = max(stream.state.height, 1)
    whole = measure.Took(
        warm.took.seconds + steady.took.seconds, warm.took.cpu_seconds + steady.took.cpu_seconds
    )
    told = {
        "overall": whole.told(log.height),
        "steady": steady.took.told(steady.events),
        "steps": len(steady.each),
        "median_step_ms": round(median(steady.each or [0.0]) * 1_000, 1),
        "rows": steady.rows,
        "evaluated_per_row": round(steady.evaluated / max(steady.rows, 1), 2),
        "held": stream.state.height,
        "bytes_per_held_event": round(stream.state.nbytes / held),
        "state_mb": round(stream.state.nbytes / 1e6, 1),
        "identities_mb": round(stream.state.seen.nbytes / 1e6, 1),
        "cpu_us_per_event": round(steady.took.cpu_seconds * 1e6 / max(steady.events, 1), 3),
    }
    measure.say(f"{size}: {told}")
    return told
