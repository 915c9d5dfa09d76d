"""One step of 100 k events while 1, 10 and 90 million are held.

Always holds: users grow with the events held, so that a step closes as many rows and reads as many
events of each user at every size; what differs is how much is held beside them.

Not promised: that 90 million fit a small machine. They take about 10 GB; ``carry`` says what rows
carry, and what is held follows.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from typing import Any, Final

import polars as pl

from benchmarks import data, measure
from benchmarks.step import PARTITION, Counted, Stream, Tally, counting, last_ms
from labeling.engine.keys import user_key
from labeling.engine.state import held, settled
from labeling.engine.watermark import Item
from labeling.model.rule import LabelRule
from labeling.model.window import duration_ms
from labeling.testing.simulator import World, simulate
from rules.note_labels import NOTE_LABELS

SMALL: Final = {"sizes": "20000,40000", "batch": 5_000, "steps": 2}
_USERS: Final = 40  # events held of one user


def run(
    *,
    sizes: str = "1000000,10000000,90000000",
    batch: int = 100_000,
    steps: int = 7,
    seed: int = 1,
    lateness: str = "10m",
    carry: str = "all",
) -> dict[str, Any]:
    """Time steps at several sizes of the state.

    Args:
        sizes: events held, separated by commas.
        batch: events per step.
        steps: how many are timed; the median counts.
        seed: of the logs.
        lateness: events are held for the window and this long.
        carry: columns that rows carry, separated by commas; ``all`` for the rule's own.
    """
    rule = NOTE_LABELS if carry == "all" else replace(NOTE_LABELS, carry=tuple(carry.split(",")))
    results: dict[str, Any] = {}
    for size in (int(s) for s in sizes.split(",")):
        gc.collect()
        results[str(size)] = _at(rule, size, batch, steps, seed, duration_ms(lateness))
        measure.say(f"{size}: {results[str(size)]}")
    told = list(results.values())
    ratio = told[-1]["median_step_ms"] / told[0]["median_step_ms"]
    return {**results, "last_to_first": round(ratio, 3)}


def _at(
    rule: LabelRule, size: int, batch: int, steps: int, seed: int, lateness_ms: int
) -> dict[str, Any]:
    """Fill a state with ``size`` events, then step."""
    before = measure.resident_bytes()
    stream = Stream((rule,), lateness_ms, 0)
    log = _log(size, batch * (steps + 1), seed, rule.reach_ms + lateness_ms)
    rest = _fill(stream, log, size)
    warm, tally = Tally(), Tally()
    with counting() as counted:
        for number, events in enumerate(_sliced(rest, log, batch, steps + 1)):
            stream.feed(events, counted if number else Counted(), tally if number else warm)
    gc.collect()
    height = stream.state.height
    return {
        "held": height,
        "median_step_ms": round(median(tally.each) * 1_000, 1),
        "steps_ms": [round(s * 1_000, 1) for s in tally.each],
        "rows_per_step": tally.rows // steps,
        "evaluated_per_row": round(tally.evaluated / max(tally.rows, 1), 2),
        "bytes_per_held_event": round(stream.state.nbytes / height),
        "resident_per_held_event": round((measure.resident_bytes() - before) / height),
    }


def _log(size: int, more: int, seed: int, span_ms: int) -> Iterator[pl.DataFrame]:
    """A log whose first ``size`` events span the time for which events are held."""
    hours = span_ms * (size + more) / size / 3_600_000
    world = World(users=max(100, size // _USERS))
    return simulate(world, events=size + more, hours=hours, seed=seed, start=data.START)


def _fill(stream: Stream, log: Iterator[pl.DataFrame], size: int) -> pl.DataFrame:
    """Hold the first ``size`` events, as if stepped; returns what is left of the last chunk."""
    taken = 0
    rest = pl.DataFrame()
    while taken < size:
        chunk = next(log)
        part, rest = chunk[: size - taken], chunk[size - taken :]
        taken += part.height
        item = Item(data.SOURCE, PARTITION, part, last_ms(part))
        stream.watermarks, judged = stream.watermarks.judge(item, stream.lateness_ms)
        keyed = judged.with_columns(user_key())
        seen, _ = stream.state.seen.add(keyed)
        now = held(stream.state, keyed, seen)
        stream.state = settled(now, stream.rules, stream.watermarks)
    return rest


def _sliced(
    rest: pl.DataFrame, log: Iterator[pl.DataFrame], batch: int, steps: int
) -> Iterator[pl.DataFrame]:
    """The next so many batches."""
    for _ in range(steps):
        while rest.height < batch:
            rest = pl.concat([rest, next(log)])
        yield rest[:batch]
        rest = rest[batch:]
