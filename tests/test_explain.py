"""``assignments`` tells of each event where it went, and why where it went nowhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from labeling import Event, LabelRule, count, happened
from labeling.engine.explain import SCHEMA, assignments
from labeling.model.event import EVENT_SCHEMA

BASE = datetime(2026, 11, 20, 10, tzinfo=UTC)
RULE = LabelRule(
    name="r",
    anchor=Event("show"),
    match=("user_id", "item_id"),
    reference="impression_id",
    window="1m",
    labels={
        "clicked": happened("click"),
        "followed": happened(Event("follow", match=("user_id", "author_id"))),
    },
)


def frame(*rows: tuple[str, int, str, dict[str, str]]) -> pl.DataFrame:
    """Events of one user: id, second, type, further columns."""
    return pl.DataFrame(
        [
            {
                "event_id": i,
                "event_ts": BASE + timedelta(seconds=s),
                "event_type": t,
                "user_id": "u",
            }
            | more
            for i, s, t, more in rows
        ],
        schema=EVENT_SCHEMA,
    )


@pytest.mark.parametrize(
    ("second", "more", "anchor", "outcome"),
    [
        (5, {"item_id": "a"}, "s", "assigned"),
        (60, {"item_id": "a"}, "s", "assigned"),
        (61, {"item_id": "a"}, None, "window_over"),
        (-1, {"item_id": "a"}, None, "no_anchor"),
        (5, {"item_id": "b"}, None, "no_anchor"),
        (5, {}, None, "null_match"),
        (5, {"item_id": "a", "impression_id": "s"}, "s", "referred"),
        (5, {"item_id": "a", "impression_id": "x"}, None, "dangling"),
        (61, {"item_id": "a", "impression_id": "s"}, None, "dangling"),
    ],
)
def test_each_outcome(second: int, more: dict[str, str], anchor: str | None, outcome: str) -> None:
    """A click is told with the anchor it belongs to, or with the reason why there is none."""
    events = frame(
        ("s", 0, "show", {"item_id": "a", "author_id": "z"}), ("c", second, "click", more)
    )
    (row,) = assignments(RULE, events).rows(named=True)
    assert (row["event_id"], row["anchor_id"], row["outcome"]) == ("c", anchor, outcome)


def test_lanes_are_told_apart() -> None:
    """A follow is assigned in the lane of its own match, and stands there alone."""
    events = frame(
        ("s", 0, "show", {"item_id": "a", "author_id": "z"}),
        ("f", 5, "follow", {"author_id": "z"}),
    )
    (row,) = assignments(RULE, events).rows(named=True)
    assert (row["lane"], row["anchor_id"]) == ("user_id,author_id", "s")


def test_every_tells_each_anchor() -> None:
    """With ``assign="every"`` an event stands once for each anchor that takes it."""
    rule = LabelRule(
        name="r",
        anchor=Event("show"),
        match=("user_id",),
        window="1m",
        assign="every",
        labels={"clicks": count("click")},
    )
    events = frame(("s", 0, "show", {}), ("t", 1, "show", {}), ("c", 2, "click", {}))
    assert assignments(rule, events)["anchor_id"].to_list() == ["s", "t"]


def test_nothing_in_nothing_out() -> None:
    """Without events the frame is empty and has its columns."""
    told = assignments(RULE, pl.DataFrame(schema=EVENT_SCHEMA))
    assert told.is_empty()
    assert dict(told.schema) == SCHEMA
