"""The pages that led to an action: clause A8b of docs/attribution.md.

Always holds: a trail is a part of the action's pages in their order, and depends on nothing but
them: on their ``page_id`` and ``referrer_page_id``, and on which of them the action names.

Not promised: that the events of one stay on a page are told apart. Each of them stands for the
stay as well as the latest, and it is the latest that is on the trail.

Work is by stays, over all actions at once: a loop over the places of the longest session, and one
over the length of the longest trail; no loop over pages.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from labeling.engine.attribution.leading import NONE, leading
from labeling.engine.attribution.ranges import Whole, changed, lengths, starts
from labeling.engine.dense import positions
from labeling.model.session import SESSION


def trails(events: pl.DataFrame, actions: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs whose touch is on the trail of their action.

    Args:
        events: ``page_id``, ``referrer_page_id``, ``item_id`` and ``session``.
        actions: ``row`` of each.
        pairs: ``action``, ``row`` (the touch's), by action, then in the order of the touches.
    """
    session = events[SESSION]
    heads = actions["row"].gather(pairs["action"])
    pairs = pairs.filter(session.gather(pairs["row"]) == session.gather(heads))
    if pairs.is_empty():
        return pairs
    pages, referrers = _numbered(events, pairs["row"])
    named = _named(events, pairs["row"], actions["row"].gather(pairs["action"]))
    runs = starts(changed(pairs["action"].to_numpy()))
    return pairs.filter(pl.Series(on_trail(runs, pages, referrers, named)))


def on_trail(
    runs: Whole, pages: Whole, referrers: Whole, named: npt.NDArray[np.int8]
) -> npt.NDArray[np.bool_]:
    """Whether each page is on the trail of its run.

    Args:
        runs: where the pages of each action begin; the first is 0.
        pages: the number of each one's ``page_id``, ``NONE`` for null; in order inside a run.
        referrers: the number of its ``referrer_page_id``, by the same numbers.
        named: how well the action names it; the trail is that of the latest of the greatest.

    >>> pages, referrers = np.array([4, 5, 4, 6]), np.array([NONE, 4, NONE, NONE])
    >>> on_trail(np.array([0]), pages, referrers, np.zeros(4, np.int8)).tolist()
    [False, False, True, True]
    """
    total = len(pages)
    run = np.repeat(np.arange(len(runs)), lengths(runs, total))
    places = np.arange(total)
    best = named == np.maximum.reduceat(named, runs)[run]
    tips = np.maximum.reduceat(np.where(best, places, NONE), runs)
    told = np.where(referrers == pages, NONE, referrers)
    seen = np.flatnonzero(places <= tips[run])
    run, pages, told = run[seen], pages[seen], told[seen]
    stays = np.flatnonzero(~_stays_on(run, pages, told))
    latest = seen[np.append(stays[1:], len(seen)) - 1]
    led_by = leading(run[stays], pages[stays], told[stays])
    on = np.zeros(total, np.bool_)
    on[latest[_followed(np.flatnonzero(np.isin(latest, tips)), led_by)]] = True
    return on


def _stays_on(run: Whole, pages: Whole, told: Whole) -> npt.NDArray[np.bool_]:
    """Whether each page is the one before it, and led to by what that one is led to by."""
    same = (pages != NONE) & ~changed(run) & ~changed(pages)
    stays: npt.NDArray[np.bool_] = same & ((told == NONE) | ~changed(told))
    return stays


def _followed(at: Whole, led_by: Whole) -> Whole:
    """These, what led to them, and so on."""
    found = [at]
    while len(at):
        at = led_by[at]
        at = at[at != NONE]
        found.append(at)
    return np.concatenate(found)


def _numbered(events: pl.DataFrame, rows: pl.Series) -> tuple[Whole, Whole]:
    """The ``page_id`` and ``referrer_page_id`` of rows as numbers, equal ones alike."""
    known = rows.unique()
    columns = [events[c].gather(known) for c in ("page_id", "referrer_page_id")]
    numbers = pl.concat(columns).to_arrow().dictionary_encode().indices.fill_null(NONE)
    both = numbers.to_numpy(zero_copy_only=False).astype(np.int64)
    place = positions(known, events.height).gather(rows).to_numpy()
    return both[: len(known)][place], both[len(known) :][place]


def _named(events: pl.DataFrame, rows: pl.Series, heads: pl.Series) -> npt.NDArray[np.int8]:
    """2 for a page with the action's ``page_id``, 1 for one with its ``item_id``, else 0."""

    def same(column: str) -> pl.Series:
        values = events[column]
        return (values.gather(rows) == values.gather(heads)).fill_null(value=False)

    page, item = same("page_id").to_numpy(), same("item_id").to_numpy()
    return np.where(page, 2, np.where(item, 1, 0)).astype(np.int8)
