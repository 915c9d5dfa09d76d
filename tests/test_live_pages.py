"""What the pages about the live flow list is what there is: settings, metrics, failures.

Not promised: that prose is true.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from labeling.config import parse_config
from labeling.config.live import LiveConfig
from labeling.live.board import Board

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
#: Blocks that show a mistake.
WRONG: Final = "latenes = "


def page(name: str) -> str:
    """The text of a page."""
    return (DOCS / name).read_text(encoding="utf-8")


def settings(name: str) -> list[dict[str, Any]]:
    """The toml blocks of a page."""
    found = re.findall(r"^```toml\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)
    return [tomllib.loads(text) for text in found if WRONG not in text]


@pytest.mark.parametrize("name", ["configuration.md", "live.md", "operations.md"])
def test_each_configuration_is_one(name: str) -> None:
    """Each toml block is accepted as it stands."""
    blocks = settings(name)
    assert blocks
    for block in blocks:
        parse_config(block, Path("labeling.toml").resolve())


def test_every_live_setting_is_listed_with_its_default() -> None:
    """``[live]`` of the page has every key; the values are the defaults but for names."""
    (shown,) = [b["live"] for b in settings("configuration.md") if "live" in b]
    assert list(shown) == LiveConfig.file_keys()
    names = ("cluster", "changes_topic", "rejects_topic", "markers_topic", "memory")
    given = {key: value for key, value in shown.items() if key not in names}
    assert LiveConfig.model_validate(given) == LiveConfig()


def test_every_metric_is_listed() -> None:
    """Each family of the flow's own, with its labels, is in the table, and no other."""
    board = Board()
    families = {family.name: family for family in board.collect()}
    told = page("live.md").split("| metric |")[1].split("\n\n")[0]
    named = set(re.findall(r"`(labeling_\w+)`", told))
    assert {re.sub(r"_(total|count)$", "", name) for name in named} == set(families)
