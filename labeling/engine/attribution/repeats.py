"""Which candidates repeat another: clause A2 of docs/attribution.md.

Always holds: whether a candidate is kept depends on the candidates before it, of equal columns and
type on its local day, and on undos before it alone.

Not promised: that undos are looked for. Whoever asks has met them with candidates.

In order of time, each kept candidate names the next: the first that lies further behind than
``repeat_within``, or behind an undo that met anything in between. So the kept ones are a chain, and
a chain is walked in rounds that double the step: as many as its length has binary digits.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from labeling.engine.attribution.ranges import Whole, search, starts
from labeling.engine.nearest import lane_sorted
from labeling.model.attribution import AttributionRule

_NEVER: Final = np.iinfo(np.int64).max
_RUN: Final = ("key", "event_type", "day")


def local_day(tz: str) -> pl.Expr:
    """The local date of ``event_ts``."""
    return pl.col("event_ts").dt.convert_time_zone(tz).dt.date().alias("day")


def kept_of(rule: AttributionRule, found: pl.DataFrame, undos: pl.DataFrame) -> pl.Series:
    """The row of the kept candidate that each counts for: its own where it is kept.

    Args:
        rule: whose ``repeat_within`` applies.
        found: the candidates: ``row``, ``event_ts``, ``event_id``, ``event_type`` and the rule's
            ``repeat_columns``.
        undos: ``row`` of a candidate that an undo met, and ``undo_ts``.

    Returns:
        ``action`` (UInt32), in the order of ``found``.
    """
    itself = found["row"].alias("action")
    if rule.repeat_ms is None or found.is_empty():
        return itself
    order = ("event_type", "day", "event_ts", "event_id")
    read = dict.fromkeys(("row", "event_type", "event_ts", "event_id", *rule.repeat_columns))
    slim = found.select(*read).with_columns(local_day(rule.day))
    run = lane_sorted(slim, rule.repeat_columns, order)
    first = undos.group_by("row").agg(pl.min("undo_ts"))
    run = run.join(first, on="row", how="left", maintain_order="left")
    kept = _last_kept(run, rule.repeat_ms)
    counts_for = run.select("row", action=run["row"].gather(kept))
    known = found.select("row").join(counts_for, on="row", how="left", maintain_order="left")
    return known.select(pl.coalesce("action", "row").alias("action")).to_series()


def _last_kept(run: pl.DataFrame, repeat_ms: int) -> Whole:
    """The place of the last kept candidate at or before each, in runs sorted by time."""
    changes = run.select(
        pl.any_horizontal(pl.col(c) != pl.col(c).shift(1) for c in _RUN).fill_null(value=True)
    )
    begins = starts(changes.to_series().to_numpy())
    number = np.zeros(run.height, np.int64)
    number[begins[1:]] = 1
    number = np.cumsum(number)
    ends = np.append(begins[1:], run.height)[number]
    times = run["event_ts"].dt.epoch("ms").to_numpy()
    undos = run["undo_ts"].dt.epoch("ms").fill_null(_NEVER).to_numpy()
    far = np.minimum(times, _NEVER - repeat_ms) + repeat_ms
    behind = search(number, times, number, far, "right")
    undone = np.where(undos == _NEVER, ends, search(number, times, number, undos, "right"))
    # The first undo of any candidate from here on: those of later runs lie behind this run's end.
    taken_back = np.minimum.accumulate(undone[::-1])[::-1]
    kept = _chain(np.minimum(behind, taken_back), begins)
    last: Whole = np.maximum.accumulate(np.where(kept, np.arange(len(kept)), 0))
    return last


def _chain(following: Whole, begins: Whole) -> npt.NDArray[np.bool_]:
    """Every place that the beginnings lead to, each place leading to a later one or the end."""
    size = len(following)
    leads = np.append(following, size)
    reached = np.zeros(size + 1, np.bool_)
    reached[begins] = True
    count = -1
    while (now := int(reached.sum())) != count:
        count = now
        reached[leads[reached]] = True
        leads = leads[leads]
    return reached[:size]
