"""Our commands as processes of their own, so that time and memory are theirs alone.

Always holds: a command that fails raises with what it said.

Not promised: ``peak_bytes`` on systems whose ``ru_maxrss`` is not in KiB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Ran:
    """What a process took and printed; ``peak_bytes`` is the most memory that it held."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str

    def told(self, events: int) -> dict[str, float]:
        """Seconds, events per second, and memory in GB."""
        return {
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "events_per_second": round(events / self.seconds),
            "peak_gb": round(self.peak_bytes / 1e9, 3),
        }


def python(words: Sequence[str], folder: Path) -> Ran:
    """Run ``python -m`` with these words in a folder; start-up is part of the time.

    Raises:
        RuntimeError: it did not end with 0; the message is what it printed.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}: status {process.returncode}\n{said}")
    cpu = usage.ru_utime + usage.ru_stime
    return Ran(seconds, cpu, usage.ru_maxrss * 1024, said)


def labeling(words: Sequence[str], folder: Path) -> Ran:
    """Run ``labeling`` with these words in a folder."""
    return python(["labeling.cli.main", *words], folder)
