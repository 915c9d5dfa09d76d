"""Turns: who asked first goes first.

Always holds: one thread at a time has its turn, in the order in which they asked, so that neither
a busy stream nor a row of big publications keeps the other out for longer than one turn.

Not promised: that a turn is short. A thread that asks within its own turn is refused, not stuck.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, get_ident

from labeling.errors import StoreError


class Turns:
    """A lock whose waiters are served in order."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._waiting: deque[Event] = deque()
        self._owner: int | None = None
        self._what = ""

    @contextmanager
    def turn(self, what: str) -> Iterator[None]:
        """Wait for the turn and have it for the block.

        Args:
            what: what it is for, in words.

        Raises:
            StoreError: this thread has its turn already.
        """
        mine = Event()
        with self._guard:
            if self._owner == get_ident():
                raise StoreError(
                    f"commit {what!r} was opened inside another ({self._what!r}); finish that "
                    "one first"
                )
            self._waiting.append(mine)
            if len(self._waiting) == 1:
                mine.set()
        try:
            mine.wait()
            self._owner, self._what = get_ident(), what
            yield
        finally:
            self._leave(mine)

    def _leave(self, mine: Event) -> None:
        with self._guard:
            if self._waiting[0] is mine:
                self._owner = None
            self._waiting.remove(mine)
            if self._waiting:
                self._waiting[0].set()
