"""``labeling init``: what it writes works, and it writes over nothing.

Always holds: the project runs from its golden case to a labelled row, by the commands that its
README shows.

Not promised: how the files look. They are there to be changed.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner

from labeling.cli.init import command, write_project
from labeling.config import load_config
from labeling.errors import ConfigError
from tests.test_docs import run_page

WRITTEN = {
    ".gitignore",
    "README.md",
    "data/day.json",
    "labeling.toml",
    "rules/__init__.py",
    *(f"fixtures/note_labels/click_then_a_like_taken_back/{name}"
      for name in ("case.toml", "events.txt", "rows.txt")),
}  # fmt: skip


def test_it_writes_the_project_and_says_so(tmp_path: Path) -> None:
    """Every file is written, under its own name, and listed."""
    ended = CliRunner().invoke(command, [str(tmp_path / "new" / "shop")])
    folder = tmp_path / "new" / "shop"
    assert ended.exit_code == 0
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files == WRITTEN
    assert ended.output.count("wrote ") == len(WRITTEN)


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    """A folder that is there and empty is as good as none."""
    assert len(write_project(tmp_path)) == len(WRITTEN)


def test_a_folder_with_anything_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    """One hidden file is enough: nothing is written beside it, and the error names the fix."""
    (tmp_path / ".keep").touch()
    with pytest.raises(ConfigError, match="not empty; name a new folder"):
        write_project(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".keep"]


@pytest.mark.parametrize("name", ["file", "file/shop"])
def test_a_file_in_the_way_is_refused(tmp_path: Path, name: str) -> None:
    """DIR or a folder above it is a file: refused, and the file stays."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="a file is in the way"):
        write_project(tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


def test_the_configuration_is_accepted(tmp_path: Path) -> None:
    """The configuration loads without a complaint, and so does the rule that it names."""
    write_project(tmp_path)
    config = load_config(tmp_path / "labeling.toml")
    rules = runpy.run_path(str(tmp_path / "rules" / "__init__.py"))["RULES"]
    assert [source.name for source in config.sources] == ["log"]
    assert [rule.key for rule in rules] == ["note_labels@1"]
    assert config.rules == "rules:RULES"


def test_what_the_readme_shows_works(tmp_path: Path) -> None:
    """The commands of the project's own README run in it, from top to bottom."""
    write_project(tmp_path)
    assert run_page((tmp_path / "README.md").read_text(encoding="utf-8"), tmp_path) == 1
