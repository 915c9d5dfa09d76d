"""``labeling simulate`` as it is typed: what it writes, what it prints, what it refuses.

Always holds: each test writes into a folder of its own.

Not promised: anything about the rows; ``test_simulator`` holds them to their laws.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from labeling.cli.simulate import command
from labeling.errors import ConfigError, DataError
from labeling.testing.simulator import FEATURE_SCHEMA
from tests.simulated import log


def run(*arguments: str) -> str:
    """What the command prints to standard output; its errors are raised."""
    done = CliRunner().invoke(command, [*arguments], catch_exceptions=False, standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.stdout


def test_the_command_writes_parquet(tmp_path: Path) -> None:
    """The file holds the rows of the Python call, and standard output is one line about it."""
    out = tmp_path / "log.parquet"
    line = run("--events", "5000", "--hours", "2", "--start", "2026-11-20T06", "--users", "2000",
               "--items", "4000", "--features", "--out", str(out))  # fmt: skip
    assert pl.read_parquet(out).equals(log(events=5_000))
    assert line.count("\n") == 1
    assert line.startswith("5,000 events in ")
    assert str(out) in line
    features = pl.read_parquet(tmp_path / "log.features.parquet")
    assert dict(features.schema) == dict(FEATURE_SCHEMA)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.features.parquet", "log.parquet"]


def test_the_command_writes_json_lines(tmp_path: Path) -> None:
    """Repeats and bad lines are counted in the summary as they are in the file."""
    out = tmp_path / "log.jsonl"
    line = run("--events", "5000", "--disorder", "30s", "--duplicates", "0.05", "--bad", "0.02",
               "--late", "0.01", "--out", str(out))  # fmt: skip
    repeats, bad = (int(w.strip("(,")) for w in line.replace("and ", "").split()[2:5:2])
    assert len(out.read_bytes().splitlines()) == 5_000 + repeats + bad
    assert 150 < repeats < 350
    assert 50 < bad < 160


def test_the_command_refuses_bad_lines_in_parquet(tmp_path: Path) -> None:
    """Parquet holds no line that is no event; nothing is written."""
    with pytest.raises(ConfigError, match="jsonl"):
        run("--events", "50", "--bad", "0.1", "--out", str(tmp_path / "log.parquet"))
    assert not list(tmp_path.iterdir())


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """A folder that is missing, or a world that fails half-way, leaves nothing behind."""
    with pytest.raises(DataError, match="cannot write"):
        run("--events", "50", "--out", str(tmp_path / "none" / "log.parquet"))
    with pytest.raises(ConfigError, match="items=5"):
        run("--events", "50", "--items", "5", "--out", str(tmp_path / "log.jsonl"))
    assert not list(tmp_path.iterdir())
