"""What every benchmark says beside its results: the machine, the versions, the parameters.

Always holds: one result is one line of JSON, keys in the same order.

Not promised: that the machine was idle; ``load`` is its one-minute load average when the run began.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import polars as pl


@dataclass
class Took:
    """Seconds of wall time and of processor time (all threads) that a block took."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def rate(self, events: int) -> int:
        """Events per second of wall time."""
        return round(events / max(self.seconds, 1e-9))

    def told(self, events: int) -> dict[str, float]:
        """The three figures of a timing."""
        return {
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "events_per_second": self.rate(events),
        }


@contextmanager
def timed() -> Iterator[Took]:
    """Time a block; garbage of what came before is collected first.

    >>> with timed() as took:
    ...     _ = sum(range(10))
    >>> took.seconds > 0
    True
    """
    gc.collect()
    took = Took()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield took
    finally:
        took.seconds = time.perf_counter() - wall
        took.cpu_seconds = time.process_time() - cpu


def resident_bytes() -> int:
    """Memory that this process holds now; 0 where the system does not say (no /proc)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def machine() -> dict[str, Any]:
    """Cores, memory in GB, processor and load."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": cores,
        "memory_gb": round(memory / 1e9, 1),
        "cpu": _processor(),
        "load": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def versions() -> dict[str, str]:
    """Python, the libraries that do the work, and our commit (``+`` where files differ from it)."""
    return {
        "python": platform.python_version(),
        "polars": pl.__version__,
        "duckdb": duckdb.__version__,
        "numpy": version("numpy"),
        "commit": _commit(),
    }


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown"
    here = Path(__file__).resolve().parent

    def ask(*words: str) -> str:
        run = subprocess.run([git, *words], cwd=here, capture_output=True, text=True, check=False)
        return run.stdout.strip()

    head = ask("rev-parse", "--short=12", "HEAD")
    return (head + ("+" if ask("status", "--porcelain") else "")) if head else "unknown"


def line(name: str, parameters: Mapping[str, Any], results: Mapping[str, Any], load: float) -> str:
    """The one line of a benchmark."""
    return json.dumps(
        {
            "benchmark": name,
            "machine": {**machine(), "load": load},
            "versions": versions(),
            "parameters": dict(parameters),
            "results": dict(results),
        }
    )


def say(text: str) -> None:
    """Progress, for whoever watches; standard output holds the line alone."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
