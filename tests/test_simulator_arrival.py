"""How simulated events arrive: bounded disorder, repeats, late events, lines that are none.

Always holds: every law is checked on the events that arrived, not on what was meant to.

Not promised: anything about what a decoder makes of bad lines; its own tests tell.
"""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from labeling.model.event import Contract
from labeling.testing.simulator import BAD_LINES, EXTRA_COLUMNS, disturb, to_jsonl
from tests.simulated import LONG, START, log, near


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    """A log of a day, for tests that only read it."""
    return log(**LONG)


def worst_wait(arrived: pl.DataFrame) -> int:
    """By how much event time an arrival lags behind the highest before it, at most, in ms."""
    ts = arrived["event_ts"].to_physical().to_numpy()
    return int((np.maximum.accumulate(ts) - ts).max())


@settings(max_examples=20, deadline=None)
@given(
    disorder_ms=st.integers(0, 120_000),
    duplicates=st.sampled_from([0.0, 0.05, 1.0]),
    seed=st.integers(0, 99),
    cuts=st.lists(st.integers(0, 3_000), max_size=6),
)
def test_arrival_order(disorder_ms: int, duplicates: float, seed: int, cuts: list[int]) -> None:
    """The bound holds, repeats included; nothing is lost; the framing does not matter."""
    clean = log(events=3_000)
    way: dict[str, Any] = {"seed": seed, "disorder_ms": disorder_ms, "duplicates": duplicates}
    arrived = pl.concat(disturb([clean], **way))
    assert worst_wait(arrived) <= disorder_ms
    assert arrived.unique().sort("event_ts", "event_id").equals(clean)
    assert near((arrived.height - 3_000) / 3_000, duplicates, 3_000) or duplicates in {0.0, 1.0}
    if duplicates in {0.0, 1.0}:
        assert arrived.height == 3_000 * (1 + duplicates)
    edges = [0, *sorted(cuts), 3_000]
    pieces = [clean[a:b] for a, b in pairwise(edges)]
    assert pl.concat(disturb(pieces, **way)).equals(arrived)


def test_disorder_is_used(events: pl.DataFrame) -> None:
    """Delays reach towards the bound: it is not met by leaving the order as it was."""
    arrived = pl.concat(disturb([events], seed=1, disorder_ms=30_000))
    assert 25_000 < worst_wait(arrived) <= 30_000


def test_late_events_pass_the_bound(events: pl.DataFrame) -> None:
    """About the share asked for lags by more than the bound, never by more than allowed."""
    arrived = pl.concat(
        disturb([events], seed=1, disorder_ms=10_000, late=0.02, late_by_ms=3_600_000)
    )
    ts = arrived["event_ts"].to_physical().to_numpy()
    late = (np.maximum.accumulate(ts) - ts) > 10_000
    assert 0.01 < late.mean() < 0.021
    assert worst_wait(arrived) <= 10_000 + 3_600_000 + 1
    assert arrived.sort("event_ts", "event_id").equals(events)


def test_undisturbed_is_unchanged() -> None:
    """Without disorder, repeats or late events the order is that of happening."""
    clean = log(events=3_000)
    assert pl.concat(disturb([clean], seed=1)).equals(clean)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"duplicates": 1.5}, "duplicates=1.5"),
        ({"late": 0.1}, "late_by_ms"),
        ({"disorder_ms": -1}, "negative"),
    ],
)
def test_disturb_refuses(wrong: dict[str, Any], says: str) -> None:
    """A share that is none, late events without a delay, a negative delay: each is named."""
    with pytest.raises(ValueError, match=says):
        list(disturb([log(events=10)], seed=1, **wrong))


def test_disturb_refuses_frames_out_of_order() -> None:
    """A bound on disorder means nothing over frames that are out of order themselves."""
    clean = log(events=100)
    with pytest.raises(ValueError, match="sort them first"):
        list(disturb([clean[50:], clean[:50]], seed=1))


def test_json_lines_hold_the_frame() -> None:
    """Every good line reads back as its event: contract names, epoch ms, no key for a null."""
    clean = log(events=2_000)
    lines = [json.loads(line) for line in to_jsonl(clean).splitlines()]
    back = pl.DataFrame(lines, schema={**clean.schema, "event_ts": pl.Int64}, orient="row")
    assert back.cast({"event_ts": clean.schema["event_ts"]}).equals(clean)
    assert not any(value is None for line in lines for value in line.values())


def test_bad_lines_stand_beside_good_ones() -> None:
    """Good lines are untouched; about the share asked for is bad, and each bad one is refused."""
    clean = log(events=2_000)
    good = to_jsonl(clean).splitlines()
    lines = to_jsonl(clean, 0.1, 3).splitlines()
    bad = [line for line in lines if line not in set(good)]
    assert [line for line in lines if line in set(good)] == good
    assert near(len(bad) / 2_000, 0.1, 2_000)
    assert to_jsonl(clean, 0.1, 3).splitlines() == lines
    assert {reason(line) for line in bad} == set(BAD_LINES)
    with pytest.raises(ValueError, match="bad_fraction=2"):
        to_jsonl(clean, 2.0)


def reason(line: bytes) -> str:
    """What the contract's own model says is wrong with a line."""
    try:
        fields = json.loads(line)
    except ValueError:
        return "bad_json"
    plain = {name: value for name, value in fields.items() if name not in EXTRA_COLUMNS}
    try:
        event = Contract.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "missing":
            return "missing_field"
        return "bad_timestamp" if first["loc"] == ("event_ts",) else "wrong_type"
    return "future_timestamp" if event.event_ts > START + timedelta(days=365) else "accepted"
