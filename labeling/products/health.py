"""What was known of labels, and when."""

from __future__ import annotations

from labeling.io.store.listener import Listener
from labeling.products.context import Context


class HealthKeeper(Listener):
    """What was known of labels, and when.

    Args:
        context: what all listeners know.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
