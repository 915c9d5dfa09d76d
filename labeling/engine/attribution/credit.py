"""Who gets how much: clauses A14 and A15 of docs/attribution.md.

Always holds: shares are whole numbers and sum to the whole, exactly; they depend on a path alone,
not on the paths beside it. Floats occur only one by one, before anything is added up.

Not promised: anything for paths without touches. They have no shares.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from labeling.engine.attribution.ranges import changed, starts
from labeling.model.attribution import AttributionRule
from labeling.model.attribution_checks import WEIGHED
from labeling.model.credit import (
    WHOLE,
    Credit,
    FirstTouch,
    LastTouch,
    Linear,
    PositionBased,
    TimeDecay,
    Weighted,
)

#: Own weights are taken to six decimals.
_MICRO: Final = 10**6
_RANK, _COUNT = pl.col("rank"), pl.col("touches")


def credits_of(rule: AttributionRule, touches: pl.DataFrame, of: pl.Series) -> pl.DataFrame:
    """The credit of each touch by each of the rule's models.

    Args:
        rule: whose ``models`` apply.
        touches: in the order of their paths: ``rank``, ``touches``, ``delay_ms``, ``#decay_ms``
            (Int64: how much further from the action than the last touch, for ``time_decay``) and
            the columns that ``weighed`` names.
        of: tells actions apart; equal ones are neighbours.

    Returns:
        ``credit{suffix}`` (Int64, parts per 10^9) of each model, in the order of ``touches``.
    """
    models = rule.models.items()
    return pl.DataFrame([_credit(touches, of, m).alias(f"credit{name}") for name, m in models])


def weighed(rule: AttributionRule) -> list[str]:
    """The columns of events that own weights read."""
    exprs = [m.expr for m in rule.models.values() if isinstance(m, Weighted)]
    return sorted({name for e in exprs for name in e.meta.root_names()} - {*WEIGHED})


def shares(value: pl.Series, credit: pl.Series, of: pl.Series) -> pl.Series:
    """The value of an action, shared by credit.

    Args:
        value: Int64, the same for the touches of one action; null: every share is null.
        credit: parts per 10^9 that sum to 10^9 for each action.
        of: tells actions apart; equal ones are neighbours.

    Returns:
        Int64: rounded towards zero, what is missing to the value on the last with credit above 0.
    """
    whole = value.fill_null(0).alias("whole")
    # 10^9 times 64 bits does not fit into them.
    wide = pl.col("whole").cast(pl.Int128)
    part = wide.abs() * pl.col("credit").cast(pl.Int128) // WHOLE * wide.sign()
    parts = pl.DataFrame([whole, credit.alias("credit")]).select(part.cast(pl.Int64)).to_series()
    made = _completed(parts, whole, credit > 0, of)
    return made.set(value.is_null(), None) if value.null_count() else made


def _credit(touches: pl.DataFrame, of: pl.Series, model: Credit) -> pl.Series:
    # A weight is up to 10^15, and is multiplied by 10^9.
    weight = touches.with_columns(weight=_weight(model).cast(pl.Int128))["weight"]
    total = _totals(weight, of)
    if (total == 0).any():
        weight = weight.set(total == 0, 1)
        total = _totals(weight, of)
    share = pl.DataFrame([weight, total.alias("total")]).select(
        parts=(pl.col("weight") * WHOLE // pl.col("total")).cast(pl.Int64),
        whole=pl.lit(WHOLE, pl.Int64),
        positive=pl.col("weight") > 0,
    )
    return _completed(share["parts"], share["whole"], share["positive"], of)


def _weight(model: Credit) -> pl.Expr:
    """The weight of each touch, a whole number from 0."""
    match model:
        case LastTouch():
            return _RANK == _COUNT
        case FirstTouch():
            return _RANK == 1
        case Linear():
            return _RANK.is_not_null()
        case PositionBased(first, last):
            return _by_position(first, last)
        case TimeDecay(half_life_ms):
            return (pl.lit(2.0) ** (-pl.col("#decay_ms") / half_life_ms) * WHOLE).floor()
        case Weighted(expr):
            known = expr.cast(pl.Float64).fill_nan(0).fill_null(0)
            return (known.clip(0, WHOLE) * _MICRO).floor()


def _by_position(first: int, last: int) -> pl.Expr:
    """In parts per 10^9; of three touches and more the last has what is missing."""
    of_two = (first, last) if first or last else (1, 1)
    between = (WHOLE - first - last) // pl.max_horizontal(_COUNT - 2, 1)
    return (
        pl.when(_COUNT == 1)
        .then(1)
        .when(_COUNT == 2)  # noqa: PLR2004 - two touches are a case of their own
        .then(pl.when(_RANK == 1).then(of_two[0]).otherwise(of_two[1]))
        .when(_RANK == 1)
        .then(first)
        .when(_RANK == _COUNT)
        .then(WHOLE - first - between * (_COUNT - 2))
        .otherwise(between)
    )


def _totals(weight: pl.Series, of: pl.Series) -> pl.Series:
    """For each touch the sum of its action's weights."""
    frame = pl.DataFrame([weight.alias("weight"), of.alias("of")])
    return frame.select(pl.col("weight").sum().over("of")).to_series()


def _completed(parts: pl.Series, whole: pl.Series, positive: pl.Series, of: pl.Series) -> pl.Series:
    """Parts that sum to the whole: what is missing goes to the last that is positive."""
    if parts.is_empty():
        return parts
    made: npt.NDArray[Any] = parts.to_numpy().copy()
    begins = starts(changed(of.to_numpy()))
    missing = whole.to_numpy()[begins] - np.add.reduceat(made, begins)
    last = np.maximum.reduceat(np.where(positive.to_numpy(), np.arange(len(made)), 0), begins)
    made[last] += missing
    return pl.Series(made)
