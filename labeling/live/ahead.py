"""Reading ahead: the next round is polled and decoded while this one is stepped and committed.

Always holds: rounds come in the order in which they were read, at most one is read ahead; one that
failed is read again by the next call; the consumer group is told of a round's positions once the
one after it is asked for, when it has been committed.

Not promised: that a round read ahead is ever used. At a stop it is dropped, and read again by the
next run from the committed positions.
"""

from __future__ import annotations

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from labeling.live.gather import Gather, Round
from labeling.live.items import Batch

#: Two threads take turns at Python's lock: the other's short calls must not wait the default 5 ms.
_SWITCH_S: Final = 0.0002


@dataclass
class Ahead:
    """Rounds of a gather, one read ahead."""

    gather: Gather
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "reading"))
    _coming: Future[Round] | None = None
    _given: Round | None = None

    def __post_init__(self) -> None:
        """Let the threads take turns quickly."""
        sys.setswitchinterval(_SWITCH_S)

    def next(self) -> list[Batch]:
        """The batches of the next round; the round before is in the store by now."""
        coming, self._coming = self._coming or self._submit(), None
        made = coming.result()
        if not self.gather.done:
            self._coming = self._submit(self._given)
        elif self._given is not None:
            self.gather.tell(self._given)
        self._given = made
        return made.batches

    @property
    def done(self) -> bool:
        """Whether everything up to the given ends has been given."""
        return self._coming is None and self.gather.done

    def close(self) -> None:
        """Let go of the clusters, once the thread has ended."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self.gather.close()

    def _submit(self, committed: Round | None = None) -> Future[Round]:
        return self._thread.submit(self._read, committed)

    def _read(self, committed: Round | None) -> Round:
        if committed is not None:
            self.gather.tell(committed)
        return self.gather.next()
