"""Exports beside a flow, in processes of their own, and killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from labeling.io.endpoint import Endpoint, Limits
from labeling.io.remote import RemoteStore, open_store
from labeling.io.store import Store
from labeling.model.event import TS
from tests.offline_project import VIEW, OfflineProject, by_arrow, by_duckdb, by_polars, mark
from tests.replay_project import T0, event

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def project(tmp_path: Path) -> OfflineProject:
    """300 rows of 150 users in an hour, replayed."""
    one = OfflineProject(tmp_path)
    one.shown(300)
    return one


def test_beside_a_flow(project: OfflineProject) -> None:
    """Through the endpoint, whose answers to others are cut far below an hour: the same file."""
    with Store.open(project.config.store) as store:
        limits = Limits(rows=10, timeout_ms=20_000)
        with (
            Endpoint(store, "127.0.0.1:0", limits=limits),
            open_store(store.path, read_only=True) as far,
        ):
            assert isinstance(far, RemoteStore)
            assert [d.rows for d in project.exporter(part_rows=70).run(far)] == [300]
    assert by_polars(project.root / "shown").drop("dt", "hour").equals(project.query(VIEW))


def spawn(project: OfflineProject, *words: str) -> subprocess.Popen[bytes]:
    """``labeling export`` in a process of its own."""
    config = str(project.folder / "labeling.toml")
    command = [sys.executable, "-m", "labeling.cli.main", "export", *words, "--config", config]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)


def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


#: An export that dies: at the n-th look at whether it shall stop, or between its two files.
DYING = """
import os, signal, sys
from labeling.io.store import Store
from labeling.products.offline.files import OfflineFolder
from tests.offline_project import OfflineProject

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

looks = int(sys.argv[2])
def stopping():
    global looks
    looks -= 1
    return looks == 0 and die()

if looks < 0:
    OfflineFolder.put_marker = die
project = OfflineProject.there(sys.argv[1])
project.export(stopping=stopping, part_rows=100)
"""


@pytest.mark.parametrize("looks", [2, 3, 5, -1], ids=["reading", "read", "writing", "between"])
def test_killed_in_the_middle(project: OfflineProject, looks: int) -> None:
    """After ``kill -9`` a whole hour is there, the old or the new one; the next export goes on."""
    project.export()
    old = pl.read_parquet(project.part("dt=2026-11-20/hour=10"))
    project.take_in("late", [event("click", 20, "u0001", "i1")])
    project.publish()
    new = project.query(VIEW)
    command = [sys.executable, "-c", DYING, str(project.folder), str(looks)]
    died = subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert list((project.root / ".export").rglob("*.arrow"))
    for read in (by_polars, by_duckdb, by_arrow):
        found = read(project.root / "shown").drop("dt", "hour")
        assert found.with_columns(pl.col("anchor_ts").cast(TS)).equals(new if looks < 0 else old)
    assert [d.marker_only for d in project.export()] == [False]
    assert by_polars(project.root / "shown").drop("dt", "hour").equals(new)
    assert not list((project.root / ".export").rglob("*"))


def test_follow(project: OfflineProject) -> None:
    """It waits without the store's file, exports when a flow is there, and ends on SIGTERM."""
    hour = "dt=2026-11-20/hour=10"
    following = spawn(project, "--follow", "--every", "0.1")
    try:
        with Store.open(project.config.store) as store, Endpoint(store, "127.0.0.1:0"):
            marker = project.root / "shown" / "dt=2026-11-20" / "hour=10" / "_marker.json"
            until(marker.exists)
            mark(store, T0)
            revision = store.query("SELECT max(revision) FROM markers").item()
            until(lambda: project.marker(hour)["markers"][0]["revision"] == revision)
        with Store.open(project.config.store):
            assert following.poll() is None
        following.send_signal(signal.SIGTERM)
        said = following.communicate(timeout=30)[1].decode()
    finally:
        following.kill()
        following.wait()
    assert following.returncode == 0, said
    assert "shown/dt=2026-11-20/hour=10: 300 rows" in said
