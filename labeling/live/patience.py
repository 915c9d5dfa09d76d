"""Waiting for what is outside: a disk with space, a registry that answers.

Always holds: an error that may pass is tried again until it has, said once and then once a minute;
any other error goes up at once; a request to stop ends the waiting with the error itself.

Not promised: that it passes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from labeling.errors import LabelingError

_T = TypeVar("_T")
_LOG: Final = logging.getLogger("labeling")
_FIRST_S: Final = 0.2
_LONGEST_S: Final = 5.0
_SAY_EVERY_S: Final = 60.0


@dataclass(frozen=True)
class Patience:
    """How to wait.

    Args:
        pause: waits so many seconds; True: stop waiting.
        told: what is being waited for, for a status; None once it has passed.
    """

    pause: Callable[[float], bool]
    told: Callable[[str | None], None] = lambda _: None

    def __call__(self, what: str, action: Callable[[], _T]) -> _T:
        """The result of an action, tried again while it fails for what may pass."""
        wait, since_said = _FIRST_S, _SAY_EVERY_S
        waited = False
        while True:
            try:
                result = action()
            except LabelingError as error:
                if not error.transient:
                    raise
                if since_said >= _SAY_EVERY_S:
                    _LOG.warning("%s waits: %s", what, error)
                    since_said = 0.0
                self.told(f"{what}: {error}")
                waited = True
                if self.pause(wait):
                    raise
                since_said += wait
                wait = min(wait * 2, _LONGEST_S)
            else:
                if waited:
                    _LOG.info("%s goes on", what)
                    self.told(None)
                return result
