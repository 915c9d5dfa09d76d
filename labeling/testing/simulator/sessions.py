"""One block of sessions: what each user did, as tables of numbers.

Always holds: everything of a session follows from the block's random stream; the tables refer
to each other by row number, and what refers comes at or after what it refers to. The lists of
a session come one after the other, each item at its time, and time spent in views and on
profiles lies between them.

Not promised: that a session ends within any time, or that the events of two sessions of one
user do not overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labeling.testing.simulator.codes import Ints
from labeling.testing.simulator.world import SCENES, World, chance

PROFILE = SCENES.index("profile")


@dataclass(frozen=True)
class Sessions:
    """One row per session; ``start`` in ms of simulated time."""

    start: Ints
    user: Ints
    platform: Ints


@dataclass(frozen=True)
class Lists:
    """One row per request. ``parent`` is the view a profile was opened from, or -1."""

    session: Ints
    scene: Ints
    parent: Ints
    shown: Ints
    ts: Ints  # when it was asked for
    item: Ints  # requests x served
    affinity: NDArray[np.float32]  # requests x served


@dataclass(frozen=True)
class Shown:
    """One row per impression; ``list`` and ``position`` say where."""

    list: Ints
    position: Ints
    item: Ints
    ad: NDArray[np.bool_]
    ts: Ints


@dataclass(frozen=True)
class Views:
    """One row per click that opened a view, with the impression it was on."""

    shown: Ints
    click_ts: Ints
    start_ts: Ints
    dwell: Ints  # in the foreground
    split: Ints  # of ``dwell``: where the gap lies
    gap: Ints  # in the background, 0 for most

    @property
    def end(self) -> Ints:
        """When the view was left."""
        return self.start_ts + self.dwell + self.gap

    def at(self, rows: Ints | slice, dwelt: Ints) -> Ints:
        """The time at which so much of the dwell has passed."""
        return self.start_ts[rows] + dwelt + self.gap[rows] * (dwelt > self.split[rows])


def draw_lists(world: World, rng: np.random.Generator, base: Lists, author: Ints) -> Lists:
    """Fill lists with distinct items: of an author where ``author >= 0``, else by popularity."""
    n = len(base.session)
    slots = np.arange(world.served)
    # One class of items modulo the length of a list for each slot: no item comes twice.
    strata = world.items // world.served
    power = 1.0 / (1.0 - world.zipf)
    draws = rng.random((n, world.served)) * ((strata + 1.0) ** (1.0 - world.zipf) - 1.0)
    rank = np.minimum(((1.0 + draws) ** power).astype(np.int64) - 1, strata - 1)
    turn = rng.integers(0, world.items, n)[:, None] + slots
    own = author[:, None] + world.authors * (turn % world.items_per_author)
    item = np.where(author[:, None] >= 0, own, rank * world.served + turn % world.served)
    affinity = rng.standard_normal((n, world.served), dtype=np.float32)
    return Lists(base.session, base.scene, base.parent, base.shown, base.ts, item, affinity)


@dataclass(frozen=True)
class _Exposure:
    """Lists with what was seen of them and clicked, with durations but no times yet."""

    lists: Lists
    shown: Shown  # ts holds the time since the previous step
    clicked: Ints  # rows of ``shown``
    delay: Ints
    views: Views  # times count from the click


def _expose(world: World, rng: np.random.Generator, lists: Lists) -> _Exposure:
    seen = np.arange(world.served) < lists.shown[:, None]
    which, position = np.nonzero(seen)
    n = len(which)
    item, affinity = lists.item[seen], lists.affinity[seen]
    scene = lists.scene[which]
    ad = chance(rng, world.ad_share, n) & (scene != PROFILE)
    step = 100 + rng.exponential(world.scroll_ms - 100.0, n).astype(np.int64)
    step += (position == 0) * world.load_ms
    x = np.float32(world.click_bias) + np.float32(world.click_position) * position.astype(
        np.float32
    )
    x += np.float32(world.click_quality) * world.quality[item]
    x += np.float32(world.click_affinity) * affinity
    x += np.asarray(world.click_scene, np.float32)[scene] + np.float32(world.click_ad) * ad
    clicked = np.nonzero(chance(rng, 1.0 / (1.0 + np.exp(-x)), n))[0]
    delay = 200 + rng.exponential(world.click_delay_ms, len(clicked)).astype(np.int64)
    views = _views(world, rng, item[clicked], clicked)
    return _Exposure(lists, Shown(which, position, item, ad, step), clicked, delay, views)


def _views(world: World, rng: np.random.Generator, item: Ints, shown: Ints) -> Views:
    n = len(item)
    scale = world.dwell_quality * world.quality[item] + world.dwell_sigma * rng.standard_normal(n)
    dwell = np.minimum(world.dwell_ms * np.exp(scale), world.dwell_cap_ms).astype(np.int64)
    gap = rng.exponential(world.background_ms, n).astype(np.int64)
    gap *= chance(rng, world.background, n)
    split = dwell // (2 * world.heartbeat_ms) * world.heartbeat_ms + 1
    return Views(shown, np.zeros(n, np.int64), 50 + rng.integers(0, 250, n), dwell, split, gap)


def _spent(made: _Exposure) -> Ints:
    """From the click to the return to the list, by view."""
    return made.delay + made.views.start_ts + made.views.dwell + made.views.gap + 300


def _starts(made: _Exposure, extra: Ints, group: Ints, start: Ints) -> Ints:
    """When each step of ``made.shown`` begins: steps of a group follow each other."""
    took = made.shown.ts.copy()
    took[made.clicked] += _spent(made) + extra
    before = np.cumsum(took) - took
    of = group[made.shown.list]
    first = np.r_[True, of[1:] != of[:-1]] if len(of) else np.zeros(0, bool)
    since: Ints = before - before[first][np.cumsum(first) - 1]
    return since + start[of]


def _timed(made: _Exposure, begins: Ints, wait: int) -> tuple[Lists, Shown, Views]:
    old, views = made.shown, made.views
    shown = Shown(old.list, old.position, old.item, old.ad, begins + old.ts)
    asked = begins[old.position == 0] + wait
    click_ts = shown.ts[made.clicked] + made.delay
    start_ts = click_ts + views.start_ts
    lists = made.lists
    return (
        Lists(lists.session, lists.scene, lists.parent, lists.shown, asked, lists.item,
              lists.affinity),
        shown,
        Views(views.shown, click_ts, start_ts, views.dwell, views.split, views.gap),
    )  # fmt: skip


def _empty(
    rng: np.random.Generator, world: World, session: Ints, scene: Ints, parent: Ints
) -> Lists:
    n = len(session)
    shown = rng.integers(world.shown, world.served + 1, n)
    none = np.zeros((n, 0), np.int64)
    return Lists(session, scene, parent, shown, np.zeros(n, np.int64), none, none.astype("f4"))


def _share(rng: np.random.Generator, shares: tuple[float, ...], n: int) -> Ints:
    edges = np.cumsum(shares)[:-1]
    return np.searchsorted(edges, rng.random(n), side="right").astype(np.int64)


def draw_sessions(
    world: World, rng: np.random.Generator, n: int, start: int, end: int
) -> tuple[Sessions, Lists, Shown, Views]:
    """Draw ``n`` sessions that start in ``[start, end)`` ms, with all that they lead to.

    Lists opened from a view (profiles) follow the others; rows of one list are together and in
    the order of position.
    """
    sessions = Sessions(
        start=rng.integers(start, end, n),
        user=(world.users * rng.random(n) ** world.user_skew).astype(np.int64),
        platform=_share(rng, world.platform_share, n),
    )
    of = np.repeat(np.arange(n), rng.geometric(1.0 / world.requests, n))
    none = np.full(len(of), -1)
    feed = _empty(rng, world, of, _share(rng, world.scene_share, len(of)), none)
    main = _expose(world, rng, draw_lists(world, rng, feed, none))

    parent = np.nonzero(chance(rng, world.visit, len(main.clicked)))[0]
    on = main.clicked[parent]
    visited = of[main.shown.list[on]]
    page = _empty(rng, world, visited, np.full(len(on), PROFILE), parent)
    author = main.shown.item[on] % world.authors
    side = _expose(world, rng, draw_lists(world, rng, page, author))

    # A visit lies between the view it began on and the return to the list.
    took = side.shown.ts.copy()
    took[side.clicked] += _spent(side)
    extra = np.zeros(len(main.clicked), np.int64)
    extra[parent] = np.bincount(side.shown.list, took, len(parent)).astype(np.int64)
    one = _timed(main, _starts(main, extra, of, sessions.start), world.load_ms // 2)
    left = one[2].end[parent]
    every = np.arange(len(parent))
    two = _timed(side, _starts(side, np.zeros_like(side.delay), every, left), world.load_ms // 2)
    return sessions, *_joined(one, two)


def _joined(
    one: tuple[Lists, Shown, Views], two: tuple[Lists, Shown, Views]
) -> tuple[Lists, Shown, Views]:
    """Append the second tables to the first, with row numbers moved."""

    def both(a: Any, b: Any, field: str, move: int = 0) -> Any:
        return np.concatenate([getattr(a, field), getattr(b, field) + move])

    lists, shown, views = one
    return (
        Lists(*(both(lists, two[0], f) for f in Lists.__dataclass_fields__)),
        Shown(
            both(shown, two[1], "list", len(lists.session)),
            *(both(shown, two[1], f) for f in ("position", "item", "ad", "ts")),
        ),
        Views(
            both(views, two[2], "shown", len(shown.list)),
            *(both(views, two[2], f) for f in ("click_ts", "start_ts", "dwell", "split", "gap")),
        ),
    )
