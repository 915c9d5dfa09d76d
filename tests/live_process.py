"""``labeling run`` in processes of its own: started, waited for, killed.

Always holds: leaving the block leaves no process of the flow behind; what it and the repairs beside
it said is in ``log``.

Not promised: the end of a repair whose flow was killed. It ends by itself, and ``repairs`` names it
until then (Linux).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from labeling.errors import LabelingError
from labeling.io.remote import open_store
from labeling.io.remote.client import Client
from labeling.io.remote.live import read_live
from tests.live_main import DIED
from tests.live_project import LiveProject

ROOT: Final = Path(__file__).resolve().parent.parent
#: What does not happen in this time does not happen.
DEADLINE_S: Final = 60
#: A process that has lost another ends, or waits for it in vain.
AFTER_S: Final = 3
KILLED: Final = -signal.SIGKILL


@dataclass
class Flow:
    """The processes of one flow."""

    project: LiveProject
    running: list[subprocess.Popen[bytes]]
    log: Path = field(default_factory=Path)

    def wait(self, deadline_s: float = DEADLINE_S) -> list[int]:
        """The statuses, once all have ended; after a failure the others have some seconds."""
        deadline = time.monotonic() + deadline_s
        while None in (codes := [p.poll() for p in self.running]):
            if any(codes):
                deadline = min(deadline, time.monotonic() + AFTER_S)
            if time.monotonic() > deadline:
                assert any(codes), f"still running:\n{self.said}"
                self.end()
            time.sleep(0.02)
        return [int(p.returncode) for p in self.running]

    def end(self) -> None:
        """Let none go on."""
        for one in self.running:
            one.kill()
            one.wait()

    def done(self, deadline_s: float = DEADLINE_S) -> None:
        """Wait, and hold it to a clean end."""
        assert self.wait(deadline_s) == [0] * len(self.running), self.said

    def died(self) -> bool:
        """Wait for the end; whether it was death and not a clean one, or an error."""
        codes = self.wait()
        dead = any(code in (DIED, KILLED) for code in codes)
        assert dead or not any(codes), self.said
        return dead

    def kill(self, process: int = 0) -> None:
        """``kill -9``."""
        self.running[process].kill()

    def stop(self) -> None:
        """SIGTERM to all, and hold them to a clean end."""
        for one in self.running:
            one.send_signal(signal.SIGTERM)
        self.done()

    @property
    def said(self) -> str:
        """Everything that the processes wrote."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def ask(self, sql: str) -> pl.DataFrame | None:
        """Ask the store while it runs, never opening its file; None where nobody answers yet."""
        path = self.project.config.store
        live = read_live(path)
        try:
            if live is None or Client(live).greet() is None:
                return None
            with open_store(path, read_only=True) as store:
                return store.query(sql)
        except LabelingError:
            return None

    def until(self, sql: str, holds: Callable[[pl.DataFrame], bool]) -> pl.DataFrame:
        """The first answer for which it holds, of a flow that goes on running."""
        deadline = time.monotonic() + DEADLINE_S
        last = None
        while time.monotonic() < deadline:
            assert all(p.poll() is None for p in self.running), self.said
            last = self.ask(sql)
            if last is not None and holds(last):
                return last
            time.sleep(0.05)
        raise AssertionError(f"{sql}: {last}\n{self.said}")

    def until_said(self, text: str) -> None:
        """Wait for a line of the log."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.said:
            assert time.monotonic() < deadline, self.said
            assert any(p.poll() is None for p in self.running), self.said
            time.sleep(0.02)


def repair(project: LiveProject, die: str = "") -> int:
    """Repair the store of a project in a process of its own; its status.

    Args:
        project: whose.
        die: the point and the time at which it dies; see ``tests.live_main``.
    """
    deadly = ["--die", die] if die else []
    done = subprocess.run(
        [sys.executable, "-m", "tests.live_main", *deadly, "repair"],
        cwd=project.folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False, capture_output=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode


def repairs(project: LiveProject) -> list[int]:
    """Processes that repair a project's store beside a flow, this one or an earlier one."""
    return [int(p.name) for p in Path("/proc").glob("[0-9]*") if _repairs(p, project.folder)]


def _repairs(process: Path, folder: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        return b"repair" in words and (process / "cwd").readlink() == folder.resolve()
    except OSError:  # It has ended, or is another user's.
        return False


@contextmanager
def flow(
    project: LiveProject,
    *args: str,
    processes: int = 1,
    die: tuple[str, int] | None = None,
    victim: int = -1,
) -> Iterator[Flow]:
    """A flow, as long as the block lasts.

    Args:
        project: whose folder it runs in.
        args: of ``labeling run``.
        processes: how many.
        die: the point and the time at which one of them dies; see ``tests.live_main``.
        victim: which one; the last unless told.
    """
    log = project.folder / "flow.log"
    addresses = ",".join(f"127.0.0.1:{port}" for port in _free_ports(processes))
    started = Flow(project, [], log)
    try:
        with log.open("wb") as out:
            for number in range(processes):
                dies = die and number == victim % processes
                deadly = ["--die", f"{die[0]}:{die[1]}"] if die and dies else []
                cluster = ["-i", str(number), "-a", addresses] if processes > 1 else []
                started.running.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "tests.live_main", *deadly, "run", *cluster, *args],
                        cwd=project.folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
                        stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    )
                )  # fmt: skip
        yield started
    finally:
        started.end()


def catch_up(
    project: LiveProject, *args: str, processes: int = 1, deadline_s: float = DEADLINE_S
) -> str:
    """A flow until it has caught up; what it said."""
    with flow(project, "--until-caught-up", *args, processes=processes) as one:
        one.done(deadline_s)
        return one.said


def _free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
