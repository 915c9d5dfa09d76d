"""The broker of the tests itself: it ends with whoever started it, and says what it lacks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kafka_broker import Broker

_START = """
import sys
from tests.kafka_broker import Broker
broker = Broker()
broker.start()
print(broker.pid, broker.folder, flush=True)
sys.stdin.read()
"""


def test_it_does_not_outlive_its_test_run() -> None:
    """Not even one that is killed: no Java process stays behind."""
    with subprocess.Popen(
        [sys.executable, "-c", _START],
        cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as owner:  # fmt: skip
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split(maxsplit=1)
        assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"java")
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/cmdline").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)
    Broker.remove(Path(folder.strip()))


@pytest.mark.parametrize("missing", ["java", "mvn"])
def test_what_is_missing_is_said(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without Java or Maven fails the tests, in one line."""
    for tool in {"java", "mvn"} - {missing}:
        (tmp_path / tool).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=rf"^{missing} is not on PATH: .*real broker"):
        Broker()
