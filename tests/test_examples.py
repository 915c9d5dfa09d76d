"""The examples: each labels a real log and ends with the rows that an independent source has.

Always holds: ``run.sh`` prints what the example's README shows; it ends with 1, and names the rows,
where a row differs.

Not promised: anything where the logs are not there. They lie in ``shared/data`` beside the
project's folder and are not part of it; without them these tests are skipped.
"""

from __future__ import annotations

import doctest
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import polars as pl
import pytest

from labeling.io.store import Store
from tests.test_docs import FLAGS, blocks

ROOT: Final = Path(__file__).resolve().parent.parent
DATA: Final = ROOT.parent / "shared" / "data"
EXAMPLES: Final = ("ebnerd", "ga4", "taobao")
#: The log of the smallest one, for what is tried with one only.
SMALL: Final = DATA / "taobao_userbehavior"

needs_logs = pytest.mark.skipif(
    not DATA.is_dir(), reason="the logs are not here: ../shared/data of the project's folder"
)


def run(name: str, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    """Run an example with this interpreter's ``labeling``."""
    environment = os.environ | {
        "LABELING": f"{sys.executable} -m labeling.cli.main",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
    }
    script = ROOT / "examples" / name / "run.sh"
    line = ["bash", str(script), *map(str, arguments)]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)


def asked(store: Path, statement: str) -> pl.DataFrame:
    """The answer of a store."""
    with Store.open(store, read_only=True) as opened:
        return opened.query(statement)


def shown(name: str) -> str:
    """What the example's README says that it prints."""
    page = (ROOT / "examples" / name / "README.md").read_text(encoding="utf-8")
    (text,) = (block.body for block in blocks(page) if block.language == "text")
    return text


@needs_logs
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_gives_what_its_readme_shows(name: str, tmp_path: Path) -> None:
    """The whole run: mapping, counts, rates, and every row as the independent source has it."""
    ended = run(name, DATA, tmp_path / "work")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    same = doctest.OutputChecker().check_output(shown(name), ended.stdout, FLAGS)
    assert same, f"the README shows:\n{shown(name)}\nit prints:\n{ended.stdout}"
    counts = asked(tmp_path / "work" / "store.duckdb", "from counts_total")
    assert counts["adds_up"].to_list() == [True]


@needs_logs
def test_a_difference_ends_with_1_and_is_named(tmp_path: Path) -> None:
    """One order moved in the file after the run: the comparison sees the views that it changes."""
    log, work = tmp_path / "log", tmp_path / "work"
    shutil.copytree(SMALL, log, copy_function=shutil.copyfile)
    assert run("taobao", log, work).returncode == 0
    views = asked(
        work / "store.duckdb",
        "select user_id, item_id from view_to_order where ordered order by all limit 1",
    )
    user, item = views.row(0)
    file = log / "UserBehavior.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    kept = [t for t in lines if not (t.startswith(f"{user},{item},") and ",buy," in t)]
    assert len(kept) < len(lines)
    file.write_text("\n".join(kept) + "\n", encoding="utf-8")
    ended = run("taobao", log, work)
    assert ended.returncode == 1
    assert "rows differ from the query over the raw file" in ended.stderr
    differences = pl.read_csv(work / "differences.csv", infer_schema=False)
    assert set(differences["side"]) == {"labels", "query"}
    assert set(differences["user_id"]) == {user}
    assert set(differences["item_id"]) == {item}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_log_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    """Without the log nothing is made, and the message says which file is missing."""
    ended = run(name, tmp_path, tmp_path / "work")
    assert ended.returncode == 2
    assert f"{name}: there is no " in ended.stderr
    assert not (tmp_path / "work").exists()


def test_wrong_arguments_are_a_usage_error(tmp_path: Path) -> None:
    """One argument is too few: the usage, and status 2."""
    ended = run("ebnerd", tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: ")
