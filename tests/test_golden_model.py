"""Golden cases against the plain-Python model: a second means beside the engine."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from labeling.model.event import TS
from labeling.model.kinds import Rule
from labeling.testing.golden_case import Case, Place, load, places
from labeling.testing.golden_diff import (
    Difference,
    compare_changes,
    compare_outcomes,
    compare_rows,
    difference_table,
)
from rules.effective_play import EFFECTIVE_PLAY
from tests.attribution_rules import RULES as ATTRIBUTION_RULES
from tests.model.clock import Item, Source
from tests.model.stream import Stream, current
from tests.shipped import RULES

FIXTURES: Final = Path(__file__).resolve().parent.parent / "fixtures"
OPTIONS: Final = Path(__file__).resolve().parent / "attribution_cases"
PLACES: Final = [*places(FIXTURES, RULES), *places(OPTIONS, ATTRIBUTION_RULES)]


def beaten(events: list[dict[str, Any]]) -> int:
    """Steps of at most a minute from beat to beat, as effective_play's expression sums them."""
    delays = [0, *(e["delay_ms"] for e in events)]
    steps = [b - a for a, b in pairwise(delays)]
    return sum(step for step in steps if step <= 60_000)


BEATEN: Any = EFFECTIVE_PLAY.labels["beaten_ms"]


def weighing(rule_name: str, suffix: str) -> str:
    """The text of own weights."""
    (rule,) = (r for r in ATTRIBUTION_RULES if r.name == rule_name)
    model: Any = rule.models[suffix]
    return str(model.expr)


TWINS: Final = {
    str(BEATEN.expr): beaten,
    weighing("own_weights", ""): lambda t: t["value"],
    weighing("weights_of_place", "_rank"): lambda t: t["rank"] * t["touches"],
    weighing("weights_of_place", "_near"): lambda t: 1 / (1 + t["delay_ms"] / 3_600_000),
}


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


def frames(rule: Rule, stream: Stream) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Final rows and changes of the model, as the golden files are compared."""
    keys = rule.row_keys
    table = current(stream.tables[rule.key])
    rows = [dict(zip(keys, k, strict=True)) | v for k, v in table.items()]
    times = [k for k in (*keys, "point_ts") if k.endswith("_ts")]
    in_ms = {**rule.row_schema, **dict.fromkeys(times, pl.Int64())}
    values = pl.Struct(dict(rule.value_schema))
    shape = {**{k: in_ms[k] for k in (*keys, "point_ts")}, "revision": pl.Int64()}
    words = {"kind": pl.String(), "reason": pl.String(), "old": values, "new": values}
    changes = pl.DataFrame(stream.log[rule.key], schema={**shape, **words})
    made = pl.DataFrame(rows, schema={c: in_ms[c] for c in rule.row_schema})
    return (
        made.cast({c: TS for c in times if c in made.columns}),
        changes.cast(dict.fromkeys(times, TS)),
    )


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.name)
def test_model_agrees(place: Place) -> None:
    """The model, fed event by event, ends with the rows, changes and outcomes that are written."""
    case = load(place.path, (*RULES, *ATTRIBUTION_RULES))
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
