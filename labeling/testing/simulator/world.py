"""The simulated world: who there is, what there is, and the constants of behaviour.

Always holds: every rate and coefficient that traffic is drawn from is a field of ``World``, so
what a trainer or a test should find again can be read here. The author, quality and duration
of an item, and the experiments of a user, are functions of the item or user and of the
world alone: they are the same for every seed of the traffic.

Not promised: that this is how people behave. It is shaped like a feed app's log, with the
properties that rules have to cope with, and nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: The columns that the simulated log declares beyond the contract.
EXTRA_COLUMNS: Final[Mapping[str, str]] = {
    "duration_ms": "i64",  # view_end: what the client says it was looked at
    "item_duration_ms": "i64",  # impression, view_start: how long the item plays
    "is_ad": "bool",
    "campaign_id": "str",
}

EVENT_TYPES: Final = (
    "search",
    "impression",
    "hide",
    "click",
    "view_start",
    "view_heartbeat",
    "view_end",
    "like",
    "unlike",
    "favorite",
    "comment",
    "share",
    "follow",
    "unfollow",
    "order",
    "refund",
)
SCENES: Final = ("discovery", "search", "following", "profile")
PLATFORMS: Final = ("ios", "android", "web")
EXPERIMENTS: Final = tuple((f"rank:{a}", f"ui:{b}") for a in "abc" for b in "abc")
LARGEST: Final = 10_000_000  # ids have seven digits


@dataclass(frozen=True)
class World:
    """Sizes, rates and coefficients. Shares and rates are probabilities; times are ms.

    A click happens with probability ``1 / (1 + exp(-x))`` where ``x = click_bias +
    click_position * position + click_quality * quality(item) + click_affinity * affinity +
    click_scene[scene] + (click_ad if the slot is an ad)``; quality and affinity are standard
    normal and are logged as features. Rates of actions are per opened view.

    Raises:
        ValueError: sizes that cannot make a list of distinct items, or too many for the ids.

    >>> World(users=10, items=200).authors
    10
    """

    # Who and what
    users: int = 100_000
    items: int = 50_000
    items_per_author: int = 20
    campaigns: int = 200
    queries: int = 1_000
    zipf: float = 0.9  # popularity of an item falls with rank ** -zipf
    user_skew: float = 1.25  # 1.0: every user starts equally many sessions
    item_seed: int = 7  # draws the qualities and durations of items
    item_duration_ms: int = 20_000  # median; log-normal with sigma 0.8

    # Sessions, requests and lists
    daily_curve: float = 0.4  # sessions start at 1 +- this times the mean rate, most at 20 h UTC
    requests: float = 3.5  # mean per session, geometric; profile visits come on top
    scene_share: tuple[float, float, float] = (0.6, 0.25, 0.15)  # discovery, search, following
    platform_share: tuple[float, float, float] = (0.45, 0.45, 0.1)  # ios, android, web
    served: int = 10  # items in a list
    shown: int = 6  # of them at least so many are seen, up to all, uniformly
    load_ms: int = 400  # from the end of the last list to the first item, asked for half-way
    scroll_ms: int = 1_200  # mean from one item to the next
    ad_share: float = 0.08  # of slots outside profiles
    hide: float = 0.004  # per impression

    # Clicks
    click_bias: float = -2.2
    click_position: float = -0.1
    click_quality: float = 0.7
    click_affinity: float = 0.5
    click_scene: tuple[float, float, float, float] = (0.0, 0.4, 0.2, 0.3)  # by SCENES
    click_ad: float = -0.6
    click_delay_ms: int = 900  # mean after the first 200
    double_click: float = 0.01
    double_click_ms: int = 200

    # Views
    dwell_ms: int = 6_000  # median at quality 0; times exp(dwell_quality * quality)
    dwell_quality: float = 0.4
    dwell_sigma: float = 1.0
    dwell_cap_ms: int = 600_000
    heartbeat_ms: int = 5_000
    with_view_id: float = 0.9
    with_view_end: float = 0.92
    background: float = 0.03  # views with a gap in their heartbeats
    background_ms: int = 60_000  # mean length of the gap

    # What is done on a view
    like: float = 0.08
    unlike: float = 0.1  # of likes
    favorite: float = 0.03
    comment: float = 0.02
    share: float = 0.015
    follow: float = 0.03
    follow_profile: float = 0.1  # on a view that was reached from the author's profile
    unfollow: float = 0.1  # of follows
    unfollow_ms: int = 3_600_000  # mean
    visit: float = 0.08  # of views outside profiles lead to the author's profile
    order: float = 0.04
    order_later: float = 0.4  # of orders come after the session
    order_later_ms: int = 7_200_000  # mean delay of those
    order_cents: int = 3_000  # median value
    refund: float = 0.1  # of orders
    refund_ms: int = 21_600_000  # mean delay
    refund_partial: float = 0.3  # of refunds are of half the value

    # What tracking carries
    references: float = 0.7  # clicks and view_starts with impression_id
    action_references: float = 0.1  # actions with impression_id and request_id
    follow_items: float = 0.5  # follows that name the item they were done on

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn from."""
        if not 1 <= self.shown <= self.served <= self.items_per_author <= self.items:
            raise ValueError(
                f"World(shown={self.shown}, served={self.served}, items_per_author="
                f"{self.items_per_author}, items={self.items}): must not fall from left to right"
            )
        if not (1 <= self.users <= LARGEST and self.items <= LARGEST):
            raise ValueError(
                f"World(users={self.users}, items={self.items}): users from 1, "
                f"and both up to {LARGEST:,}, as ids have seven digits"
            )
        if self.zipf >= 1 or self.zipf < 0:
            raise ValueError(f"World(zipf={self.zipf}): from 0 (even) to below 1")

    @property
    def authors(self) -> int:
        """The author of an item is ``item % authors``."""
        return self.items // self.items_per_author

    @cached_property
    def quality(self) -> NDArray[np.float32]:
        """Standard normal, by item."""
        return self._items.standard_normal(self.items, dtype=np.float32)

    @cached_property
    def item_durations(self) -> NDArray[np.int32]:
        """How long each item plays, in ms, by item."""
        draws = self._items.spawn(1)[0].standard_normal(self.items)
        return (self.item_duration_ms * np.exp(0.8 * draws)).astype(np.int32)

    @property
    def _items(self) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.item_seed)))


def stream(*key: int) -> np.random.Generator:
    """The random stream of a key: independent of every other key's.

    >>> bool(stream(1, 2).random() == stream(1, 2).random())
    True
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def chance(rng: np.random.Generator, rate: float | NDArray[Any], n: int) -> NDArray[np.bool_]:
    """``n`` independent coins that come up true with probability ``rate``."""
    return rng.random(n, dtype=np.float32) < rate
