"""What a flow has done beside it each time an hour is over: compaction, retention.

Always holds: one compaction at a time, in a process of its own of the lowest priority; a flow that
ends takes it along; one that fails is tried again after the next hour.

Not promised: that an hour is compacted at once. A backlog passes hours faster than that.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Final

from labeling.config.settings import Config
from labeling.engine.watermark import NEVER
from labeling.io.store import Store

_LOG: Final = logging.getLogger("labeling")
_HOUR_MS: Final = 3_600_000
_NICE: Final = 19
_END_S: Final = 10


@dataclass
class Upkeep:
    """The upkeep of one store.

    Args:
        config: the configuration.
        store: of the flow.
    """

    config: Config
    store: Store
    _hour: int = NEVER
    _compaction: subprocess.Popen[bytes] | None = field(default=None)

    def passed(self, lowest_ms: int) -> None:
        """Take note of the lowest ``F`` of all sources, epoch ms, after a commit."""
        hour = (lowest_ms - self.config.lateness_ms) // _HOUR_MS if lowest_ms > NEVER else NEVER
        if hour <= self._hour or self._busy():
            return
        first, self._hour = self._hour == NEVER, hour
        if first:
            return
        if dropped := self.store.retain(self.config.retention):
            _LOG.info(
                "retention dropped %s", ", ".join(f"{n:,} of {t}" for t, n in dropped.items())
            )
        if self.config.live.compact:
            # Should the flow die, its compaction must not hold the store against the next one.
            words = ("-m", "labeling.cli.main", "compact", "--beside")
            self._compaction = subprocess.Popen(  # noqa: S603 - this program itself
                [sys.executable, *words, "--config", str(self.config.path)],
                stdout=subprocess.DEVNULL,
                preexec_fn=_step_back,  # noqa: PLW1509 - one call of the system, no lock is held
            )

    def close(self) -> None:
        """End the compaction that runs."""
        if self._busy() and self._compaction is not None:
            self._compaction.terminate()
            try:
                self._compaction.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._compaction.kill()
                self._compaction.wait()

    def _busy(self) -> bool:
        """Whether a compaction runs; one that failed is told."""
        if self._compaction is None:
            return False
        status = self._compaction.poll()
        if status:
            _LOG.warning("compaction ended with status %d; the next hour tries again", status)
        if status is not None:
            self._compaction = None
        return status is None


def _step_back() -> None:
    os.nice(_NICE)
