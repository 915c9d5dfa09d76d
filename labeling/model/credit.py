"""How the credit of an action is shared among its touches: clause A14 of docs/attribution.md.

Always holds: a model is a frozen value; its weights are whole numbers, so that shares do not
depend on the order in which they are added up; the shares of one action sum to ``WHOLE``.

Not promised: that a weight is above zero for any touch but one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from labeling.model.window import duration_ms

#: All of an action's credit: shares are parts per billion.
WHOLE: Final = 10**9


@dataclass(frozen=True)
class LastTouch:
    """All to the last touch."""


@dataclass(frozen=True)
class FirstTouch:
    """All to the first touch."""


@dataclass(frozen=True)
class Linear:
    """The same to each touch."""


@dataclass(frozen=True)
class PositionBased:
    """Fixed shares, in parts per billion, to the first and the last touch."""

    first: int
    last: int


@dataclass(frozen=True)
class TimeDecay:
    """Half as much for each ``half_life_ms`` further from the action."""

    half_life_ms: int


@dataclass(frozen=True, eq=False)
class Weighted:
    """By an expression over the touch."""

    expr: pl.Expr


Credit = LastTouch | FirstTouch | Linear | PositionBased | TimeDecay | Weighted


def last_touch() -> LastTouch:
    """All credit to the last touch of the path (Google Analytics: "last click").

    Weight: 1 for the last, 0 for the others.
    """
    return LastTouch()


def first_touch() -> FirstTouch:
    """All credit to the first touch of the path (Google Analytics: "first click").

    Weight: 1 for the first, 0 for the others.
    """
    return FirstTouch()


def linear() -> Linear:
    """The same credit to each touch of the path: weight 1.

    The simplest multi-touch model; see Shao and Li, "Data-driven multi-touch attribution models",
    KDD 2011, for what it is compared with.
    """
    return Linear()


def position_based(*, first: float = 0.4, last: float = 0.4) -> PositionBased:
    """Shares to the first and the last touch, the rest equally to those between ("U-shaped").

    One touch has all; of two each has its share of ``first + last``, halves if both are 0. With
    the defaults it is Google Analytics' "position based" model, 40/20/40.

    Args:
        first: from 0 to 1, to nine decimals.
        last: likewise; at most 1 together.

    Raises:
        ValueError: a share below 0, or both together above 1.

    >>> position_based(first=0.3, last=0.3)
    PositionBased(first=300000000, last=300000000)
    """
    parts = (round(first * WHOLE), round(last * WHOLE))
    if min(parts) < 0 or sum(parts) > WHOLE:
        raise ValueError(
            f"position_based(first={first}, last={last}): shares lie between 0 and 1, and are at "
            "most 1 together"
        )
    return PositionBased(*parts)


def time_decay(half_life: str) -> TimeDecay:
    """Weight ``2^(-d / half_life)`` for a touch ``d`` before the action.

    Google Analytics' "time decay" has a half-life of seven days; many take a quarter of the
    lookback window, at least a day.

    Args:
        half_life: a duration, such as ``"7d"``.

    Raises:
        ValueError: no duration, or zero.

    >>> time_decay("7d").half_life_ms
    604800000
    """
    length = duration_ms(half_life)
    if length <= 0:
        raise ValueError(f"time_decay({half_life!r}): a half-life is longer than zero")
    return TimeDecay(length)


def weighted(expr: pl.Expr) -> Weighted:
    """Weights of one's own: the share of a touch is its weight by the sum of all.

    Args:
        expr: a Polars expression, row by row, over the columns of the touch, and ``delay_ms``
            (Int64, from the touch to the action), ``rank`` (Int64, from 1 in time order) and
            ``touches`` (Int64, how many there are). Taken to six decimals; null, NaN and what is
            below zero count as 0, what is above 10^9 as 10^9; where all are 0 all are equal.

    >>> isinstance(weighted(pl.col("value")), Weighted)
    True
    """
    return Weighted(expr)
