"""Golden cases against the plain-Python model: a second means beside the engine."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from labeling.model.event import TS
from labeling.model.rule import LabelRule
from labeling.testing.golden_case import Case, load, places
from labeling.testing.golden_diff import (
    Difference,
    compare_changes,
    compare_outcomes,
    compare_rows,
    difference_table,
)
from rules import RULES
from rules.effective_play import EFFECTIVE_PLAY
from tests.model.clock import Item, Source
from tests.model.stream import KEY, Stream, current

FIXTURES: Final = Path(__file__).resolve().parent.parent / "fixtures"
PLACES: Final = places(FIXTURES, RULES)


def beaten(events: list[dict[str, Any]]) -> int:
    """Steps of at most a minute from beat to beat, as effective_play's expression sums them."""
    delays = [0, *(e["delay_ms"] for e in events)]
    steps = [b - a for a, b in pairwise(delays)]
    return sum(step for step in steps if step <= 60_000)


BEATEN: Any = EFFECTIVE_PLAY.labels["beaten_ms"]
TWINS: Final = {str(BEATEN.expr): beaten}


def facts(case: Case) -> list[dict[str, Any]]:
    """The events as the model takes them: times are whole ms."""
    frame = case.arrival.events.with_columns(pl.col("event_ts").dt.epoch("ms"))
    return frame.rows(named=True)


def outcome(stream: Stream, fact: dict[str, Any]) -> str:
    """One step over one event."""
    out = stream.step([Item("s", "0", (fact,), fact["event_ts"])])
    if out.too_late:
        return "too_late"
    return "duplicate" if out.duplicates else stream.archive[-1].arrival


def frames(rule: LabelRule, stream: Stream) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Final rows and changes of the model, as the golden files are compared."""
    times = {"anchor_ts": pl.Int64(), "point_ts": pl.Int64()}
    rows = [dict(zip(KEY, k, strict=True)) | v for k, v in current(stream.tables[rule.key]).items()]
    shape = {**rule.row_schema, "anchor_ts": pl.Int64()}
    values = pl.Struct(dict(rule.value_schema))
    marks = {"user_id": pl.String(), **times, "anchor_id": pl.String(), "revision": pl.Int64()}
    words = {"kind": pl.String(), "reason": pl.String(), "old": values, "new": values}
    changes = pl.DataFrame(stream.log[rule.key], schema={**marks, **words})
    return (
        pl.DataFrame(rows, schema=shape).cast({"anchor_ts": TS}),
        changes.cast(dict.fromkeys(times, TS)),
    )


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.name)
def test_model_agrees(place: Any) -> None:
    """The model, fed event by event, ends with the rows, changes and outcomes that are written."""
    case = load(place.path, RULES)
    sources = [Source("s", case.max_disorder_ms, ("0",))]
    stream = Stream([case.rule], sources, case.lateness_ms, twins=TWINS)
    became = iter([outcome(stream, fact) for fact in facts(case)])
    stream.step([Item("s", "0", (), None, ended=True)])
    rows, changes = frames(case.rule, stream)
    found: list[Difference] = []
    if case.rows is not None:
        found += compare_rows(case.rule, case.rows, rows)
    if case.changes is not None:
        found += compare_changes(case.rule, case.changes, changes)
    if case.outcomes is not None:
        got = [next(became) if whole else "rejected" for whole in case.accepted]
        found += compare_outcomes(case.outcomes, got)
    assert not found, "\n" + difference_table(found)
