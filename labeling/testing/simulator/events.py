"""From groups of events to events in the order of time, every field filled in.

Always holds: ids are counted within the block's chunk, from the block's base; an event that
names another (an impression, a view, an order) comes after it.

Not promised: that every event says what it could say. How often tracking leaves out a
reference is a constant of the world.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from labeling.testing.simulator.codes import (
    FIELD,
    FIELDS,
    NULL,
    SERVED_FIELD,
    SERVED_FIELDS,
    Codes,
    Ints,
    time_order,
)
from labeling.testing.simulator.groups import Drawn, draw_groups
from labeling.testing.simulator.world import EVENT_TYPES, EXPERIMENTS, World, chance

TYPE: Final = {name: code for code, name in enumerate(EVENT_TYPES)}


def _kinds(*names: str) -> NDArray[np.bool_]:
    return np.isin(EVENT_TYPES, names)


ON_LIST: Final = _kinds("search", "impression", "hide", "click", "view_start")  # log the scene
IN_SLOT: Final = _kinds("impression", "hide", "click")  # log the position
PLAYABLE: Final = _kinds("impression", "view_start")  # log how long the item plays
BEATING: Final = _kinds("view_heartbeat", "view_end")  # do not log the page before
AWAY: Final = _kinds("order", "refund", "unfollow")  # may come after the session


def _chosen(ts: Ints, session: NDArray[np.int32], end: int, most: int) -> Ints:
    """The rows before ``end``, of so many sessions as give ``most`` of them.

    Of the last session its first events are taken: what they refer to came before them.
    """
    inside = int(np.searchsorted(ts, end))
    session = session[:inside]
    if inside <= most:
        return np.arange(inside)
    before = np.cumsum(np.bincount(session))
    last = int(np.searchsorted(before, most))
    rest = most - int(before[last - 1]) if last else most
    of_last = session == last
    return np.flatnonzero((session < last) | (of_last & (np.cumsum(of_last) <= rest)))


def draw_events(
    world: World, rng: np.random.Generator, made: Drawn, chunk: int, *, end: int, most: int
) -> Codes:
    """The events of a block before ``end`` in time order; ``most`` of them, if there are more."""
    groups = draw_groups(world, rng, made)
    ts, order = time_order(np.concatenate([group.ts for group in groups]))
    sizes = [len(group.ts) for group in groups]
    session = made.lists.session[made.shown.list].astype(np.int32)
    session = np.concatenate([session.take(group.shown) for group in groups]).take(order)
    rows = _chosen(ts, session, end, most)
    ts, order = ts.take(rows), order.take(rows)

    def sorted_by_time(parts: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(parts).take(order)

    def own(field: str) -> NDArray[np.int32]:
        values = (getattr(group, field) for group in groups)
        parts = [np.full(n, NULL) if v is None else v for n, v in zip(sizes, values, strict=True)]
        return sorted_by_time([part.astype(np.int32) for part in parts])

    def coin(field: str) -> NDArray[np.bool_]:
        rates = (float(getattr(group, field)) for group in groups)
        return sorted_by_time(
            [
                chance(rng, rate, n) if 0.0 < rate < 1.0 else np.full(n, rate >= 1.0)
                for n, rate in zip(sizes, rates, strict=True)
            ]
        )

    kind = np.repeat(np.array([TYPE[g.kind] for g in groups], np.int32), sizes).take(order)
    logged: dict[str, NDArray[Any]] = {
        f: own(f) for f in ("shown", "view", "order", "cents", "duration")
    }
    logged["type"] = kind
    logged["pairs"] = coin("has_view_id") & _view_coin(world, rng, made, logged["view"])
    named, has_item = coin("named"), coin("has_item")
    fields = _fields(world, made, logged, named=named, has_item=has_item)
    of = np.empty((len(FIELDS), len(ts)), np.int32)
    of[FIELD["chunk"]] = chunk
    of[FIELD["number"]] = np.arange(made.base, made.base + len(ts), dtype=np.int32)
    for name, values in fields.items():
        of[FIELD[name]] = values
    return Codes(ts, of)


def _view_coin(
    world: World, rng: np.random.Generator, made: Drawn, view: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """A view logs its id in all of its events or in none."""
    coins = chance(rng, world.with_view_id, len(made.views.shown))
    return np.append(coins, False).take(view)  # the last is for -1: no view


def _fields(
    world: World,
    made: Drawn,
    logged: dict[str, NDArray[Any]],
    *,
    named: NDArray[np.bool_],
    has_item: NDArray[np.bool_],
) -> dict[str, NDArray[Any]]:
    """Every field but the event's number, from its impression, view and list."""
    small = {
        "list": made.shown.list,
        "session": made.lists.session,
        "user": made.sessions.user,
        "platform": made.sessions.platform,
        "item": made.shown.item,
        "position": made.shown.position,
        "scene": made.lists.scene,
    }
    table = {name: values.astype(np.int32) for name, values in small.items()}
    kind, shown, view = logged["type"], logged["shown"], logged["view"]
    lists = table["list"].take(shown)
    session = table["session"].take(lists)
    user = table["user"].take(session)
    item = table["item"].take(shown)
    about = kind != TYPE["search"]
    ad = made.shown.ad.take(shown) & about
    away = AWAY[kind] & (view < 0)
    page, referrer = _pages(made, lists, view)

    def where(condition: NDArray[np.bool_], values: NDArray[Any]) -> NDArray[np.int32]:
        return np.where(condition, values, np.int32(NULL))

    def number(condition: NDArray[np.bool_], rows: NDArray[np.int32]) -> NDArray[np.int32]:
        return where(condition, rows + np.int32(made.base))

    return {
        "type": kind,
        "user": user,
        "item": where(about & has_item, item),
        "author": where(about, item % np.int32(world.authors)),
        "request": number(named, lists),
        "impression": number(named & about, shown),
        "view": number(logged["pairs"], view),
        "order": number(logged["order"] >= 0, logged["order"]),
        "scene": where(ON_LIST[kind], table["scene"].take(lists)),
        "page": number(~away, page),
        "referrer": number((referrer >= 0) & ~away & ~BEATING[kind], referrer),
        "position": where(IN_SLOT[kind], table["position"].take(shown)),
        "cents": logged["cents"],
        "session": number(~away, session),
        "platform": table["platform"].take(session),
        "experiments": user % np.int32(len(EXPERIMENTS)),
        "query": where(~about, item % np.int32(world.queries)),
        "duration": logged["duration"],
        "item_duration": where(PLAYABLE[kind], world.item_durations.take(item)),
        "ad": where(about, ad),
        "campaign": where(ad, item % np.int32(world.campaigns)),
    }


def _pages(
    made: Drawn, lists: NDArray[np.int32], view: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The page of each event and the one before: lists are numbered first, then views."""
    count, session = len(made.lists.session), made.lists.session
    rows = np.arange(count, dtype=np.int32)
    follows = np.r_[False, session[1:] == session[:-1]] & (made.lists.parent < 0)
    before = np.where(follows, rows - 1, np.int32(NULL))
    before = np.where(made.lists.parent >= 0, count + made.lists.parent, before).astype(np.int32)
    opened = view >= 0
    page = np.where(opened, view + np.int32(count), lists)
    return page, np.where(opened, lists, before.take(lists))


def draw_served(made: Drawn, kept: Codes, chunk: int) -> Codes:
    """What was served with lists of which an item was seen, by (time, list, slot).

    ``affinity`` is a 32 bit float, carried as its bits.
    """
    lists = made.lists
    shown = kept.of[FIELD["type"]] == TYPE["impression"]
    seen = kept.of[FIELD["request"]][shown] - made.base
    rows = np.nonzero(np.bincount(seen, minlength=len(lists.ts)))[0]
    rows = rows[np.argsort(lists.ts[rows], kind="stable")]
    each = lists.item.shape[1]
    every = np.repeat(rows, each)
    of = np.empty((len(SERVED_FIELDS), len(every)), np.int32)
    of[SERVED_FIELD["chunk"]] = chunk
    of[SERVED_FIELD["request"]] = every + made.base
    of[SERVED_FIELD["item"]] = lists.item[rows].ravel()
    of[SERVED_FIELD["slot"]] = np.tile(np.arange(each), len(rows))
    of[SERVED_FIELD["affinity"]] = lists.affinity[rows].ravel().view(np.int32)
    return Codes(lists.ts[every], of)
