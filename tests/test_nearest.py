"""Two groups whose hashes agree by chance are told apart by their columns."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from labeling import Event, LabelRule, happened
from labeling.engine import nearest
from labeling.engine.evaluate import evaluate
from labeling.engine.keys import match_key
from labeling.engine.points import points
from labeling.model.event import EVENT_SCHEMA
from tests.replay_project import T0

EVENTS = pl.DataFrame(
    [
        {"event_id": f"{kind}-{item}", "event_ts": T0, "event_type": kind, "user_id": "u"}
        | {"item_id": item}
        for kind, item in (("show", "a"), ("show", "b"), ("show", "c"), ("click", "a"))
    ],
    schema=EVENT_SCHEMA,
)


@pytest.mark.parametrize("assign", ["latest", "every"])
@pytest.mark.parametrize("repeat_within", [None, "1s"])
def test_a_hash_that_always_collides_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, assign: str, repeat_within: str | None
) -> None:
    """Where all first keys are equal, exact numbers take their place and rows stay the same."""
    rule = LabelRule(
        name="r",
        anchor=Event("show"),
        match=("user_id", "item_id"),
        window="1m",
        assign=assign,
        repeat_within=repeat_within,
        labels={"clicked": happened("click")},
    )
    asked = points(rule, EVENTS)
    right = evaluate(rule, EVENTS, asked)

    def weak(columns: Any, *, other: bool = False, hashed: bool = False) -> pl.Expr:
        key = match_key(columns, other=other, hashed=hashed)
        return key if other else key * 0

    monkeypatch.setattr(nearest, "match_key", weak)
    assert evaluate(rule, EVENTS, asked).equals(right)
    assert right["clicked"].to_list() == [True, False, False]
