"""The pages that led to an action (clause A8b), with a list for the way back.

Always holds: a trail is a list of pages in order, the last of which the action names best.

Not promised: speed.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.model.assign import Fact


def trail_of(action: Fact, pages: Sequence[Fact]) -> list[Fact]:
    """The pages that led to an action.

    Args:
        action: its ``page_id`` and ``item_id`` tell where it was done.
        pages: its touches in its session, in order.
    """
    ways: list[list[Fact]] = []
    for e in pages:
        ways.append([*way_to(e, ways), e])
    for column in ("page_id", "item_id"):
        for way in reversed(ways):
            if action[column] is not None and way[-1][column] == action[column]:
                return way
    return ways[-1] if ways else []


def way_to(e: Fact, ways: Sequence[list[Fact]]) -> list[Fact]:
    """The trail of what led to a page, given the trails of all pages before it."""
    own, referrer = e["page_id"], e["referrer_page_id"]
    if referrer is not None and referrer != own:
        return next((w for w in reversed(ways) if w[-1]["page_id"] == referrer), [])
    just_before = ways[-1] if ways else []
    for place in reversed(range(len(just_before))):
        if own is not None and just_before[place]["page_id"] == own:
            return just_before[:place]
    return just_before
