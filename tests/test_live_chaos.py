"""``kill -9`` at random instants under load; ``python -m tests.chaos --kills N`` for any number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.chaos import rampage, settings, settle
from tests.kafka_broker import Broker
from tests.live_process import ROOT
from tests.live_stream import simulated_project

KILLS = 20


def test_twenty_kills(broker: Broker, tmp_path: Path) -> None:
    """Every record is accounted for once, and live equals replay."""
    project = simulated_project(tmp_path / "killed", broker, **settings())
    outcome = rampage(project, KILLS, seed=1)
    assert outcome.kills == KILLS
    assert outcome.repairs
    assert settle(project, outcome).startswith("live equals replay: ")


def test_the_command_tells_its_options() -> None:
    """``--help`` says what it does and how many kills are usual."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "--kills" in done.stdout
