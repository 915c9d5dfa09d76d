"""A golden case cut out of real events: ids replaced, days shifted, the expectation left open.

Always holds: no id of the original is in the case; equal ids stay equal and references keep
pointing where they pointed; events of equal time keep the order of their ids; times of day,
and with them calendar windows, stay.

Not promised: that what is left names nobody. Scenes, platforms, experiments and money are kept;
read the files before you share them.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from labeling.errors import DataError
from labeling.model.event import IDENTITY
from labeling.model.kinds import Rule
from labeling.model.rule import LabelRule
from labeling.testing.arrival import Arrival
from labeling.testing.golden_case import MOST_EVENTS
from labeling.testing.golden_table import BASE, MOST_WIDTH, Table, table, texts

#: What is replaced, and by which letter and a number.
_LETTERS: Final = {
    "user_id": "u",
    "item_id": "i",
    "author_id": "a",
    "request_id": "r",
    "impression_id": "m",
    "view_id": "v",
    "order_id": "o",
    "page_id": "p",
    "referrer_page_id": "p",
    "session_id": "s",
}
#: Of the contract, what says nothing about anybody.
_KEPT: Final = ("event_ts", "event_type", "scene", "position", "value", "platform", "experiments")
_HEAD: Final = ("event_ts", "event_type", "event_id", "user_id")


def cut(rule: Rule, events: pl.DataFrame) -> Table:
    """Events as the table of an events.txt.

    Args:
        rule: what the case is about; columns and event types that it does not read are left out.
        events: columns of the rule's ``event_schema``, in the order of arrival.

    Raises:
        DataError: no event that the rule reads, or more than fit on a screen.
    """
    read = events.filter(pl.col("event_type").is_in(list(rule.event_types)))
    if read.is_empty():
        raise DataError(f"no event that rule {rule.key} reads; name another user or a longer time")
    if read.height > MOST_EVENTS:
        raise DataError(
            f"{read.height} events; a case has {MOST_EVENTS} at most: narrow --from and --to"
        )
    days = (min(read["event_ts"].to_list()) - BASE).days
    nameless = _nameless(rule, read).with_columns(pl.col("event_ts") - timedelta(days=days))
    filled = [
        c for c in nameless.columns if c in _HEAD or nameless[c].null_count() < nameless.height
    ]
    columns = [*_HEAD, *(c for c in filled if c not in _HEAD)]
    made = table(columns, texts(nameless, columns))
    if made.width > MOST_WIDTH:
        raise DataError(
            f"{made.width} characters wide; {MOST_WIDTH} fit on a screen: the rule reads too many "
            "columns that are filled; write the case by hand"
        )
    return made


def _nameless(rule: Rule, events: pl.DataFrame) -> pl.DataFrame:
    """The columns that the rule reads, every text that may name somebody replaced."""
    ordered = events.sort(list(IDENTITY[1:]), maintain_order=True)["event_id"].unique(
        maintain_order=True
    )
    width = len(str(ordered.len()))
    reference = rule.reference if isinstance(rule, LabelRule) else None
    own = {name: f"e{n:0{width}d}" for n, name in enumerate(ordered.to_list(), 1)}
    made: dict[str, pl.Series] = {}
    known: dict[str, dict[str, str]] = {}
    for column in (c for c in rule.event_schema if c in rule.event_columns):
        series = events[column]
        if column == "event_id":
            series = _renamed(series, own)
        elif column not in _KEPT and series.dtype == pl.String():
            letter = _LETTERS.get(column, f"{column}-")
            names = known.setdefault(letter, {})
            for text in series.drop_nulls().to_list():
                # A reference may be the event_id of its anchor.
                is_own = column == reference and text in own
                names.setdefault(text, own[text] if is_own else f"{letter}{len(names) + 1}")
            series = _renamed(series, names)
        made[column] = series.alias(column)
    return pl.DataFrame(made)


def _renamed(series: pl.Series, names: dict[str, str]) -> pl.Series:
    return pl.Series([None if v is None else names[v] for v in series.to_list()], dtype=pl.String())


def write_case(folder: Path, rule: Rule, events: pl.DataFrame, *, lateness: str, why: str) -> None:
    """Write case.toml and events.txt of a new case; its rows are left to be accepted by name.

    ``max_disorder`` becomes what puts every event on time, in whole seconds.

    Raises:
        DataError: as ``cut``, or the folder is there already.
    """
    made = cut(rule, events)
    if folder.exists():
        raise DataError(f"{folder}: is there already; take another name or remove it")
    read = events.filter(pl.col("event_type").is_in(list(rule.event_types)))
    most = max(Arrival(rule, read, 0, 0).lag_ms)
    said = {"why": why, "max_disorder": f"{-(-most // 1000)}s", "lateness": lateness}
    lines: list[Any] = [f"{key} = {json.dumps(text)}\n" for key, text in said.items()]
    folder.mkdir(parents=True)
    (folder / "case.toml").write_text("".join(lines), encoding="utf-8")
    (folder / "events.txt").write_text(str(made), encoding="utf-8")
