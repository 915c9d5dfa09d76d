"""A small project with an attribution rule, for the tests of replay and verify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from labeling import AttributionRule, Event, last_touch, linear
from tests import replay_project
from tests.streamed import StreamedProject

MICRO = 1_000_000
ORDERS = AttributionRule(
    name="orders",
    action=Event("order"),
    match=("user_id",),
    touches=(Event("click", within="1h"),),
    credit={"last": last_touch(), "linear": linear()},
    value="value",
    repeat_within="10s",
    undone_by=Event("cancel", match=("user_id", "order_id")),
    refunded_by=Event("refund", match=("user_id", "order_id")),
    undone_within="2h",
    path="item_id",
    carry=("order_id",),
    touch_carry=("item_id",),
)
RULES = (ORDERS,)
KEY = ("user_id", "anchor_ts", "anchor_id", "touch_ts", "touch_id")


class AttributionProject(StreamedProject):
    """A project whose rules are ``RULES`` of this module."""

    def __init__(self, folder: Path, more: str = "") -> None:
        super().__init__(folder, more)
        text = (folder / "labeling.toml").read_text()
        mapped = 'position = "slot"\norder_id = "order"\nvalue = "value"\n'
        text = text.replace('position = "slot"\n', mapped)
        self.configure(
            text.replace("tests.replay_project:RULES", "tests.attribution_project:RULES")
        )

    def take_in(self, name: str, events: list[dict[str, Any]], **more: Any) -> None:  # type: ignore[override] # as of a source of files
        """Import events as one file."""
        self.load(self.file(f"{name}.jsonl", events), source="old", **more)

    def told(self, *columns: str) -> list[tuple[Any, ...]]:
        """Columns of the current rows, by key."""
        return self.query(
            f"SELECT {', '.join(columns)} FROM orders_v1 ORDER BY {', '.join(KEY)}"
        ).rows()

    def log(self) -> pl.DataFrame:
        """Updates and retractions, by key and revision."""
        return self.query(f"FROM label_changes ORDER BY {', '.join(KEY)}, revision")


def event(kind: str, second: float, item: str | None = None, **more: Any) -> dict[str, Any]:
    """A record of user ``u``, unless it says otherwise."""
    made = replay_project.event(kind, second, more.pop("user", "u"), "-")
    return {**made, "item": item, **more}
