"""What the README and the pages of docs/ show is run, and what docstrings show too.

Always holds, for each page, from top to bottom, in one empty folder:

- a ``console`` block: each line that starts with ``$ `` is run by bash and must end with 0; what
  stands below it must be what it prints, where ``...`` stands for anything;
- a ``python`` block is executed; the blocks of a page share their names;
- a block below ``<!-- file: NAME -->`` is written to that file;
- a ``toml`` block parses;
- a block below ``<!-- not run: reason -->`` is left alone.

Not promised: that prose is true.
"""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

import backfill
import labeling
import rules

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK: Final = re.compile(
    r"(?:^<!-- *(?P<mark>not run|file): *(?P<text>.*?) *-->\n+)?"
    r"^```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
FLAGS: Final = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """One fenced block; ``mark`` is what the comment above it says of it, ``text`` the rest."""

    language: str
    body: str
    mark: str | None
    text: str | None


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = BLOCK.finditer(page)
    return [Block(m["language"], m["body"], m["mark"], m["text"]) for m in found]


def steps(body: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output shown below it."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        while command.endswith("\\"):
            more, _, output = output.partition("\n")
            command = f"{command}\n{more}"
        yield command, output


def run_console(body: str, folder: Path) -> None:
    """Run the commands of a block in ``folder``, with this environment's scripts first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    for command, expected in steps(body):
        ended = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        printed = ended.stdout + ended.stderr
        assert ended.returncode == 0, f"$ {command}\n{printed}"
        if expected.strip():
            same = doctest.OutputChecker().check_output(expected, printed, FLAGS)
            assert same, f"$ {command}\nthe page shows:\n{expected}\nit prints:\n{printed}"


def run_page(page: str, folder: Path) -> int:
    """Run every block of a page in ``folder``; how many there were to run."""
    names: dict[str, Any] = {"__name__": "__page__"}
    count = 0
    for block in blocks(page):
        if block.mark == "not run":
            assert block.text, "say why it is not run"
            continue
        if block.mark == "file" and block.text:
            path = folder / block.text
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")
        elif block.language == "console":
            run_console(block.body, folder)
        elif block.language == "python":
            exec(compile(block.body, "<page>", "exec"), names)  # noqa: S102 - our own pages
        elif block.language == "toml":
            tomllib.loads(block.body)
        else:
            assert block.language in ("", "text", "sql", "json"), f"not run: {block.language}"
            continue
        count += 1
    return count


def modules() -> list[str]:
    """Every module of the packages and of the shipped rules, templates left out."""
    found = [
        info.name
        for package in (labeling, backfill, rules)
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    return ["labeling", "backfill", "rules", *(m for m in found if "templates" not in m)]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_what_a_page_shows_is_so(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block of the page runs, in order, in one folder, and prints what is shown."""
    monkeypatch.chdir(tmp_path)
    run_page(page.read_text(encoding="utf-8"), tmp_path)


@pytest.mark.parametrize("module", modules())
def test_what_a_docstring_shows_is_so(module: str) -> None:
    """Each ``>>>`` example of the module gives what stands below it."""
    failed, _ = doctest.testmod(importlib.import_module(module), optionflags=FLAGS)
    assert failed == 0


def test_a_page_is_run_block_by_block(tmp_path: Path) -> None:
    """Files are written, commands run in the same folder, output compared up to the dots."""
    page = (
        "<!-- file: sub/a.txt -->\n```text\none\ntwo\n```\n"
        "```console\n$ cat sub/a.txt\none\n...\n$ wc -l \\\n  < sub/a.txt\n2\n```\n"
        "```python\nx = 1\n```\ntext\n```python\nassert x == 1\n```\n"
        "<!-- not run: it ends with 1 -->\n```console\n$ false\n```\n"
    )
    assert run_page(page, tmp_path) == 4


@pytest.mark.parametrize(
    "page",
    [
        "```console\n$ false\n```\n",
        "```console\n$ echo one\ntwo\n```\n",
        "```python\nassert False\n```\n",
        "```ruby\nputs 1\n```\n",
        "<!-- not run: -->\n```console\n$ true\n```\n",
    ],
)
def test_a_page_that_is_wrong_fails(page: str, tmp_path: Path) -> None:
    """A failing command, another output, a failing assertion, a block nobody runs: each is seen."""
    with pytest.raises(AssertionError):
        run_page(page, tmp_path)
