"""Samples told to topics, in the formats that trainers want."""

from __future__ import annotations

from labeling.io.store.listener import Listener
from labeling.products.context import Context


class SampleTopics(Listener):
    """Samples told to topics, in the formats that trainers want.

    Args:
        context: what all listeners know.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
