"""The demo's flow: `labeling run`, the real command in a process of its own.

Always holds: when the block ends the process has ended too, by SIGTERM, which drains it, or else by
SIGKILL; what it prints and logs is in files of the demo's folder.

Not promised: that it goes on when the demo's process is killed with SIGKILL itself.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from labeling.errors import DataError, LabelingError

LOG: Final = "run.log"
OUT: Final = "run.out"
_START_S: Final = 60.0
_DRAIN_S: Final = 60.0


@dataclass
class RunningFlow:
    """A running `labeling run`.

    Args:
        process: of it.
        folder: the demo's.
        store: its store.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    store: Path

    def status(self) -> dict[str, Any]:
        """What it tells of itself; empty while it starts.

        Raises:
            DataError: it has ended by itself.
        """
        from labeling.io.remote.client import Client
        from labeling.io.remote.live import read_live

        if self.process.poll() is not None:
            raise DataError(f"`labeling run` ended by itself: {self._said(LOG)}")
        live = read_live(self.store)
        try:
            return {} if live is None else Client(live).look("/status")
        except LabelingError:
            return {}

    def wait_for(self) -> None:
        """Return when it answers.

        Raises:
            DataError: it ended, or does not answer for a minute.
        """
        deadline = time.monotonic() + _START_S
        while not self.status():
            if time.monotonic() > deadline:
                raise DataError(f"`labeling run` does not start: {self._said(LOG)}")
            time.sleep(0.1)

    def stop(self) -> str:
        """Stop it as an operator would; what it prints last.

        Raises:
            DataError: it did not end well.
        """
        self.process.send_signal(signal.SIGTERM)
        if status := self.process.wait(_DRAIN_S):
            raise DataError(f"`labeling run` ended with status {status}: {self._said(LOG)}")
        return self._said(OUT)

    def _said(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8", errors="replace").strip()


@contextmanager
def running_flow(folder: Path, store: Path) -> Iterator[RunningFlow]:
    """Run the flow of a project while the block lasts."""
    line = [sys.executable, "-m", "labeling.cli.main", "run"]
    with (folder / LOG).open("wb") as log, (folder / OUT).open("wb") as out:
        # In a group of its own: on Ctrl-C it is stopped below, while its broker still answers.
        child = subprocess.Popen(  # noqa: S603 - our own command line
            line, cwd=folder, stdout=out, stderr=log, start_new_session=True
        )
        try:
            yield RunningFlow(child, folder, store)
        finally:
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End it if it runs, gently first."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_DRAIN_S / 6)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
