"""Golden cases through the real flow: all cases of one kind after each other on one clock.

Always holds: a case keeps its times of day and the order of its events; it has users of its own and
days of its own, after which an event that no rule reads lets everything of it pass. So the
watermark of each case is moved by its own events alone, and the flow's ``lateness`` and the
source's ``max_disorder``, which cases share, are those of the case.

Not promised: that a case begins before anything was read: the watermark stands days earlier.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from labeling.io.store import Store
from labeling.model.attribution import ATTRIBUTION_KEY_SCHEMA
from labeling.model.event import TS
from labeling.model.table import table_of
from labeling.testing.golden_case import Case, load, places
from labeling.testing.golden_diff import (
    Difference,
    compare_changes,
    compare_outcomes,
    compare_rows,
)
from labeling.testing.golden_run import _written
from tests.live_project import LiveProject
from tests.shipped import RULES

FIXTURES: Final = Path(__file__).resolve().parent.parent / "fixtures"
START: Final = datetime(2020, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
#: What tells a change apart from every other; a label's has no touch.
_TOLD: Final = ("rule", "version", *ATTRIBUTION_KEY_SCHEMA, "revision")
#: Past the longest window of a rule, and then some.
_PAUSE: Final = timedelta(days=4)
COLUMNS: Final = {name: kind for rule in RULES for name, kind in rule.columns.items()}
_DURATIONS: Final = {3_600_000: "1h", 600_000: "10m", 21_600_000: "6h", 5_000: "5s", 10_000: "10s"}


@dataclass(frozen=True)
class Placed:
    """A case, on its days and under its prefix; ``first`` is the offset of its first event."""

    case: Case
    prefix: str
    shift: timedelta
    first: int

    @property
    def records(self) -> list[dict[str, Any]]:
        """Its events as they are produced; the last one closes it."""
        lines = self.case.lines.with_columns(
            (pl.col("event_ts") + self.shift).dt.epoch("ms"),
            user_id=pl.lit(self.prefix) + pl.col("user_id"),
        )
        whole = [{k: v for k, v in r.items() if v is not None} for r in lines.to_dicts()]
        ends = _midnight(_latest(self.case)) + _PAUSE + self.shift
        close = {
            "event_id": "close", "event_type": "closing", "user_id": self.prefix,
            "event_ts": int(ends.timestamp() * 1000),
        }  # fmt: skip
        return [*whole, close]

    @property
    def timely(self) -> list[dict[str, Any]]:
        """Its events without those that are too late for a stream."""
        events = [n for n, whole in enumerate(self.case.accepted) if whole]
        gone = {events[n] for n in self.case.arrival.too_late}
        return [r for n, r in enumerate(self.records) if n not in gone]


@dataclass(frozen=True)
class Group:
    """Cases that can share a flow; those without a late event come first."""

    lateness: str
    max_disorder: str
    placed: tuple[Placed, ...]

    @property
    def in_bound(self) -> list[dict[str, Any]]:
        """Records of the cases in which nothing is late: batches change nothing for them."""
        return [r for p in self.placed if p.case.arrival.in_bound for r in p.records]

    @property
    def ends(self) -> datetime:
        """A day by which everything has passed."""
        last = self.placed[-1]
        return _midnight(_latest(last.case)) + last.shift + _PAUSE

    @property
    def late(self) -> list[dict[str, Any]]:
        """Records of the others: what is late depends on the batches, so each is one."""
        return [r for p in self.placed if not p.case.arrival.in_bound for r in p.records]


def groups() -> list[Group]:
    """All cases, by the settings that they share."""
    cases = [load(p.path, RULES) for p in places(FIXTURES, RULES)]
    kinds: dict[tuple[int, int], list[Case]] = defaultdict(list)
    for case in sorted(cases, key=lambda c: (not c.arrival.in_bound, c.name)):
        kinds[case.lateness_ms, case.max_disorder_ms].append(case)
    return [
        Group(_DURATIONS[late], _DURATIONS[disorder], tuple(_placed(kinds[late, disorder])))
        for late, disorder in sorted(kinds)
    ]


def together() -> Group:
    """All cases from the same day on, for drives in which no watermark says what is late."""
    cases = [load(p.path, RULES) for p in places(FIXTURES, RULES)]
    placed = [Placed(case, f"{n}~", START - _first_day(case), 0) for n, case in enumerate(cases)]
    return Group("", "", tuple(placed))


def _placed(cases: Sequence[Case]) -> list[Placed]:
    day, offset, found = START, 0, []
    for number, case in enumerate(cases):
        begins = _first_day(case)
        found.append(Placed(case, f"{number}~", day - begins, offset))
        offset += len(found[-1].records)
        day += _midnight(_latest(case)) - begins + _PAUSE + _DAY
    return found


def _first_day(case: Case) -> datetime:
    return _midnight(min(case.lines["event_ts"].drop_nulls().to_list()))


def _latest(case: Case) -> datetime:
    at: datetime = max(case.lines["event_ts"].drop_nulls().to_list())
    return at


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def differences(project: LiveProject, group: Group, changes_topic: str) -> list[str]:
    """Where a flow ended otherwise than the cases say: rows, changes and what became of events."""
    told = changes_of(project.consumed(changes_topic))
    found = []
    outcomes = _outcomes(project)
    for placed in group.placed:
        differ = rows_differ(project, placed)
        case = placed.case
        differ += changes_differ(told, placed)
        became = [outcomes.get(placed.first + n, "duplicate") for n in range(case.lines.height)]
        differ += compare_outcomes(case.outcomes or (), became) if case.outcomes else []
        found += [f"{case.name}: {d}" for d in differ]
    return found


def rows_differ(store: LiveProject | Store, placed: Placed) -> list[Difference]:
    """Where the rows of a case are not those that it says."""
    rule = placed.case.rule
    rows = store.query(
        f"FROM \"{table_of(rule).table}\" WHERE starts_with(user_id, '{placed.prefix}')"
    )
    own = _unplaced(rows.select(list(rule.row_schema)), placed)
    if placed.case.rows is None:
        raise ValueError(f"{placed.case.name} has no rows.txt")
    return compare_rows(rule, placed.case.rows, own)


def changes_differ(told: Sequence[Mapping[str, Any]], placed: Placed) -> list[Difference]:
    """Where the changes of a case that a consumer has are not those that it says."""
    case = placed.case
    return compare_changes(case.rule, case.changes or _written(case), _changes(told, placed))


def _unplaced(frame: pl.DataFrame, placed: Placed) -> pl.DataFrame:
    times = [name for name, dtype in frame.schema.items() if dtype == TS]
    return frame.with_columns(
        pl.col("user_id").str.strip_prefix(placed.prefix),
        *(pl.col(name) - placed.shift for name in times),
    )


def _outcomes(project: LiveProject) -> dict[int, str]:
    """Offset to what became of the record, of those that are no duplicates."""
    archived = project.archived().select("offset", "arrival")
    rejected = project.query("SELECT \"offset\", 'rejected' AS arrival FROM rejects")
    return dict(pl.concat([archived, rejected]).iter_rows())


def changes_of(messages: Sequence[tuple[bytes, bytes]]) -> list[dict[str, Any]]:
    """What a consumer of the change topic has that drops repeats by key and revision."""
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _, value in messages:
        told = json.loads(value)
        seen.setdefault(tuple(told.get(n) for n in _TOLD), told)
    return list(seen.values())


def _changes(told: Sequence[Mapping[str, Any]], placed: Placed) -> pl.DataFrame:
    rule = placed.case.rule
    mine = [
        {k: v for k, v in t.items() if k not in ("rule", "version", "commit")}
        for t in told
        if (t["rule"], t["version"]) == (rule.name, rule.version)
        and t["user_id"].startswith(placed.prefix)
    ]
    table = table_of(rule)
    side = pl.Struct({n: t for n, t in rule.row_schema.items() if n in table.values})
    schema = {
        **dict.fromkeys(table.keys, pl.String()),
        "revision": pl.Int32(), "kind": pl.String(), "reason": pl.String(),
        "point_ts": pl.String(), "old": side, "new": side,
    }  # fmt: skip
    times = ["point_ts", *(c for c in table.keys if table.key[c] == TS)]
    frame = pl.DataFrame(mine, schema=schema).with_columns(
        pl.col(times).str.to_datetime(time_unit="ms", time_zone="UTC")
    )
    return _unplaced(frame, placed)
