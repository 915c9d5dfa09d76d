"""What a flow has done beside it: compaction and retention each hour, repairs every few minutes.

Always holds: one compaction and one repair at a time, each in a process of its own of the lowest
priority; a flow that ends takes them along; one that fails is tried again when the next is due.

Not promised: that an hour is compacted at once. A backlog passes hours faster than that. Nor a
repair where nothing was committed since the last one: no watermark has moved.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Final

from labeling.config.settings import Config
from labeling.engine.watermark import NEVER
from labeling.io.store import Store

_LOG: Final = logging.getLogger("labeling")
_HOUR_MS: Final = 3_600_000
_NICE: Final = 19
_END_S: Final = 10


@dataclass
class Beside:
    """A command of this program that runs beside the flow, at most once at a time.

    Args:
        config: the configuration.
        name: of the command.
    """

    config: Config
    name: str
    failed: bool = False
    _process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it; it ends by itself if it finds no flow."""
        # Should the flow die, what runs beside it must not hold the store against the next one.
        words = ("-m", "labeling.cli.main", self.name, "--beside")
        self._process = subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, *words, "--config", str(self.config.path)],
            stdout=subprocess.DEVNULL,
            preexec_fn=_step_back,  # noqa: PLW1509 - one call of the system, no lock is held
        )

    @property
    def busy(self) -> bool:
        """Whether it runs; one that failed is told."""
        if self._process is None:
            return False
        status = self._process.poll()
        if status:
            _LOG.warning("%s ended with status %d; it is tried again later", self.name, status)
        if status is not None:
            self._process, self.failed = None, bool(status)
        return status is None

    def close(self) -> None:
        """End it if it runs."""
        if self.busy and self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


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
    _commits: int = 0

    def __post_init__(self) -> None:
        """Let repairs begin."""
        self._compaction = Beside(self.config, "compact")
        self._repair = Beside(self.config, "repair")
        self._closed = Event()
        self._thread = Thread(target=self._mend, daemon=True)
        self._thread.start()

    def passed(self, lowest_ms: int) -> None:
        """Take note of the lowest ``F`` of all sources, epoch ms, after a commit."""
        self._commits += 1
        hour = (lowest_ms - self.config.lateness_ms) // _HOUR_MS if lowest_ms > NEVER else NEVER
        if hour <= self._hour or self._compaction.busy:
            return
        first, self._hour = self._hour == NEVER, hour
        if first:
            return
        if dropped := self.store.retain(self.config.retention):
            _LOG.info(
                "retention dropped %s", ", ".join(f"{n:,} of {t}" for t, n in dropped.items())
            )
        if self.config.live.compact:
            self._compaction.start()

    def close(self) -> None:
        """End what runs."""
        self._closed.set()
        self._thread.join()
        self._compaction.close()
        self._repair.close()

    def _mend(self) -> None:
        """Start a repair every few minutes, where there was a commit since or the last failed."""
        every_s, seen = self.config.live.repair_every_ms / 1000, 0
        while every_s and not self._closed.wait(every_s):
            if not self._repair.busy and (self._commits != seen or self._repair.failed):
                seen = self._commits
                self._repair.start()


def _step_back() -> None:
    os.nice(_NICE)
