"""Which events may have caused an action: clauses A7 to A9 of docs/attribution.md.

Always holds: an event is a touch of an action once, of the lowest class that takes it; the touches
of an action come in the order ``(event_ts, event_id)``. Columns are compared by hash, and told
apart where two hashes agree by chance.

Not promised: touches of actions that nobody asks about, except where they use them up.

A selector's touches are sorted by its columns and time, so that those of an action are one range:
two searches find it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import polars as pl

from labeling.engine.assign import candidates as candidates_of
from labeling.engine.attribution.ranges import changed, search, spread
from labeling.engine.attribution.trail import trails
from labeling.engine.compile import selects
from labeling.engine.keys import match_key
from labeling.engine.rows import LabelsAt, said_at, true_of
from labeling.model.attribution import AttributionRule
from labeling.model.rows_of import RowsOf
from labeling.model.rule import LabelRule
from labeling.model.selector import Event

PAIRS = {"action": pl.UInt32(), "row": pl.UInt32(), "class": pl.UInt8()}


def find_touches(
    rule: AttributionRule,
    events: pl.DataFrame,
    actions: pl.DataFrame,
    candidates: pl.Series,
    labels_at: LabelsAt,
) -> pl.DataFrame:
    """The touches of actions.

    Args:
        rule: whose ``touches`` apply.
        events: the whole frame, with sessions where the rule has them.
        actions: kept candidates in the order ``(event_ts, event_id)``: ``action`` (UInt32, from 0
            in that order), ``row``, ``day``, ``asked`` (Boolean: its touches are wanted, rather
            than needed to tell which are used up).
        candidates: the rows of all candidates.
        labels_at: tells what rows of label rules say, where they are touches.

    Returns:
        ``action``, ``row`` (UInt32, the touch's) and ``class`` (UInt8, from 1), sorted by action,
        then by the touch's ``(event_ts, event_id)``; those of asked actions only.
    """
    # The first listed first: of several classes the lowest stays.
    each = []
    for n, touch in enumerate(rule.touches, start=1):
        pairs = _of_selector(rule, touch, events, actions)
        if isinstance(touch, RowsOf):
            pairs = _true_then(touch, events, actions, pairs, labels_at)
        each.append(pairs.with_columns(pl.lit(n, pl.UInt8).alias("class")))
    pairs = _in_order(events, each)
    pairs = _before(events, actions, pairs, candidates)
    if rule.trail:
        pairs = trails(events, actions, pairs)
    if not rule.own_page:
        pages = events["page_id"]
        own = pages.gather(pairs["row"]) == pages.gather(actions["row"].gather(pairs["action"]))
        pairs = pairs.filter(~own.fill_null(value=False))
    if rule.max_actions is not None:
        pairs = _unused(pairs, actions, rule.max_actions)
    if actions["asked"].all():
        return pairs
    return pairs.filter(actions["asked"].gather(pairs["action"]))


def _of_selector(
    rule: AttributionRule, touch: Event, events: pl.DataFrame, actions: pl.DataFrame
) -> pl.DataFrame:
    """``action`` and ``row`` of what one selector takes, by action, then in order of time."""
    lane = rule.lane(touch)
    rows = _selected(touch, events)
    heads = _keyed(events, actions["row"], lane).with_columns(actions["action"]).drop_nulls("key")
    tails = _keyed(events, rows, lane)
    tails = tails.filter(pl.col("key").is_in(heads["key"].unique().implode()))
    if tails.is_empty():
        return pl.DataFrame(schema={c: PAIRS[c] for c in ("action", "row")})
    heads, tails = _numbered(events, heads, tails, lane)
    ids = events["event_id"].gather(tails["row"])
    tails = tails.with_columns(ids).sort("run", "event_ts", "event_id")
    runs, times = tails["run"].to_numpy(), tails["event_ts"].dt.epoch("ms").to_numpy()
    of, at = heads["run"].to_numpy(), heads["event_ts"].dt.epoch("ms").to_numpy()
    low = search(runs, times, of, at - (touch.within_ms or 0), "left")
    counts = np.maximum(search(runs, times, of, at - rule.min_age_ms, "right") - low, 0)
    return pl.DataFrame(
        {
            "action": pl.Series(np.repeat(heads["action"].to_numpy(), counts), dtype=pl.UInt32),
            "row": tails["row"].gather(spread(low, counts)),
        }
    )


def _selected(touch: Event, events: pl.DataFrame) -> pl.Series:
    """The events that a selector takes, or those that rows stand for."""
    if isinstance(touch, RowsOf):
        found = candidates_of(cast("LabelRule", touch.source), events.with_row_index("row"))
        return found.filter("kept")["row"]
    return events.select(selects(touch).arg_true().cast(pl.UInt32).alias("row"))["row"]


def _true_then(
    touch: RowsOf,
    events: pl.DataFrame,
    actions: pl.DataFrame,
    pairs: pl.DataFrame,
    labels_at: LabelsAt,
) -> pl.DataFrame:
    """The pairs with rows of which the condition holds at the time of the action (R4)."""
    at = events["event_ts"].gather(actions["row"].gather(pairs["action"]))
    said = said_at(cast("LabelRule", touch.source), events, pairs["row"], at, labels_at)
    return pairs.filter(true_of(touch, events[pairs["row"]].hstack(said)))


def _keyed(events: pl.DataFrame, rows: pl.Series, lane: Sequence[str]) -> pl.DataFrame:
    """Rows with their time and the key of their columns."""
    found = events.select("event_ts", *lane)[rows]
    return found.select("event_ts", rows.alias("row"), key=match_key(lane))


def _numbered(
    events: pl.DataFrame, heads: pl.DataFrame, tails: pl.DataFrame, lane: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Actions and touches with a number for each distinct combination of columns, ``run``."""
    rows = pl.concat([heads["row"], tails["row"]])
    columns = events.select(lane)[rows]
    keys = pl.concat([heads["key"], tails["key"]])
    both = pl.DataFrame([keys, columns.select(check=match_key(lane, other=True)).to_series()])
    distinct = both.unique()
    if distinct.height == distinct["key"].n_unique():
        run = keys.rank("dense")
    else:
        # Two groups share a hash: number them exactly.
        run = columns.select(pl.struct(lane).rank("dense")).to_series()
    run = run.cast(pl.Int64).alias("run")
    return (
        heads.with_columns(run.slice(0, heads.height)),
        tails.with_columns(run.slice(heads.height)),
    )


def _in_order(events: pl.DataFrame, each: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The pairs of all selectors, each once, by action and then in order of time."""
    some = [pairs for pairs in each if pairs.height]
    if len(some) <= 1:
        return (some or each)[0]
    pairs = pl.concat(some)
    rows = pairs["row"].unique()
    known = events.select("event_ts", "event_id")[rows].with_columns(rows)
    place = known.sort("event_ts", "event_id").select("row").with_row_index("place")
    pairs = pairs.join(place, on="row", how="left", maintain_order="left")
    pairs = pairs.sort("action", "place", "class")
    once = changed(pairs["action"].to_numpy()) | changed(pairs["place"].to_numpy())
    return pairs.filter(pl.Series(once)).drop("place")


def _before(
    events: pl.DataFrame, actions: pl.DataFrame, pairs: pl.DataFrame, candidates: pl.Series
) -> pl.DataFrame:
    """Without candidates that do not stand before the action by ``(event_ts, event_id)``."""
    own = actions["row"].gather(pairs["action"])
    ts, ids = events["event_ts"], events["event_id"]
    together = (ts.gather(pairs["row"]) == ts.gather(own)).arg_true()
    if together.is_empty():
        return pairs
    rows = pairs["row"].gather(together)
    behind = rows.is_in(candidates.implode()) & (
        ids.gather(rows) >= ids.gather(own.gather(together))
    )
    stays = np.ones(pairs.height, np.bool_)
    stays[together.filter(behind).to_numpy()] = False
    return pairs.filter(pl.Series(stays))


def _unused(pairs: pl.DataFrame, actions: pl.DataFrame, most: int) -> pl.DataFrame:
    """The pairs of each touch with the first so many actions of a day."""
    days = actions["day"].gather(pairs["action"])
    using = pairs.select("action", "row", days).with_row_index("pair").sort("row", "day", "action")
    first = changed(using["row"].to_numpy()) | changed(using["day"].to_physical().to_numpy())
    place = np.arange(using.height)
    nth = place - np.maximum.accumulate(np.where(first, place, 0))
    stays = np.zeros(pairs.height, np.bool_)
    stays[using["pair"].to_numpy()[nth < most]] = True
    return pairs.filter(pl.Series(stays))
