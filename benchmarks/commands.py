"""Our commands as processes of their own, so that time and memory are theirs alone.

Always holds: a command that fails raises with what it said.

Not promised: ``peak_bytes`` to the last moment, which is not looked at, nor where there is no
``/proc`` and ``ru_maxrss`` is not in KiB.
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

_LOOK_SECONDS: Final = 0.05
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
        peak, done = 0, 0
        while not done:
            peak = max(peak, _peak_bytes(process.pid))
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            time.sleep(0 if done else _LOOK_SECONDS)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}: status {process.returncode}\n{said}")
    cpu = usage.ru_utime + usage.ru_stime
    return Ran(seconds, cpu, peak or usage.ru_maxrss * 1024, said)


def _peak_bytes(pid: int) -> int:
    """The most memory that a running process has held; 0 where the system does not tell.

    ``ru_maxrss`` will not do: a child inherits what its parent held when it was started.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return found[0] * 1024 if found else 0


def labeling(words: Sequence[str], folder: Path) -> Ran:
    """Run ``labeling`` with these words in a folder."""
    return python(["labeling.cli.main", *words], folder)
