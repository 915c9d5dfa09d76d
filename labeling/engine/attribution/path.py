"""What of an action's touches has a part in it: clauses A10 to A12 of docs/attribution.md.

Always holds: a path is a part of the touches in their order; it depends on nothing but them and
their columns.

Not promised: paths of actions without touches. They have no rows here.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from labeling.engine.attribution.ranges import changed, lengths, starts
from labeling.model.attribution import AttributionRule
from labeling.model.session import SESSION, Session

_LEAST: Final = np.iinfo(np.int64).min


def paths(rule: AttributionRule, events: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """The paths of actions.

    Args:
        rule: whose ``collapse``, ``classes``, ``priority`` and ``max_touches`` apply.
        events: the whole frame, with sessions where the rule has them.
        pairs: what ``find_touches`` returns.

    Returns:
        ``action``, ``row``, ``class`` as they are, ``rank`` and ``touches`` (Int64: from 1, and how
        many there are), in the same order.
    """
    pairs = _collapsed(rule, events, pairs)
    if rule.classes:
        pairs = pairs.filter(_greatest(pairs["action"], -pairs["class"].cast(pl.Int64)))
    if rule.priority is not None:
        order = events[rule.priority].gather(pairs["row"])
        # A null is below every integer, also the least.
        pairs = pairs.with_columns(order.cast(pl.Int128).fill_null(_LEAST - 1).alias("order"))
        greatest = pl.col("order") == pl.col("order").max().over("action")
        pairs = pairs.filter(greatest).drop("order")
    ranked = _ranked(pairs)
    if rule.max_touches is not None:
        behind = pl.col("touches") - pl.col("rank")
        ranked = _ranked(ranked.filter(behind < rule.max_touches))
    return ranked


def _collapsed(rule: AttributionRule, events: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """The first of neighbours with equal values, null equal to null."""
    by = (SESSION,) if isinstance(rule.collapse, Session) else rule.collapse
    if not by or pairs.is_empty():
        return pairs
    values = events.select(by)[pairs["row"]].with_columns(pairs["action"].alias("#"))
    differ = values.select(pl.any_horizontal(pl.all().ne_missing(pl.all().shift(1)))).to_series()
    return pairs.filter(differ | pl.Series(changed(pairs["action"].to_numpy())))


def _greatest(action: pl.Series, values: pl.Series) -> pl.Series:
    """Whether each value is the greatest of its action's."""
    number = values.to_numpy()
    if not len(number):
        return pl.Series(dtype=pl.Boolean)
    begins = starts(changed(action.to_numpy()))
    greatest = np.maximum.reduceat(number, begins)
    return pl.Series(number == np.repeat(greatest, lengths(begins, len(number))))


def _ranked(pairs: pl.DataFrame) -> pl.DataFrame:
    """With ``rank`` and ``touches``."""
    begins = starts(changed(pairs["action"].to_numpy())) if pairs.height else np.empty(0, np.int64)
    counts = lengths(begins, pairs.height)
    rank = np.arange(pairs.height) - np.repeat(begins, counts) + 1
    return pairs.with_columns(
        rank=pl.Series(rank, dtype=pl.Int64),
        touches=pl.Series(np.repeat(counts, counts), dtype=pl.Int64),
    )
