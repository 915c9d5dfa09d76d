"""``labeling demo``: what a newcomer sees first, run small.

Always holds: live traffic is labelled, verified and told, by commands that can be typed again; its
last line is that of the verification; no process outlives it, also after Ctrl-C.

Not promised: the same seconds.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Final

import pytest
from rich.console import Console

from labeling.cli.demo_traffic import Sender, records
from labeling.cli.demo_view import Seen, rates
from labeling.io.store import Store

ROOT: Final = Path(__file__).resolve().parent.parent
EVENTS: Final = 6_000
LINE: Final = [sys.executable, "-m", "labeling.cli.main"]
LAST: Final = r"live equals replay: [\d,]+ rows, 0 differences"


def surroundings(temp: Path) -> dict[str, str]:
    """The environment of a demo: the demo imports a module named ``rules``."""
    return os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temp)}


def labeling(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run(
        [*LINE, *words], cwd=folder, env=surroundings(folder),
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def broker_of(folder: Path) -> tuple[str, int]:
    """Where the demo's broker listened."""
    config = tomllib.loads((folder / "labeling.toml").read_text())
    host, _, port = config["cluster"]["main"]["bootstrap"].rpartition(":")
    return host, int(port)


def is_gone(pid: int) -> bool:
    """Whether no such process runs."""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of one small demo, and what it printed."""
    place = tmp_path_factory.mktemp("demo")
    words = ["--events", str(EVENTS), "--seconds", "2", "--seed", "3", "--keep", "shop"]
    ended = labeling("demo", *words, folder=place)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return place / "shop", ended.stdout


def test_its_last_line_is_that_of_the_verification(demo: tuple[Path, str]) -> None:
    """Live equals replay, of thousands of rows; the same line stands below `labeling verify`."""
    lines = demo[1].rstrip().splitlines()
    assert re.fullmatch(LAST, lines[-1]), lines[-1]
    assert int(lines[-1].split()[3].replace(",", "")) > EVENTS / 4
    assert lines.count(lines[-1]) == 2


def test_the_counts_add_up(demo: tuple[Path, str]) -> None:
    """Repeats and bad records are among what was read, and every event has one outcome."""
    with Store.open(demo[0] / "store.duckdb", read_only=True) as store:
        (counts,) = store.query("from counts_total").to_dicts()
    assert counts["adds_up"]
    assert counts["accepted"] == EVENTS
    assert min(counts["rejected"], counts["duplicate"]) > 0
    shown = rf"│ +{counts['records']} │ +{counts['events']} │ +{counts['rejected']} │"
    assert re.search(shown, demo[1])
    assert re.search(rf"{counts['records']:,} sent, 0 to read; {EVENTS:,} accepted, ", demo[1])


def test_what_stands_behind_a_dollar_runs_again(demo: tuple[Path, str]) -> None:
    """Each command that needs no broker prints in the folder what the demo showed below it."""
    shown = re.split(r"^\$ ", demo[1], flags=re.MULTILINE)[1:]
    commands = [part.partition("\n") for part in shown]
    again = [(c, out) for c, _, out in commands if c.startswith(("labeling v", "labeling e"))]
    assert [c.split()[1] for c, _ in again] == ["verify", "explain"]
    for command, output in again:
        ended = labeling(*shlex.split(command)[1:], folder=demo[0])
        assert ended.returncode == 0, ended.stderr
        assert output.startswith(ended.stdout)
    assert commands[1][0] == "labeling run > run.out 2> run.log &"


def test_one_label_is_told(demo: tuple[Path, str]) -> None:
    """A row that changed: anchor, points, the first revision and the next, and agreement."""
    told = demo[1].split("$ labeling explain")[1]
    assert re.search(r"│ \+0\.000 s +│ impression \w+ +│ the anchor ", told)
    assert re.search(r"-- the window ends +│ published", told)
    assert re.search(r"│ +1 │ insert .*\n│ +2 │ update ", told)
    assert re.search(
        r"^published, revision \d+: clicked = .*; so say its events$", told, re.MULTILINE
    )


def test_what_it_says_to_go_on_with_runs(demo: tuple[Path, str]) -> None:
    """Every statement under "Go on" is answered by the store that was left."""
    statements = re.findall(r"^labeling sql (.*)$", demo[1], re.MULTILINE)
    assert len(statements) == 3
    with Store.open(demo[0] / "store.duckdb", read_only=True) as store:
        for statement in statements:
            assert store.query(shlex.split(statement)[0]).height > 0


def test_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    """In the middle of the traffic: status 130, the flow drained and gone, the broker too."""
    folder = tmp_path / "shop"
    words = ["demo", "--events", "20000", "--seconds", "60", "--keep", str(folder)]
    child = subprocess.Popen(
        [*LINE, *words], cwd=tmp_path, env=surroundings(tmp_path), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with child:
        live = folder / "store.duckdb.live"
        deadline = time.monotonic() + 60
        while not live.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        flow = json.loads(live.read_text())["pid"]
        time.sleep(1)
        os.killpg(child.pid, signal.SIGINT)
        _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert is_gone(flow)
    assert "watermark" in (folder / "run.out").read_text()
    with pytest.raises(OSError, match=r"refused"):
        socket.create_connection(broker_of(folder), timeout=1)


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    """A folder with anything in it is left as it is: a usage error that names the fix."""
    (tmp_path / "mine").touch()
    ended = labeling("demo", "--keep", str(tmp_path), folder=tmp_path)
    assert ended.returncode == 2
    assert "not empty; name a new folder" in ended.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_traffic_is_the_same_for_a_seed() -> None:
    """The same records for the same seed, others for another; repeats and bad ones on top."""
    made = records(2_000, 1)
    assert made == records(2_000, 1)
    assert made != records(2_000, 2)
    assert len(made) > 2_000


def test_traffic_is_late_within_the_lateness() -> None:
    """Some records come later than ``max_disorder``, none later than the lateness on top of it."""
    first, behind = 0, []
    for record in records(5_000, 1):
        with suppress(ValueError, KeyError):
            at = json.loads(record)["event_ts"]
            if isinstance(at, int) and at < 1.8e12:
                first = max(first, at)
                behind.append(first - at)
    assert sum(ms > 30_000 for ms in behind) > 5
    assert max(behind) <= 630_000


def test_a_terminal_shows_totals_and_rates() -> None:
    """What was read by outcome, and how much more a second than at the time before."""
    status = {"events": {"traffic.accepted": 300}, "records": {"traffic": 310}}
    table = rates(Seen(1.0, 0, 500, {}), Seen(4.0, 340, 500, status))
    console = Console(width=80, record=True, file=StringIO())
    console.print(table)
    shown = console.export_text()
    assert re.search(r"records sent, of 500 +│ +340 │ +113 │", shown)
    assert re.search(r"accepted +│ +300 │ +100 │", shown)
    assert re.search(r"lag, records +│ +30 │", shown)


class Writer:
    """Takes records down."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.values: list[bytes] = []

    def send(self, keys: list[bytes], values: list[bytes], token: int) -> None:
        """Take some."""
        self.keys += keys
        self.values += values
        assert token == len(self.values)


def test_records_are_sent_evenly() -> None:
    """As many as are due, each once and in order, all of them in the end."""
    writer = Writer()
    made = [b"%d" % n for n in range(100)]
    sender = Sender(writer, made, 10)  # type: ignore[arg-type] # all that it uses
    assert not sender.advance(0)
    assert not sender.advance(2.5)
    assert len(writer.values) == 25
    assert sender.advance(11)
    assert writer.values == made
    assert len(set(writer.keys)) > 4
