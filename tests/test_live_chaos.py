"""``kill -9`` at random instants under load; ``python -m tests.chaos --kills N`` for any number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import prepared, rampage, settle
from tests.kafka_broker import Broker
from tests.live_process import ROOT

KILLS = 20


@pytest.mark.timeout(600)  # twenty starts and what they left, on a machine that does other work
def test_twenty_kills(broker: Broker, tmp_path: Path) -> None:
    """Every record is accounted for once, live equals replay, products equal a recount."""
    project = prepared(tmp_path / "killed", broker)
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
