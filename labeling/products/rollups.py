"""Rollups of what is published."""

from __future__ import annotations

from labeling.io.store.listener import Listener
from labeling.products.context import Context


class RollupKeeper(Listener):
    """Rollups of what is published.

    Args:
        context: what all listeners know.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
