"""``labeling demo``: what a newcomer sees first, run small.

Always holds: the counts add up, labels are shown, and what it says to go on with is answered.

Not promised: the same seconds.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest

from labeling.io.store import Store

ROOT: Final = Path(__file__).resolve().parent.parent
EVENTS: Final = 4_000


def labeling(*words: str, folder: Path, temp: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own: the demo imports a module named ``rules``."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temp)}
    return subprocess.run(
        [sys.executable, "-m", "labeling.cli.main", *words],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of one small demo, and what it printed."""
    place = tmp_path_factory.mktemp("demo")
    ended = labeling(
        "demo", "--events", str(EVENTS), "--seed", "3", "--keep", "shop", folder=place, temp=place
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return place / "shop", ended.stdout


def test_the_counts_add_up(demo: tuple[Path, str]) -> None:
    """Repeats and bad records are among what was read, and every event has one outcome."""
    with Store.open(demo[0] / "store.duckdb", read_only=True) as store:
        (counts,) = store.query("from counts_total").to_dicts()
    assert counts["adds_up"]
    assert counts["rejected"] > 0
    assert counts["duplicate"] > 0
    assert counts["records"] > EVENTS
    shown = rf"│ +{counts['records']} │ +{counts['events']} │ +{counts['rejected']} │"
    assert re.search(shown, demo[1])


def test_rejects_are_shown_by_reason(demo: tuple[Path, str]) -> None:
    """Each reason of the store is in the table, with its number."""
    with Store.open(demo[0] / "store.duckdb", read_only=True) as store:
        reasons = store.query("select reason, count(*) from rejects group by reason").rows()
    assert reasons
    for reason, records in reasons:
        assert re.search(rf"│ {reason} +│ +{records} │", demo[1])


def test_labels_are_shown(demo: tuple[Path, str]) -> None:
    """One user's impressions, some clicked and some not, are in a table of labels."""
    table = demo[1].split("┃ user_id")[1]
    rows = re.findall(r"^│ (u\d+) │ \d\d:\d\d:\d\d │.*(True|False)", table, re.MULTILINE)
    assert 2 <= len(rows) <= 12
    assert len({user for user, _ in rows}) == 1
    with Store.open(demo[0] / "store.duckdb", read_only=True) as store:
        clicked = store.query("select count(*) from note_labels_final where clicked").item()
    assert clicked > 0


def test_what_it_says_to_go_on_with_runs(demo: tuple[Path, str]) -> None:
    """Every statement under "Go on with" is answered by the store that was left."""
    statements = re.findall(r'^labeling sql "(.*)"$', demo[1], re.MULTILINE)
    assert len(statements) == 3
    with Store.open(demo[0] / "store.duckdb", read_only=True) as store:
        for statement in statements:
            assert store.query(statement).height > 0


def test_its_last_line_says_that_it_is_done(demo: tuple[Path, str]) -> None:
    """The end is clear, and names the folder."""
    last = demo[1].rstrip().splitlines()[-1]
    assert re.fullmatch(r"demo: done in \d+\.\d s; all of it is in shop", last)


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    """A folder with anything in it is left as it is: a usage error that names the fix."""
    (tmp_path / "mine").touch()
    ended = labeling("demo", "--keep", str(tmp_path), folder=tmp_path, temp=tmp_path)
    assert ended.returncode == 2
    assert "not empty; name a new folder" in ended.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_without_keep_it_stays_in_a_temporary_folder(tmp_path: Path) -> None:
    """The folder is made where temporary ones go, and is still there for the statements."""
    temp = tmp_path / "temp"
    temp.mkdir()
    ended = labeling("demo", "--events", "1000", folder=tmp_path, temp=temp)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (made,) = temp.glob("labeling-demo-*")
    assert (made / "store.duckdb").is_file()
    assert ended.stdout.rstrip().endswith(f"all of it is in {made}")
    assert Path(tempfile.gettempdir()) != temp
