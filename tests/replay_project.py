"""A small project with a rule, for the tests of replay."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from click.testing import Result

from labeling import Event, LabelRule, count, happened
from tests.import_project import CONFIG, Project

T0 = datetime(2026, 11, 20, 10, tzinfo=UTC)
RULE = LabelRule(
    name="shown",
    anchor=Event("show"),
    match=("user_id", "item_id"),
    window="30m",
    early=("1m",),
    labels={"clicked": happened("click"), "clicks": count("click")},
    carry=("item_id", "position"),
)
RULES = (RULE,)


def event(
    kind: str, second: float, user: str = "u", item: str = "i", **more: Any
) -> dict[str, Any]:
    """A record of an event some seconds after ``T0``; its id follows from the rest."""
    at = T0 + timedelta(seconds=second)
    name = f"{kind}-{user}-{item}-{second}"
    ts = int(at.timestamp() * 1000)
    return {"id": name, "ts": ts, "type": kind, "user": user, "item": item, **more}


class ReplayProject(Project):
    """A project whose rules are ``RULES`` of this module."""

    def __init__(self, folder: Path, more: str = "") -> None:
        super().__init__(folder, f'rules = "tests.replay_project:RULES"\n{more}' + CONFIG)

    def take_in(self, name: str, events: Sequence[dict[str, Any]], **more: Any) -> None:
        """Import events as one file."""
        self.load(self.file(f"{name}.jsonl", events), **more)

    def replay(self, *args: str, from_: str = "2026-11-20T10", to: str = "2026-11-20T12") -> Result:
        """Run ``labeling replay``."""
        with same_modules():
            return self.command("replay", "--from", from_, "--to", to, *args)

    def rows(self) -> pl.DataFrame:
        """Current rows by key."""
        return self.query("SELECT * FROM shown_v1 ORDER BY anchor_ts, user_id, anchor_id")

    def changes(self) -> list[tuple[Any, ...]]:
        """Updates and retractions: user, revision, kind, reason, new value."""
        return self.query(
            "SELECT user_id, revision, kind, reason, new FROM label_changes ORDER BY ALL"
        ).rows()


@contextmanager
def same_modules() -> Iterator[None]:
    """Keep ``tests`` importable by the name that pytest gave it, whatever a command imports."""
    path, modules = list(sys.path), dict(sys.modules)
    try:
        yield
    finally:
        sys.path[:] = path
        sys.modules.update(modules)
