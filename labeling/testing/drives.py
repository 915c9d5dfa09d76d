"""Ways to drive the engine over one arrival of events: each must end with the same rows.

Always holds: every drive sees the same events, accepts the same ones and ends the source, so that
every point passes; what a drive draws at random follows from its seeds alone. An event
that is too late in the order of arrival is too late in every drive.

Not promised: the same changes where an event is late. How a correction is cut into revisions
depends on what had passed when it came; a ``Run`` says whether its changes can be compared.

    one_batch        the fewest steps that leave the too late events too late, the end with the last
    event_by_event   a step per event; the drive that changes are written down from
    split_in_two     every way to cut the arrival in two steps; in the middle if nothing is late
    random_splits    batches of random sizes, empty ones among them
    shuffled         another arrival within the disorder, or within the lateness
    doubled          every event a second time at a random place after the first
    crash_restart    steps lost before or states lost after their commit, again and again
    replay           evaluate over hours of the archive, no stream at all
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl

from labeling.engine.changes import apply, changes
from labeling.engine.evaluate import evaluate
from labeling.engine.points import points
from labeling.model.table import table_of
from labeling.testing.arrival import Arrival
from labeling.testing.memory import MemoryStore, Taken, block, current, nothing_stored

_HOUR_MS: Final = 3_600_000
#: How often a crash comes before a commit, and how often after one.
_LOST: Final = 0.4
_FORGOTTEN: Final = 0.5


@dataclass(frozen=True)
class Run:
    """One pass of a drive over an arrival.

    ``rows``: columns of the rule's ``row_schema``, those present at the end. ``changes``: in the
    order of publication, or None where they may differ from those event by event. ``reasons``:
    whether reasons can be compared. ``outcomes``: of each event, where the drive knows.
    """

    label: str
    rows: pl.DataFrame
    changes: pl.DataFrame | None
    reasons: bool = True
    outcomes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Drive:
    """A named way to run an arrival, once or several times."""

    name: str
    runs: Callable[[Arrival], Iterator[Run]]


def _one_batch(arrival: Arrival) -> Iterator[Run]:
    yield _streamed(arrival, arrival.too_late, "", end_apart=False)


def _event_by_event(arrival: Arrival) -> Iterator[Run]:
    store = _store(arrival)
    state = store.fresh()
    outcomes = []
    for place in range(arrival.events.height):
        taken = store.take(state, arrival.events[place : place + 1])
        outcomes.append(_outcome(taken))
        state = store.commit(taken)
    store.commit(store.take(state, arrival.events.clear(), ended=True))
    yield Run("", store.rows, _published(store), outcomes=tuple(outcomes))


def _outcome(taken: Taken) -> str:
    if taken.out.too_late.height:
        return "too_late"
    return "duplicate" if taken.out.duplicates.height else str(taken.out.accepted["arrival"][0])


def _split_in_two(arrival: Arrival) -> Iterator[Run]:
    places = range(1, arrival.events.height)
    if arrival.in_bound:
        places = places[len(places) // 2 :][:1]
    for cut in places:
        yield _streamed(
            arrival, (*arrival.too_late, cut), f"cut after event {cut}", end_apart=False
        )


def _random_splits(arrival: Arrival) -> Iterator[Run]:
    for seed in range(2):
        rng = np.random.default_rng(seed)
        cuts = rng.integers(0, arrival.events.height + 1, rng.integers(1, 5)).tolist()
        yield _streamed(arrival, (*arrival.too_late, *cuts), f"seed {seed}", end_apart=seed > 0)


def _shuffled(arrival: Arrival) -> Iterator[Run]:
    # Sorting by time plus up to S puts no event more than S below one before it.
    spread = arrival.max_disorder_ms + (0 if arrival.in_bound else arrival.lateness_ms)
    last = set(arrival.too_late)
    times = arrival.events["event_ts"].dt.epoch("ms").to_list()
    identity = arrival.events.select("user_id", "event_ts", "event_id").rows()
    for seed in range(2):
        rng = np.random.default_rng(seed)
        moved = [ts + int(rng.integers(0, spread + 1)) for ts in times]
        order = sorted((i for i in range(len(times)) if i not in last), key=moved.__getitem__)
        order = _repeats_in_order(order, identity)
        yield _streamed(
            arrival.of([*order, *arrival.too_late]),
            [*range(1, len(times), seed + 2), *range(len(order), len(times))],
            f"seed {seed}, order {[i + 1 for i in order]}",
            compared=arrival.in_bound,
        )


def _repeats_in_order(order: list[int], identity: Sequence[object]) -> list[int]:
    """Of events with one identity the first stays first: another content would else win."""
    slots: dict[object, list[int]] = {}
    for slot, place in enumerate(order):
        slots.setdefault(identity[place], []).append(slot)
    settled = list(order)
    for taken in slots.values():
        for slot, place in zip(taken, sorted(order[s] for s in taken), strict=True):
            settled[slot] = place
    return settled


def _doubled(arrival: Arrival) -> Iterator[Run]:
    rng = np.random.default_rng(0)
    order: list[int] = []
    for place in reversed(range(arrival.events.height)):
        order.insert(int(rng.integers(0, len(order) + 1)), place)
        order.insert(0, place)
    twice = arrival.of(order)
    size = 2 if arrival.in_bound else 1
    yield _streamed(twice, range(size, twice.events.height, size), "", compared=True)


def _crash_restart(arrival: Arrival) -> Iterator[Run]:
    for seed in range(2):
        rng = np.random.default_rng(seed)
        one_by_one = seed == 0
        store = _store(arrival)
        state = store.fresh()
        ended = False
        while not ended:
            size = 1 if one_by_one else int(rng.integers(0, 5))
            stop = min(store.consumed + size, _next(arrival.too_late, store.consumed))
            events = arrival.events[store.consumed : stop]
            ended = store.consumed == arrival.events.height
            taken = store.take(state, events, ended=ended)
            if rng.random() < _LOST:
                state = store.restart()
                ended = False
                continue
            state = store.commit(taken)
            if rng.random() < _FORGOTTEN:
                state = store.restart()
        compared = one_by_one or arrival.in_bound
        yield Run(f"seed {seed}", store.rows, _published(store) if compared else None)


def _next(too_late: Sequence[int], consumed: int) -> int:
    """Where a step must stop, so that a too late event is judged by all before it."""
    return next((place for place in too_late if place > consumed), 2**62)


def _replay(arrival: Arrival) -> Iterator[Run]:
    rule = arrival.rule
    taken = set(arrival.too_late)
    kept = arrival.of([i for i in range(arrival.events.height) if i not in taken]).events
    archive = kept.unique(["user_id", "event_ts", "event_id"], keep="first", maintain_order=True)
    stored, published, table = nothing_stored(rule), [], table_of(rule)
    hours = sorted({ts // _HOUR_MS for ts in archive["event_ts"].dt.epoch("ms").to_list()})
    for hour in hours:
        low, high = hour * _HOUR_MS, (hour + 1) * _HOUR_MS - 1
        read = block(archive, low - rule.looks_back_ms, high + rule.looks_ahead_ms)
        asked = points(rule, read)
        mine = asked["event_ts"].dt.epoch("ms").is_between(low, high)
        rows = evaluate(rule, read, asked.filter(mine))
        reasoned = rows.with_columns(reason=pl.lit("replay"))
        made = changes(stored, reasoned, table.keys, whole=table.whole)
        stored = apply(stored, made, table.keys)
        published.append(made)
    comparable = pl.concat(published) if published and arrival.in_bound else None
    yield Run("", current(rule, stored), comparable, reasons=False)


def _streamed(
    arrival: Arrival,
    cuts: Sequence[int],
    label: str,
    *,
    end_apart: bool = True,
    compared: bool | None = None,
) -> Run:
    """The arrival in batches between the cuts; a cut twice makes an empty batch."""
    store = _store(arrival)
    state = store.fresh()
    edges = [0, *sorted(cuts), arrival.events.height]
    pairs = list(pairwise(edges))
    for n, (low, high) in enumerate(pairs, 1):
        last = n == len(pairs) and not end_apart
        state = store.commit(store.take(state, arrival.events[low:high], ended=last))
    if end_apart:
        store.commit(store.take(state, arrival.events.clear(), ended=True))
    comparable = arrival.in_bound if compared is None else compared
    return Run(label, store.rows, _published(store) if comparable else None)


def _store(arrival: Arrival) -> MemoryStore:
    return MemoryStore.empty(
        arrival.rule, max_disorder_ms=arrival.max_disorder_ms, lateness_ms=arrival.lateness_ms
    )


def _published(store: MemoryStore) -> pl.DataFrame:
    return pl.concat(store.published)


EVENT_BY_EVENT: Final = Drive("event_by_event", _event_by_event)

#: Every drive in memory. Whoever has files and a store adds a drive of their own.
DRIVES: Final = (
    Drive("one_batch", _one_batch),
    EVENT_BY_EVENT,
    Drive("split_in_two", _split_in_two),
    Drive("random_splits", _random_splits),
    Drive("shuffled", _shuffled),
    Drive("doubled", _doubled),
    Drive("crash_restart", _crash_restart),
    Drive("replay", _replay),
)
