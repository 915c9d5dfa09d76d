"""How credit and value are shared along a path: clauses A14 and A15, in whole numbers.

Always holds: shares of a path with a touch sum to what is shared, exactly.

Not promised: that a float is right in its last bit; ``time_decay`` and own weights begin as floats.
"""

from __future__ import annotations

from math import floor, isnan
from typing import Any

from labeling.model.credit import (
    Credit,
    FirstTouch,
    LastTouch,
    Linear,
    PositionBased,
    TimeDecay,
    Weighted,
)
from tests.model.actions import Touch
from tests.model.assign import Fact, Twins

WHOLE = 10**9


def credits_of(model: Credit, a: Fact, path: list[Touch], twins: Twins) -> list[int]:
    """A14: parts per 10^9 for each touch of a path."""
    weights = weights_of(model, a, path, twins)
    shares = [WHOLE * w // sum(weights) for w in weights]
    return with_the_rest(shares, WHOLE - sum(shares), weights)


def values_of(value: int | None, credit: list[int]) -> list[int | None]:
    """A15: the value of the action for each touch of a path."""
    if value is None:
        return [None] * len(credit)
    sign = -1 if value < 0 else 1
    shares = [sign * (abs(value) * c // WHOLE) for c in credit]
    return [*with_the_rest(shares, value - sum(shares), credit)]


def with_the_rest(shares: list[int], rest: int, above_zero: list[int]) -> list[int]:
    """What is missing goes to the last that is above zero."""
    last = [n for n, w in enumerate(above_zero) if w > 0][-1:]
    return [s + (rest if n in last else 0) for n, s in enumerate(shares)]


def weights_of(model: Credit, a: Fact, path: list[Touch], twins: Twins) -> list[int]:
    """A14: the table of models, one line per model."""
    n = len(path)
    if isinstance(model, LastTouch):
        return [1 if i == n - 1 else 0 for i in range(n)]
    if isinstance(model, FirstTouch):
        return [1 if i == 0 else 0 for i in range(n)]
    if isinstance(model, Linear):
        return [1] * n
    if isinstance(model, PositionBased):
        return of_positions(model, n)
    if isinstance(model, TimeDecay):
        last_ts = path[-1].credit_ts if path else 0
        earlier = [last_ts - t.credit_ts for t in path]
        return [floor(1e9 * 2.0 ** (-ms / model.half_life_ms)) for ms in earlier]
    return of_weights(model, a, path, twins)


def of_positions(model: PositionBased, n: int) -> list[int]:
    """A14: first, middle, last, in parts per 10^9; the last makes it whole."""
    if n < 2:
        return [1] * n
    if n == 2:
        return [model.first, model.last] if model.first + model.last > 0 else [1, 1]
    middle = [(WHOLE - model.first - model.last) // (n - 2)] * (n - 2)
    return [model.first, *middle, WHOLE - model.first - sum(middle)]


def of_weights(model: Weighted, a: Fact, path: list[Touch], twins: Twins) -> list[int]:
    """A14: own weights to six decimals; all alike where all are 0."""
    twin = twins[str(model.expr)]
    weights = [
        micro(
            twin(
                t.event
                | {"delay_ms": a["event_ts"] - t.event["event_ts"]}
                | {"rank": rank, "touches": len(path)}
            )
        )
        for rank, t in enumerate(path, start=1)
    ]
    return weights if sum(weights) > 0 else [1] * len(path)


def micro(weight: Any) -> int:
    """Null, NaN and what is below zero are 0, what is above 10^9 is 10^9."""
    if weight is None or isnan(weight) or weight < 0:
        return 0
    return floor(1e6 * min(float(weight), 1e9))
