"""Which events a rule, or one label of it, reads.

Always holds: an ``Event`` is a frozen value; a null in a match column takes no part, and a
``where`` that comes out null selects nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from labeling.model.expr import Node, node
from labeling.model.window import duration_ms


@dataclass(frozen=True, eq=False, init=False)
class Event:
    """Selects events by type, and by more if asked.

    Args:
        types: one or more event types; any of them is selected.
        where: an expression over the event's own columns (``column("scene") == "search"``, or a
            Polars expression); events for which it is not true are not selected.
        match: columns whose equality relates the event to its anchor, ``user_id`` among them;
            the rule's match unless given.
        within: only events up to this long after their anchor, inclusive (``"5m"``); the rule's
            window unless given.

    Raises:
        ValueError: no type, an empty type, or a duration that cannot be read.

    >>> Event("like", "share").types
    ('like', 'share')
    """

    types: tuple[str, ...]
    where: Node | None
    match: tuple[str, ...] | None
    within_ms: int | None

    def __init__(
        self,
        *types: str,
        where: Node | pl.Expr | None = None,
        match: tuple[str, ...] | None = None,
        within: str | None = None,
    ) -> None:
        if not types or not all(types):
            raise ValueError(
                f"Event{types!r}: name one or more event types, such as Event('click')"
            )
        put = object.__setattr__
        put(self, "types", tuple(sorted(set(types))))
        put(self, "where", None if where is None else node(where))
        put(self, "match", None if match is None else tuple(match))
        put(self, "within_ms", None if within is None else duration_ms(within))


def event(value: Event | str) -> Event:
    """An ``Event`` as it is, or the one of a single type."""
    return Event(value) if isinstance(value, str) else value
