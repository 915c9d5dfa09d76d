"""From the tables of a block of sessions to groups of events, one per type.

Always holds: what may be referred to stands in a group before what refers to it, so that a
stable sort by time keeps them in that order.

Not promised: any order within a group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labeling.testing.simulator.codes import NULL, Ints
from labeling.testing.simulator.sessions import PROFILE, Lists, Sessions, Shown, Views
from labeling.testing.simulator.world import World, chance


@dataclass(frozen=True)
class Group:
    """Events of one type: when, about which impression, and what is theirs alone."""

    kind: str
    ts: Ints
    shown: Ints
    view: Ints | None = None  # done on this view's page
    named: float = 0.0  # share with impression and request ids
    has_item: float = 1.0
    has_view_id: bool = False
    order: Ints | None = None
    cents: Ints | None = None
    duration: Ints | None = None


@dataclass(frozen=True)
class Drawn:
    """The tables of a block; ``base`` is the first free number for ids of its chunk."""

    sessions: Sessions
    lists: Lists
    shown: Shown
    views: Views
    base: int

    @property
    def numbers(self) -> int:
        """How many numbers its ids take up, those of its events aside."""
        return max(len(self.lists.ts) + len(self.views.shown), len(self.shown.ts))


def _later(rng: np.random.Generator, mean: int, n: int) -> Ints:
    return 300 + rng.exponential(mean, n).astype(np.int64)


def draw_groups(world: World, rng: np.random.Generator, made: Drawn) -> list[Group]:
    """All events of a block."""
    views, shown = made.views, made.shown
    every = np.arange(len(views.shown))
    first = np.nonzero((shown.position == 0) & (made.lists.scene[shown.list] == 1))[0]
    hidden = np.nonzero(chance(rng, world.hide, len(shown.ts)))[0]
    twice = np.nonzero(chance(rng, world.double_click, len(every)))[0]
    shown_all = np.arange(len(shown.ts))
    hide_ts = shown.ts[hidden] + _later(rng, world.click_delay_ms, len(hidden))
    ends = np.nonzero(chance(rng, world.with_view_end, len(every)))[0]
    beats = views.dwell // world.heartbeat_ms
    of = np.repeat(every, beats)
    nth = np.arange(len(of)) - np.repeat(np.cumsum(beats) - beats, beats) + 1
    referring = world.references
    return [
        Group("search", made.lists.ts[shown.list[first]], first, named=1.0, has_item=0.0),
        Group("impression", shown.ts, shown_all, named=1.0),
        Group("hide", hide_ts, hidden, named=referring),
        Group("click", views.click_ts, views.shown, named=referring),
        Group("click", views.click_ts[twice] + world.double_click_ms, views.shown[twice],
              named=referring),
        Group("view_start", views.start_ts, views.shown, every, named=referring, has_view_id=True),
        Group("view_heartbeat", views.at(of, nth * world.heartbeat_ms), views.shown[of], of,
              has_view_id=True),
        Group("view_end", views.end[ends], views.shown[ends], ends, has_view_id=True,
              duration=views.dwell[ends]),
        *_actions(world, rng, made),
        *_orders(world, rng, made),
    ]  # fmt: skip


def _actions(world: World, rng: np.random.Generator, made: Drawn) -> list[Group]:
    views, n = made.views, len(made.views.shown)

    def done(rate: float | NDArray[np.float64]) -> tuple[Ints, Ints]:
        rows = np.nonzero(chance(rng, rate, n))[0]
        dwelt = (rng.random(len(rows)) * views.dwell[rows]).astype(np.int64)
        return rows, views.at(rows, dwelt)

    def group(kind: str, rows: Ints, ts: Ints, has_item: float = 1.0) -> Group:
        named = world.action_references
        return Group(kind, ts, views.shown[rows], rows, named=named, has_item=has_item)

    def undone(kind: str, rate: float, mean: int, rows: Ints, ts: Ints) -> Group:
        some = np.nonzero(chance(rng, rate, len(rows)))[0]
        later, rows = ts[some] + _later(rng, mean, len(some)), rows[some]
        return Group(kind, later, views.shown[rows], None if kind == "unfollow" else rows)

    like = done(world.like)
    on_profile = made.lists.scene[made.shown.list[views.shown]] == PROFILE
    follow = done(np.where(on_profile, world.follow_profile, world.follow))
    return [
        group("like", *like),
        undone("unlike", world.unlike, 2_000, *like),
        *(group(kind, *done(getattr(world, kind))) for kind in ("favorite", "comment", "share")),
        group("follow", *follow, has_item=world.follow_items),
        undone("unfollow", world.unfollow, world.unfollow_ms, *follow),
    ]


def _orders(world: World, rng: np.random.Generator, made: Drawn) -> list[Group]:
    views = made.views
    rows = np.nonzero(chance(rng, world.order, len(views.shown)))[0]
    wait = _later(rng, world.order_later_ms, len(rows))
    wait *= chance(rng, world.order_later, len(rows))
    ts = views.end[rows] + wait
    cents = (world.order_cents * np.exp(0.7 * rng.standard_normal(len(rows)))).astype(np.int64) + 1
    back = np.nonzero(chance(rng, world.refund, len(rows)))[0]
    partial = chance(rng, world.refund_partial, len(back))
    returned = np.where(partial, (cents[back] + 1) // 2, cents[back])
    refund_ts = ts[back] + _later(rng, world.refund_ms, len(back))
    named = world.action_references
    return [
        Group("order", ts, views.shown[rows], np.where(wait > 0, NULL, rows), named=named,
              order=rows, cents=cents),
        Group("refund", refund_ts, views.shown[rows[back]], order=rows[back], cents=returned),
    ]  # fmt: skip
