"""What the rows of attributions say, against docs/attribution.md, by hand.

Always holds: each test names its clause of A14 to A18; expected values were written down from the
page.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from labeling import (
    Event,
    first_touch,
    linear,
    position_based,
    session,
    time_decay,
    weighted,
)
from tests.attribution_hand import T0, log, made, own, paths, rule


def test_a_collapsed_session_counts_from_its_start() -> None:
    """A10, A14: the start may be no touch itself; the row keeps the touch's own time."""
    r = rule(
        touches=(Event("click", within="1h"), Event("view", within="1ms")),
        collapse=session("60s"), credit=time_decay("100s"),
    )  # fmt: skip
    said = [
        ("v", "view", 0), ("a", "click", 50), ("b", "click", 60), ("w", "click", 200),
        ("x", "click", 250), ("o", "order", 300),
    ]  # fmt: skip
    assert paths(r, *said) == {"o": ["a", "w"]}
    rows = made(r, log(r, *said)).filter(pl.col("touch_id") != "").sort("rank")
    # Starts 200 s apart: weights 1/4 and 1.
    assert rows["credit"].to_list() == [200_000_000, 800_000_000]
    assert rows["delay_ms"].to_list() == [250_000, 100_000]


def test_credit_is_shared_to_the_last_part() -> None:
    """A14: each model, touches 70, 20 and 10 s before; what is missing goes to the last."""
    models = {
        "first": first_touch(), "even": linear(), "ends": position_based(first=0.1, last=0.3),
        "open": position_based(first=0.5, last=0), "decay": time_decay("10s"),
        "own": weighted(pl.col("value")), "none": weighted(pl.col("value") * 0 - 1),
        "late": weighted(pl.when(pl.col("rank") < pl.col("touches")).then(2).otherwise(0)),
    }  # fmt: skip
    r = rule(credit=models)
    said = [
        ("a", "click", -70, {"value": 1}), ("b", "click", -20), ("c", "click", -10, {"value": 5}),
        ("o", "order", 0),
    ]  # fmt: skip
    rows = made(r, log(r, *said)).filter(pl.col("touch_id") != "").sort("rank")
    third, e6, e9 = 333_333_333, 10**6, 10**9
    decay = [15_625_000 * e9 // 1_515_625_000, 500 * e6 * e9 // 1_515_625_000]
    assert {n: rows[f"credit_{n}"].to_list() for n in models} == {
        "first": [e9, 0, 0],
        "even": [third, third, third + 1],
        "ends": [100 * e6, 600 * e6, 300 * e6],
        "open": [500 * e6, 500 * e6, 0],
        "decay": [*decay, e9 - sum(decay)],
        "own": [166_666_666, 0, 833_333_334],
        "none": [third, third, third + 1],
        "late": [500 * e6, 500 * e6, 0],
    }
    two = made(r, log(r, *said[1:])).filter(pl.col("touch_id") != "").sort("rank")
    assert two["credit_ends"].to_list() == [250 * e6, 750 * e6]
    one = made(r, log(r, *said[2:])).filter(pl.col("touch_id") != "")
    assert one.select(pl.col("^credit_.*$")).row(0) == (e9,) * len(models)


def test_many_middle_touches_leave_what_is_missing_to_the_last() -> None:
    """A14: nine in the middle share 0.2 of 10^9 with 2 left over."""
    r = rule(credit=position_based())
    said = [(f"c{i}", "click", i - 20) for i in range(11)]
    rows = made(r, log(r, *said, ("o", "order", 0))).filter(pl.col("touch_id") != "").sort("rank")
    assert rows["credit"].to_list() == [400_000_000, *[22_222_222] * 9, 400_000_002]


@pytest.mark.parametrize("value", [-1001, 2**63 - 1, -(2**63), 0, None])
def test_value_is_shared_towards_zero_and_sums_to_itself(value: int | None) -> None:
    """A15, A18: whole numbers of up to 64 bits; null for each of nothing."""
    r = rule(credit={"even": linear(), "first": first_touch()}, value="value")
    said = [("a", "click", -3), ("b", "click", -2), ("c", "click", -1)]
    rows = made(r, log(r, *said, ("o", "order", 0, {"value": value})))
    touched = rows.filter(pl.col("touch_id") != "").sort("rank")
    if value is None:
        assert touched["value_even"].to_list() == [None] * 3
        return
    part = abs(value) * 333_333_333 // 10**9 * (-1 if value < 0 else 1)
    assert touched["value_even"].to_list() == [part, part, value - 2 * part]
    assert touched["value_first"].to_list() == [value, 0, 0]
    assert rows.filter(touch_id="")["value"].to_list() == [value]
    assert touched["value"].to_list() == [None] * 3


def test_a_value_beyond_64_bits_stops_at_the_least() -> None:
    """A6: no event can make an error."""
    r = rule(value="value", refunded_by=Event("refund"), undone_within="1h")
    said = [("o", "order", 0, {"value": -(2**63)}), ("r", "refund", 1, {"value": 5})]
    assert own(r, *said)[-1] == (1, "o", "unattributed", -(2**63))


def test_what_rows_say() -> None:
    """A16, A17: an action's own row and its touch's, each with nulls for what the other says."""
    r = rule(carry=("item_id",), touch_carry=("scene",), value="value")
    rows = made(
        r, log(r, ("c", "click", -4), ("o", "order", 0, {"item_id": "i", "value": 8}))
    ).to_dicts()
    when = T0 - timedelta(seconds=4)
    both = {"point_ts": T0, "present": True, "user_id": "u", "anchor_ts": T0, "anchor_id": "o"}
    touch = {"touch_ts": when, "touch_id": "c", "item_id": "i", "value": 8}
    touch |= {"rank": 1, "direct": True, "delay_ms": 4000, "touch_type": "click", "touch_class": 1}
    touch |= {"touch_scene": None, "credit": 10**9, "verdict": None, "touches": None, "path": None}
    action = dict.fromkeys(touch) | {"touch_ts": T0, "touch_id": "", "item_id": "i", "value": 8}
    action |= {"verdict": "attributed", "touches": 1, "path": [""]}
    assert rows == [both | touch, both | action]


def test_a_repeat_is_a_key_and_nothing_else() -> None:
    """A3: so that a row which it had is retracted."""
    r = rule(repeat_within="1m", carry=("item_id",))
    rows = made(
        r,
        log(r, ("a", "order", 0), ("c", "click", 1), ("b", "order", 2, {"item_id": "i"})),
    )
    repeat = rows.filter(anchor_id="b").to_dicts()
    assert [k for k, v in repeat[0].items() if v is not None] == [
        "point_ts", "present", "user_id", "anchor_ts", "anchor_id", "touch_ts", "touch_id",
    ]  # fmt: skip
    assert (len(repeat), repeat[0]["present"], repeat[0]["touch_id"]) == (1, False, "")
