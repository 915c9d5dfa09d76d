"""The engine behind the model's own interface: dicts in, dicts out.

Always holds: only here do facts become frames and frames facts; times are ms on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Any
from zlib import crc32

import polars as pl

from labeling.engine.evaluate import evaluate
from labeling.engine.points import points
from labeling.model.event import EVENT_SCHEMA
from labeling.model.kinds import Rule
from labeling.model.rule import LabelRule
from tests.model.assign import Fact, Twins, identity
from tests.model.assign import points as model_points
from tests.model.oracle import Row, rows
from tests.strategies import seeded

Asked = Callable[[Fact, int], bool]


def frame(events: Iterable[Fact], rule: Rule | None = None) -> pl.DataFrame:
    """Facts as a frame of the contract and what a rule declares beyond it, in their order."""
    listed = list(events)
    schema = {**(rule.event_schema if rule else EVENT_SCHEMA), "event_ts": pl.Int64()}
    made = pl.DataFrame(listed, schema=schema, orient="row")
    return made.cast({"event_ts": EVENT_SCHEMA["event_ts"]})


def plain(value: Any) -> Any:
    """A cell as the model has it: times as ms, structs without order of fields."""
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def dicts(made: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of a frame as the model has them."""
    times = [n for n, t in made.schema.items() if isinstance(t, pl.Datetime)]
    return [plain(r) for r in made.with_columns(pl.col(times).cast(pl.Int64)).to_dicts()]


def engine_rows(rule: Rule, events: list[Fact], asked: Asked | None = None) -> list[Row]:
    """What ``evaluate`` says, at all points or at those asked for."""
    given = frame(events, rule)
    found = points(rule, given)
    if asked is not None:
        keep = [asked(events[r["row"]], r["point_ts"]) for r in dicts(found)]
        found = found.filter(pl.Series(keep, dtype=pl.Boolean))
    return dicts(evaluate(rule, given, found))


def differences(
    rule: LabelRule, events: list[Fact], twins: Twins, asked: Asked | None = None
) -> list[str]:
    """Where engine and model differ, one line per cell; nothing where they agree."""
    expected = rows(rule, events, asked, twins)
    got = engine_rows(rule, events, asked)
    return compare(expected, got)


def compare(expected: list[Mapping[str, Any]] | list[Row], got: list[Row]) -> list[str]:
    """Rows against rows, in order."""
    lines = [] if len(expected) == len(got) else [f"{len(expected)} rows expected, {len(got)} got"]
    for want, have in zip(expected, got, strict=False):
        lines += [
            f"{want['anchor_id']} at {want['point_ts']}: {c}: expected {want[c]!r}, got {have[c]!r}"
            for c in want
            if want[c] != have[c] or type(want[c]) is not type(have[c])
        ]
    return lines


def last_point(rule: LabelRule, e: Fact) -> int:
    """The end of an anchor's window."""
    return model_points(rule, e["event_ts"])[-1]


def finals(rule: LabelRule, events: list[Fact]) -> list[int]:
    """The times of the points that the engine calls final, sorted."""
    found = points(rule, frame(events, rule)).filter("final")
    return sorted(found["point_ts"].cast(pl.Int64).to_list())


def worlds(rng: Random, n: int, types: Sequence[str], unit_ms: int = 1) -> dict[str, list[Fact]]:
    """Many small streams side by side, told apart by their users."""
    by_user: dict[str, list[Fact]] = {}
    for world in range(n):
        size = rng.choice((6, 12, 24))
        for e in seeded(rng, size, types=types, unit_ms=unit_ms, user=f"{world}."):
            by_user.setdefault(e["user_id"], []).append(e)
    return by_user


def in_order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What rows and changes are sorted by."""
    named = ("point_ts", "anchor_ts", "anchor_id", "user_id", "touch_ts", "touch_id")
    return tuple(row[k] for k in named if k in row)


def extended(rule: Rule, e: Fact) -> Fact:
    """The fact with the rule's declared columns filled from small sets, by its identity."""
    some = {"bool": (True, True, False, None), "i64": (None, 0, 1_500, 3_000, 90_000)}
    more = {}
    for name, kind in rule.columns.items():
        values = some.get(kind, (None, "x"))
        more[name] = values[crc32(f"{name}{identity(e)}".encode()) % len(values)]
    return e | more
