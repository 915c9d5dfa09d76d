"""What a state finds by key and number is what plain lists find, whatever was merged or dropped."""

from __future__ import annotations

from random import Random

import numpy as np
import polars as pl
import pytest

from labeling.engine import log as log_module
from labeling.engine.log import Log
from labeling.engine.runs import Entries, Runs, distinct
from labeling.model.event import TS

#: The second is longer than 32 bits of milliseconds: times are then held in full.
SPANS_MS = (50, 2**33)


def batches(rng: Random, span_ms: int) -> list[list[tuple[int, int]]]:
    """Keys, some of them hot, with times in no order, in batches of many sizes."""
    sizes = [rng.choice((0, 1, 3, 40)) for _ in range(40)]
    keys = [*range(5), *range(2**63, 2**63 + 40)]
    return [[(rng.choice(keys), rng.randrange(span_ms)) for _ in range(n)] for n in sizes]


def entries(some: list[tuple[int, int]], first: int) -> Entries:
    """Arrays of what is in a batch; rows are numbered from ``first`` on."""
    return Entries(
        np.array([k for k, _ in some], np.uint64),
        np.array([t for _, t in some], np.int64),
        np.arange(first, first + len(some), dtype=np.int64),
    )


def filled(rng: Random, span_ms: int) -> tuple[Runs, list[tuple[int, int, int]]]:
    """Runs and a list of the same (key, time, row)."""
    runs = Runs()
    listed: list[tuple[int, int, int]] = []
    for some in batches(rng, span_ms):
        runs = runs.add(entries(some, len(listed)))
        listed += [(k, t, len(listed) + n) for n, (k, t) in enumerate(some)]
    return runs, listed


@pytest.mark.parametrize("span_ms", SPANS_MS)
@pytest.mark.parametrize("seed", range(4))
def test_runs_find_what_a_list_finds(span_ms: int, seed: int) -> None:
    """Every entry of the keys asked for in the span, both ends inclusive, and no other."""
    rng = Random(seed)
    runs, listed = filled(rng, span_ms)
    assert len(runs.runs) < 20
    for _ in range(20):
        keys = set(rng.sample([*range(8), *range(2**63, 2**63 + 50)], 12))
        low, high = sorted(rng.choices([t for _, t, _ in listed], k=2))
        found = runs.find(np.array(sorted(keys), np.uint64), low, high)
        got = sorted(zip(*(a.tolist() for a in (found.keys, found.times, found.rows)), strict=True))
        assert got == sorted(e for e in listed if e[0] in keys and low <= e[1] <= high)


@pytest.mark.parametrize("span_ms", SPANS_MS)
@pytest.mark.parametrize("seed", range(4))
def test_any_in_looks_behind_one_time_and_up_to_another(span_ms: int, seed: int) -> None:
    """The first bound is exclusive, the second inclusive; keys may be asked for several times."""
    rng = Random(seed)
    runs, listed = filled(rng, span_ms)
    asked = []
    for key, at, _ in listed[:100]:
        width = rng.choice((0, 0, 1, 2, span_ms))
        asked.append((rng.choice((key, 7, 2**63 + 45)), at - rng.choice((0, 1)), at + width))
    keys, after, until = zip(*asked, strict=True)
    got = runs.any_in(
        np.array(keys, np.uint64), np.array(after, np.int64), np.array(until, np.int64)
    )
    times: dict[int, list[int]] = {}
    for key, at, _ in listed:
        times.setdefault(key, []).append(at)
    assert got.tolist() == [any(a < t <= u for t in times.get(k, [])) for k, a, u in asked]


def test_runs_that_are_old_altogether_go() -> None:
    """What is left holds every entry that is not older than the time."""
    runs, listed = filled(Random(0), 50)
    left = runs.drop_before(50)
    assert left.nbytes == 0 < runs.nbytes
    kept = runs.drop_before(0).find(distinct(np.array([k for k, _, _ in listed], np.uint64)), 0, 50)
    assert len(kept.rows) == len(listed)


def test_a_log_keeps_numbers_over_merges_and_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number finds its row as long as it is held, in the order asked for."""
    monkeypatch.setattr(log_module, "_PACKED", 40)
    rng = Random(1)
    schema = pl.Schema({"event_ts": TS, "name": pl.String()})
    log, end = Log(schema), 0
    for _ in range(60):
        size = rng.choice((0, 1, 2, 30))
        rows = {"event_ts": [end // 10] * size, "name": [str(end + n) for n in range(size)]}
        made = pl.DataFrame(rows, schema={"event_ts": pl.Int64(), "name": pl.String()})
        log, end = log.add(made.cast({"event_ts": TS})), end + size
    assert log.end == log.height == end
    assert len(log.chunks) < 40
    dropped = log.drop_before(end // 20)
    kept = dropped.held(np.arange(end + 5))
    assert 0 < len(kept) == dropped.height < end
    assert set(range(end // 20 * 10 + 80, end)) <= {*kept.tolist()}
    order = kept.copy()
    np.random.default_rng(0).shuffle(order)
    assert dropped.take(order, ["name"])["name"].to_list() == [str(n) for n in order]
    assert dropped.take(kept[:0], ["name"]).schema == {"name": pl.String()}
