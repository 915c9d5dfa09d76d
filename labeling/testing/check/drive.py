"""The laws about arriving and publishing: however events come in, whatever stood there before.

Always holds: streams run through ``step`` and the store in memory, with restarts from the archive's
tail and with repeats of events.

Not promised: anything about the drivers beyond what a rule can break. The engine's own tests do
that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Final

import polars as pl

from labeling.engine.changes import apply, changes
from labeling.model.event import IDENTITY
from labeling.model.table import table_of
from labeling.testing.check.finding import ROW, Broken, Cell
from labeling.testing.check.subject import Subject, Unrunnable, line, rows_of
from labeling.testing.memory import MemoryStore, current, nothing_stored

_DISORDER_MS: Final = (0, 1, 1000)
_STEPS: Final = 4
#: One event in so many comes a second time.
_REPEATED: Final = 5


def batches(subject: Subject) -> Broken | None:
    """How events are cut into batches, and in which order they come, changes no row (law 1)."""
    try:
        # Where there are no rows to compare with, nothing has to be driven to see it.
        expected = subject.rows
        return _in_bound(subject, expected) or _late(subject, expected)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        cells = (Cell({}, ROW, "rows", line(error)),)
        return Broken("cannot be computed in batches", cells, subject.events)


def _in_bound(subject: Subject, expected: pl.DataFrame) -> Broken | None:
    """Nothing late: every row at every point is as evaluated from all events at once."""
    rng = Random(f"{subject.seed} batches")  # noqa: S311 - a draw, not a secret
    disorder = rng.choice(_DISORDER_MS)
    jitter = pl.duration(milliseconds=subject.lot("jitter") % (disorder + 1))
    arrived = subject.events.sort(pl.col("event_ts") + jitter, *IDENTITY)
    store = _store(subject, disorder)
    rows = pl.concat(list(_published(subject, store, arrived, rng)))
    said = "not the same in batches (by time, with restarts and repeats) as all at once"
    filled = _filled(subject.rule.row_keys, rows.select(expected.columns), expected)
    return subject.compared(said, expected, filled)


def _filled(keys: Sequence[str], rows: pl.DataFrame, expected: pl.DataFrame) -> pl.DataFrame:
    """With the rows that ``step`` leaves out: each equals its key's at the point before."""
    at = [*keys, "point_ts"]
    told = rows.select(*at, said=pl.struct(pl.all().exclude(at)))
    pairs = pl.concat([expected.select(at), rows.select(at)]).unique().sort(at)
    line = pairs.join(told, on=at, how="left", maintain_order="left")
    full = line.with_columns(pl.col("said").forward_fill().over(keys)).drop_nulls("said")
    return full.unnest("said").select(rows.columns)


def _late(subject: Subject, expected: pl.DataFrame) -> Broken | None:
    """Events in any order, late ones corrected: the rows in the end are those of all events."""
    rng = Random(f"{subject.seed} late")  # noqa: S311 - a draw, not a secret
    store = _store(subject, 0)
    arrived = subject.events.sort(subject.lot("arrival"), *IDENTITY)
    for _ in _published(subject, store, arrived, rng):
        pass
    said = "not the same in the end when events come late (with restarts and repeats)"
    return subject.compared(said, subject.last(expected), store.rows)


def _store(subject: Subject, disorder_ms: int) -> MemoryStore:
    """A store in which no event is ever too late."""
    times = subject.events["event_ts"].dt.epoch("ms")
    span = int(times[times.arg_max()] - times[times.arg_min()]) if times.len() else 0  # type: ignore[index]  # not empty here
    lateness = span + 2 * subject.rule.reach_ms
    return MemoryStore.empty(subject.rule, max_disorder_ms=disorder_ms, lateness_ms=lateness)


def _published(
    subject: Subject, store: MemoryStore, arrived: pl.DataFrame, rng: Random
) -> Iterator[pl.DataFrame]:
    """What each step over the arrived events returns, some events coming twice."""
    again = arrived.filter(subject.lot("repeat") % _REPEATED == 0)
    arrived = pl.concat([arrived, again])
    size = -(-arrived.height // _STEPS)
    cuts = sorted({rng.randint(0, arrived.height) for _ in range(_STEPS)})
    # A few events come one by one: any cut may be what shows a fault.
    edges = [0, *(cuts if size > 1 else range(1, arrived.height)), arrived.height]
    state = store.fresh()
    for low, high in pairwise(edges):
        taken = store.take(state, arrived[low:high])
        yield taken.out.rows[subject.rule.key]
        state = store.commit(taken)
        if rng.random() < 0.5:  # noqa: PLR2004 - every other time
            state = store.restart()
    taken = store.take(state, arrived.clear(), ended=True)
    yield taken.out.rows[subject.rule.key]
    store.commit(taken)


def published(subject: Subject) -> Broken | None:
    """What is published goes from any earlier rows to the new ones, and is silent then (law 4)."""
    rule = subject.rule
    rows = subject.rows.with_columns(reason=pl.lit("late"))
    some = subject.events.filter(subject.lot("before") % 2 == 0)
    before = _before(subject, some)
    if isinstance(before, Broken):
        return before
    nothing, table = nothing_stored(rule), table_of(rule)
    stored = apply(nothing, changes(nothing, before, table.keys, whole=table.whole), table.keys)
    made = changes(stored, rows, table.keys, whole=table.whole)
    now = apply(stored, made, table.keys)
    wanted = subject.last(subject.rows)
    found = subject.compared(
        "not what older rows and the changes since give", wanted, current(rule, now)
    )
    found = found or subject.compared(
        "not what the same changes give when they are applied twice",
        wanted,
        current(rule, apply(now, made, table.keys)),
    )
    final = changes(now, subject.latest(rows), table.keys, whole=table.whole)
    return found or _silent(subject, final)


def _before(subject: Subject, events: pl.DataFrame) -> pl.DataFrame | Broken:
    try:
        return rows_of(subject.rule, events).with_columns(reason=pl.lit("point"))
    except Unrunnable as error:
        cells = (Cell({}, ROW, "rows", str(error)),)
        return Broken("cannot be computed from some of the events", cells, subject.events)


def _silent(subject: Subject, made: pl.DataFrame) -> Broken | None:
    """Rows that did not change make no change."""
    keys = ["point_ts", *subject.rule.row_keys]
    cells = tuple(
        Cell(row, _changed(row), "no change", str(row["kind"]))
        for row in made.select(*keys, "kind", "old", "new").iter_rows(named=True)
    )
    said = "as it was, and yet there is a change"
    return Broken(said, cells, subject.events) if cells else None


def _changed(row: dict[str, object]) -> str:
    """The first column in which old and new differ."""
    old, new = row["old"], row["new"]
    if isinstance(old, dict) and isinstance(new, dict):
        return next((c for c in old if old[c] != new[c]), ROW)
    return ROW
