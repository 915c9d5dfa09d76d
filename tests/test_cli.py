"""The command line as a whole: every command is there, documented, and ends as promised.

Always holds: what is listed can be run, and says how.

Not promised: what each command does. Its own test file has that.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest
from click.testing import CliRunner

from labeling.cli.main import COMMANDS, group
from labeling.errors import ConfigError, DataError, LabelingError

ROOT: Final = Path(__file__).resolve().parent.parent


def leaves(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """A command, or the commands of a group, with their full names."""
    if isinstance(command, click.Group):
        for inner, below in command.commands.items():
            yield from leaves(f"{name} {inner}", below)
    else:
        yield name, command


def load(name: str) -> list[tuple[str, click.Command]]:
    """The commands behind one entry of the list."""
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return list(leaves(name, command))


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_an_example(name: str) -> None:
    """``--help`` says what the command does, shows an example, and explains every option."""
    for full, command in load(name):
        shown = CliRunner().invoke(group, [*full.split(), "--help"])
        assert shown.exit_code == 0
        assert re.search(rf"\blabeling {full}\b", shown.output), f"{full}: no example"
        assert "\\b" not in shown.output, f"{full}: click's mark is the character, not its name"
        options = [p for p in command.params if isinstance(p, click.Option)]
        assert not [p.name for p in options if not p.help and not p.hidden], full


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_documented(name: str) -> None:
    """The README or a page of docs/ shows the command."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    for full, _ in load(name):
        assert re.search(rf"\blabeling {full}\b", text), f"no page mentions 'labeling {full}'"


def test_help_lists_every_command() -> None:
    """``labeling --help`` names them all."""
    shown = CliRunner().invoke(group, ["--help"])
    assert shown.exit_code == 0
    assert not [
        name for name in COMMANDS if not re.search(rf"^  {name} ", shown.output, re.MULTILINE)
    ]


@pytest.mark.parametrize("error", [ConfigError, DataError])
def test_an_error_with_a_fix_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: type[LabelingError]
) -> None:
    """A ``LabelingError`` ends as one line on stderr and with its own status."""

    @click.command()
    def failing() -> None:
        raise error("first\nsecond: do this")

    monkeypatch.setattr(type(group), "get_command", lambda *_: failing)
    ended = CliRunner().invoke(group, ["sql"])
    assert ended.stderr == "labeling: error: first second: do this\n"
    assert ended.stdout == ""
    assert ended.exit_code == error.exit_code


def test_an_unknown_command_names_the_nearest() -> None:
    """A misspelt command is a usage error that shows the right spelling."""
    ended = CliRunner().invoke(group, ["replya"])
    assert ended.exit_code == 2
    assert "'replay'" in ended.stderr


def run(command: str, ending: str) -> subprocess.CompletedProcess[str]:
    """Run ``main`` in a process of its own with one command, whose body is given."""
    code = (
        "import click, os, signal, sys, labeling.cli.main as m\n"
        f"@click.command()\ndef c():\n    {command}\n"
        "m.Commands.get_command = lambda *_: c\n"
        "m.main(['sql'])"
    )
    line = f'"$0" -c "$1" {ending}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line, sys.executable, code],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_an_interrupt_is_130() -> None:
    """Ctrl-C ends with 130 and one line, no traceback."""
    ended = run("os.kill(os.getpid(), signal.SIGINT); signal.pause()", "")
    assert ended.returncode == 130
    assert ended.stderr.split() == ["labeling:", "interrupted"]


def test_a_reader_that_went_away_is_quiet() -> None:
    """Output into a closed pipe ends with 141 and says nothing."""
    ended = run("[click.echo('x' * 1000) for _ in range(1000)]", "| head -1 >/dev/null")
    assert ended.returncode == 141
    assert ended.stderr == ""


def test_what_a_command_returns_is_the_status() -> None:
    """A command that returns 1 ends with 1; one that returns nothing ends with 0."""
    assert run("return 1", "").returncode == 1
    assert run("pass", "").returncode == 0


def test_an_unexpected_error_is_a_traceback() -> None:
    """A bug is not dressed up: it keeps its traceback and ends with 1."""
    ended = run("raise RuntimeError('a bug')", "")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
