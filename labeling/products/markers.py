"""Digests and markers of hours."""

from __future__ import annotations

from labeling.io.store.listener import Listener
from labeling.products.context import Context


class MarkerKeeper(Listener):
    """Digests and markers of hours.

    Args:
        context: what all listeners know.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
