"""A project with cold rules beside a hot one, its input, and what its store should say.

Always holds: what is expected comes from ``evaluate`` over the whole archive at once, without any
repair's steps, parts, or books but ``F`` and the commit that was read.

Not promised: that ``evaluate`` is right. The models of tests/model say so elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl
from click.testing import Result

from labeling import AttributionRule, Event, LabelRule, count, end_of_day, happened, linear
from labeling.engine.changes import changes, empty_stored
from labeling.engine.evaluate import evaluate
from labeling.engine.points import points
from labeling.io.store.repairs import repaired_of
from labeling.model.event import IDENTITY
from labeling.model.kinds import Rule
from labeling.model.table import table_of
from tests.replay_project import RULE, event, same_modules
from tests.streamed import StreamedProject

PAIR: Final = ("user_id", "item_id")
BOUGHT: Final = LabelRule(
    name="bought",
    anchor=Event("show"),
    match=PAIR,
    window="6h",
    early=("1h",),
    repeat_within="2s",
    labels={"bought": happened("buy"), "clicks": count("click")},
    carry=("item_id",),
)
BY_MIDNIGHT: Final = LabelRule(
    name="by_midnight",
    anchor=Event("click"),
    match=PAIR,
    window=end_of_day(0, tz="Asia/Shanghai"),
    early=("1h",),
    assign="every",
    labels={"buys": count("buy")},
    carry=(),
)
CAUSES: Final = AttributionRule(
    name="causes",
    action=Event("buy"),
    match=PAIR,
    touches=(Event("click", within="5h"),),
    credit=linear(),
    undone_by=Event("return"),
    undone_within="3h",
    carry=(),
    touch_carry=(),
)
COLD: Final[tuple[Rule, ...]] = (BOUGHT, BY_MIDNIGHT, CAUSES)
RULES: Final[tuple[Rule, ...]] = (RULE, *COLD)
TYPES: Final = ("show", "show", "click", "click", "buy", "return")
#: Nobody's: it moves the watermark.
TICK: Final = {"item": "none"}


class RepairProject(StreamedProject):
    """A project whose rules are ``RULES`` of this module; the hot one is streamed."""

    def __init__(self, folder: Path, more: str = "") -> None:
        super().__init__(folder, more)
        text = (folder / "labeling.toml").read_text()
        self.configure(text.replace("tests.replay_project:", "tests.repair_project:"))

    def repair(self, *args: str) -> Result:
        """Run ``labeling repair``."""
        with same_modules():
            done = self.command("repair", *args)
        assert done.exit_code == 0, done.output
        return done


def random_events(seed: int, count: int = 120, hours: float = 30) -> list[dict[str, Any]]:
    """Events of few users and items, in the order of time; a tick every half hour."""
    chance = random.Random(seed)
    seconds = sorted(chance.sample(range(int(hours * 3600)), count))
    made = [
        event(chance.choice(TYPES), s, chance.choice("uvw"), chance.choice("ij")) for s in seconds
    ]
    ticks = [event("tick", s, **TICK) for s in range(0, int(hours * 3600) + 1, 1800)]
    return sorted((*made, *ticks), key=lambda e: e["ts"])


def batches(events: Sequence[dict[str, Any]], seed: int) -> Iterator[list[dict[str, Any]]]:
    """The events in batches of random length, in their order."""
    chance, at = random.Random(seed), 0
    while at < len(events):
        size = chance.randint(1, 30)
        yield list(events[at : at + size])
        at += size


def expected_rows(project: RepairProject, rule: Rule) -> pl.DataFrame:
    """The rows of a cold rule: each anchor's at the latest point that repairs have passed."""
    events, asked = _asked(project, rule)
    last = asked.sort("row", "point_ts").unique("row", keep="last", maintain_order=True)
    rows = evaluate(rule, events, last)
    return rows.filter("present").select(list(rule.row_schema)).sort(rule.row_keys)


def expected_changes(project: RepairProject, rule: Rule) -> pl.DataFrame:
    """Updates and retractions of a cold rule where every point was published in its order."""
    events, asked = _asked(project, rule)
    rows = evaluate(rule, events, asked).with_columns(reason=pl.lit("point"))
    keys = rule.row_keys
    made = changes(empty_stored(rows.schema, keys), rows, keys, whole=table_of(rule).whole)
    return made.filter(pl.col("kind") != "insert").select(*keys, "revision", "kind", "point_ts")


def stored_rows(project: RepairProject, rule: Rule) -> pl.DataFrame:
    """The rows of a rule."""
    found = project.query(f'FROM "{table_of(rule).table}"')
    return found.select(list(rule.row_schema)).sort(rule.row_keys)


def stored_changes(project: RepairProject, rule: Rule, *more: str) -> pl.DataFrame:
    """Its updates and retractions, and further columns of them."""
    columns = [*rule.row_keys, "revision", "kind", "point_ts", *more]
    found = project.query(f"FROM label_changes WHERE rule = '{rule.name}'")
    return found.select(columns)


def _asked(project: RepairProject, rule: Rule) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The archived events that repairs have read, and the points that they have passed."""
    repaired = repaired_of(project.query)[rule.key]
    archived = project.archived().filter(pl.col("archived") <= repaired.archive_commit)
    once = archived.sort("archived", "offset").unique(IDENTITY, keep="first", maintain_order=True)
    events = once.select(sorted(rule.event_columns))
    passed = points(rule, events).filter(pl.col("point_ts").dt.epoch("ms") < repaired.f_ms)
    return events, passed
