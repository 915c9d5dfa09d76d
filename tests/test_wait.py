"""``labeling wait``: clause M7, in this process and in one of its own beside whoever writes.

Always holds: the store is a real one; markers are made by what makes them.

Not promised: a Kafka. See test_markers_live.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
from click.testing import CliRunner, Result

from labeling.cli.main import group
from labeling.errors import StoreError
from labeling.io.store import Store
from tests.replay_project import ReplayProject, event, same_modules

T = TypeVar("T")
TEN = "2026-11-20T10"


@pytest.fixture
def project(tmp_path: Path) -> ReplayProject:
    """Two hours imported: rows at ten, none at eleven."""
    made = ReplayProject(tmp_path)
    made.take_in("a", [event("show", 10), event("click", 20), event("show", 10_800)])
    return made


def wait(project: ReplayProject, *args: str) -> Result:
    """Run it in this process."""
    options = ("--config", str(project.folder / "labeling.toml"), "--every", "20ms")
    with same_modules():
        return CliRunner().invoke(group, ["wait", "--rule", "shown", *args, *options])


def test_hours_that_are_there(project: ReplayProject) -> None:
    """Status 0 at once, for complete hours and settled ones, by name or version."""
    assert project.replay().exit_code == 0
    for more in ((), ("--settled",), ("--from", "2026-11-20T11"), ("--rule", "shown@1")):
        done = wait(project, "--through", "2026-11-20T11", *more)
        assert done.exit_code == 0, done.output
    assert (
        "shown@1: 2 hours through 2026-11-20T11 are complete"
        in wait(project, "--through", "2026-11-20T11").output
    )


def test_the_time_is_up(project: ReplayProject) -> None:
    """Status 3, and which hours are missing: those between, too; also without a store."""
    assert project.replay(from_="2026-11-20T11").exit_code == 0
    ended = wait(project, "--through", "2026-11-20T12", "--timeout", "50ms")
    assert ended.exit_code == 3
    assert "shown: not complete: 2026-11-20T12" in ended.output
    assert (
        wait(project, "--from", TEN, "--through", "2026-11-20T11", "--timeout", "1ms").exit_code
        == 3
    )
    assert project.replay(to="2026-11-20T11").exit_code == 0
    assert wait(project, "--through", "2026-11-20T11", "--timeout", "1ms").exit_code == 0
    (project.folder / "store.duckdb").rename(project.folder / "away")
    ended = wait(project, "--through", TEN, "--timeout", "1ms")
    assert (ended.exit_code, "there is no store" in ended.output) == (3, True)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--through", "2026-11-20T10:30"), "inside an hour"),
        (("--through", TEN, "--from", "2026-11-20T11"), "is after"),
        (("--through", TEN, "--timeout", "soon"), "--timeout: duration 'soon'"),
        (("--through", TEN, "--rule", "shwn"), "no such rule"),
    ],
)
def test_arguments_that_make_no_sense(
    project: ReplayProject, args: tuple[str, ...], text: str
) -> None:
    """Status 2, before anything is waited for."""
    ended = wait(project, *args)
    assert ended.exit_code == 2
    assert text in ended.output


def test_a_held_hour(project: ReplayProject) -> None:
    """Status 1 with the reason; --ignore-held goes on; a later marker lets go."""
    assert project.replay().exit_code == 0
    with Store.open(project.folder / "store.duckdb") as store:
        held = "UPDATE markers SET held = ?, held_reason = 'too few' WHERE hour = ?::TIMESTAMPTZ"
        store.database.run(held, [True, "2026-11-20 10:00:00+00"])
    ended = wait(project, "--through", TEN)
    assert ended.exit_code == 1
    assert "2026-11-20T10:00:00Z is held: too few" in ended.output
    assert wait(project, "--through", TEN, "--ignore-held").exit_code == 0
    with Store.open(project.folder / "store.duckdb") as store:
        store.database.run(held + " AND revision = 2", [False, "2026-11-20 10:00:00+00"])
    assert wait(project, "--through", TEN).exit_code == 0


def test_a_command_gets_the_markers(project: ReplayProject) -> None:
    """JSON lines on standard input; it is tried again, and its status is the end's."""
    assert project.replay().exit_code == 0
    out = project.folder / "out"
    through = ("--through", "2026-11-20T11", "--settled")
    done = wait(project, *through, "--exec", f"cat > {out}")
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(m["hour"], m["state"], m["rows"]) for m in lines] == [
        ("2026-11-20T10:00:00Z", "settled", 1), ("2026-11-20T11:00:00Z", "settled", 0)
    ]  # fmt: skip
    flaky = f"test -e {out}.again || {{ touch {out}.again; exit 9; }}"
    assert wait(project, *through, "--exec", flaky).exit_code == 0
    assert wait(project, *through, "--exec", "exit 7", "--retries", "0").exit_code == 7


def test_beside_writers_that_come_and_go(project: ReplayProject) -> None:
    """It waits before there is a marker, beside who holds the store, and never holds it itself."""
    config = str(project.folder / "labeling.toml")
    words = ["wait", "--rule", "shown", "--through", TEN, "--every", "200ms", "--timeout", "1m"]
    with subprocess.Popen(
        [sys.executable, "-m", "labeling.cli.main", *words, "--config", config],
        stderr=subprocess.PIPE, text=True,
    ) as waiting:  # fmt: skip
        try:
            assert waiting.stderr is not None
            assert "nobody serves" in waiting.stderr.readline()
            # Unlike a reader of the file, it lets writers in, and waits while they have it.
            for _ in range(2):
                with again(lambda: Store.open(project.folder / "store.duckdb")):
                    time.sleep(0.5)
            assert waiting.poll() is None
            again(lambda: _replayed(project))
            assert waiting.wait(30) == 0
        finally:
            waiting.kill()


def again(start: Callable[[], T]) -> T:
    """Start it as a supervisor does: at the moment of a look it finds the store in use."""
    for _ in range(4):
        with suppress(StoreError):
            return start()
        time.sleep(0.1)
    raise AssertionError("the store stayed in use")


def _replayed(project: ReplayProject) -> None:
    ended = project.replay(to="2026-11-20T11")
    if "in use" in ended.output:
        raise StoreError(ended.output)
    assert ended.exit_code == 0
