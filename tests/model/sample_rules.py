"""Rules that together use every word, on a scale of milliseconds, and twins of their Polars parts.

Always holds: times are near ``T0``, local midnight in Berlin is at ``MIDNIGHT``, in the middle of
what streams draw, and the day that begins there has 25 hours.

Not promised: sense. These rules ask for what goes wrong, not for what anybody wants to know.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from labeling.model.expr import anchor, column, label
from labeling.model.rule import LabelRule
from labeling.model.selector import Event
from labeling.model.vocabulary import (
    active,
    aggregate,
    count,
    count_distinct,
    dwell,
    first_value,
    happened,
    last_value,
    max_of,
    min_of,
    sum_of,
    time_to,
)
from labeling.model.window import end_of_day
from tests.model.assign import Fact, Twins

MIDNIGHT: Final = int(datetime(2026, 10, 24, 22, tzinfo=UTC).timestamp()) * 1000
T0: Final = MIDNIGHT - 20
CARRY: Final = ("item_id", "position", "experiments")

NOTES = LabelRule(
    name="notes",
    anchor=Event("impression"),
    match=("user_id", "item_id"),
    reference="impression_id",
    window="16ms",
    early=("2ms", "7ms"),
    carry=CARRY,
    labels={
        "valid": happened("click") & ((label("dwell_ms") >= 3) | label("liked")),
        "clicks": count("click"),
        "dwell_ms": dwell(
            start="view_start", heartbeat="view_heartbeat", end="view_end", gap="4ms", cap="10ms"
        ),
        "liked": active("like", undone_by="unlike"),
        "followed": happened(Event("follow", match=("user_id", "author_id"))),
        "early_click": happened(Event("click", within="4ms")),
    },
)

COLUMNS = LabelRule(
    name="columns",
    anchor=Event("impression", "click", where=column("scene") != "search"),
    match=("user_id", "item_id"),
    window="12ms",
    early=("3ms",),
    carry=("scene",),
    labels={
        "different": count_distinct(Event("click", "like"), "scene"),
        "lists": count_distinct(Event("click", "like"), "experiments"),
        "total": sum_of(Event("click", "like", where=column("value") > 0), "value"),
        "first": first_value(Event("click", "like", "view_end"), "value"),
        "last": last_value(Event("click", "like", "view_end"), "value"),
        "last_scene": last_value(Event("click", "like", match=("user_id",)), "scene"),
        "least": min_of(Event("click", "like", within="5ms"), "value"),
        "most": max_of(Event("click", "view_end"), "scene"),
        "after": time_to(Event("click", "like", where=column("scene").is_in(["feed", "search"]))),
    },
)

EVERY = LabelRule(
    name="every",
    anchor=Event("impression", "view_start"),
    match=("user_id", "item_id"),
    reference="impression_id",
    window="9ms",
    early=("4ms",),
    assign="every",
    carry=(),
    labels={
        "clicks": count("click"),
        "views": count("view_start"),
        "dwell_ms": dwell(
            start=Event("view_start", within="6ms"),
            heartbeat=Event("view_heartbeat", "like", within="7ms"),
            end=Event("view_end", "like"),
            gap="2ms",
        ),
        "by_author": time_to(Event("click", match=("user_id", "author_id"))),
    },
)

DOUBLE = LabelRule(
    name="double",
    anchor=Event("click"),
    match=("user_id", "item_id"),
    window="8ms",
    early=("1ms",),
    repeat_within="3ms",
    carry=CARRY,
    labels={
        "again": count("click"),
        "seconds": time_to(Event("click", match=("user_id",))),
        "valid": happened("like") | (dwell(start="view_start", end="view_end") >= 3),
        "followed": happened(Event("follow", match=("user_id", "author_id"))),
    },
)

CALENDAR = LabelRule(
    name="calendar",
    anchor=Event("view_end", "follow"),
    match=("user_id",),
    window=end_of_day(0, tz="Europe/Berlin"),
    early=("5ms", "9ms"),
    carry=(),
    labels={
        "orders": count(Event("like", "click")),
        "reported_ms": dwell(end="view_end", duration="value", cap="9ms"),
        "item_ms": dwell(end=Event("view_end", match=("user_id", "item_id")), duration="value"),
        "bought": active(
            Event("like", within="7ms"),
            undone_by=Event("unlike", "like", where=column("value").is_null()),
        ),
    },
)

VIEWS = LabelRule(
    name="views",
    anchor=Event("impression", "like"),
    match=("user_id", "item_id"),
    window="20ms",
    early=("6ms",),
    carry=(),
    labels={
        "bare": dwell(start="view_start"),
        "ends": dwell(start="view_start", end="view_end"),
        "beats": dwell(start="view_start", heartbeat="view_heartbeat", gap="2ms"),
        "mixed": dwell(
            start=Event("view_start", "click", match=("user_id", "author_id"), within="12ms"),
            heartbeat=Event(
                "view_heartbeat", "like", match=("user_id", "author_id"), within="10ms"
            ),
            end=Event("view_end", "like", match=("user_id", "author_id"), within="15ms"),
            gap="4ms",
            cap="11ms",
        ),
        "odd": dwell(
            start=Event("view_start", where=column("value").is_null()),
            heartbeat=Event("view_start", "view_heartbeat"),
            end=Event("view_end", where=column("scene") == "feed"),
            gap="5ms",
        ),
    },
)

LOGIC = LabelRule(
    name="logic",
    anchor=Event("impression", where=~(column("position") > 2) | column("scene").is_null()),
    match=("user_id", "item_id"),
    window="15ms",
    carry=CARRY,
    labels={
        "share": label("sum") / label("clicks"),
        "sum": sum_of("click", "value") + anchor("position").fill_null(1) * 2,
        "clicks": count("click"),
        "first": first_value("click", "value"),
        "differs": label("first") != 1,
        "not_less": ~(label("first") < 2),
        "same_scene": first_value("click", "scene") == anchor("scene"),
        "other_scene": first_value("click", "scene") != anchor("scene"),
        "known": first_value("click", "scene").is_in(["feed", "search"])
        | anchor("value").is_null(),
        "late": (time_to("like") - 3) >= label("first"),
        "either": (label("differs") & ~label("known")) | happened("follow"),
        "rest": 10 - label("first") * 1.5,
        "text": first_value("click", "scene").fill_null(anchor("scene")).fill_null("none"),
        "constant": happened("click") & True,
    },
)

POLARS = LabelRule(
    name="polars",
    anchor=Event("impression"),
    match=("user_id", "item_id"),
    window="14ms",
    early=("7ms",),
    carry=(),
    labels={
        "most": aggregate("click", pl.col("value").max(), pl.Int64),
        "soon": aggregate("click", (pl.col("delay_ms") < 4).any(), pl.Boolean),
        "path": aggregate(Event("click", "like"), pl.col("event_id").str.join(">"), pl.String),
        "big": count(Event("click", where=pl.col("value") > 0)),
    },
)

LANES = LabelRule(
    name="lanes",
    anchor=Event("impression", "view_start", "click", where=column("scene") != "search"),
    match=("user_id", "item_id", "author_id"),
    reference="impression_id",
    window="11ms",
    early=("1ms", "6ms"),
    repeat_within="2ms",
    assign="every",
    carry=(),
    labels={
        "here": count(Event("click", "like")),
        "item": count(Event("click", "like", match=("user_id", "item_id"))),
        "author": count(Event("click", "like", match=("user_id", "author_id"))),
        "user": count(Event("click", "like", match=("user_id",))),
        "liked": active(
            Event("like", match=("user_id",)), undone_by=Event("unlike", match=("user_id",))
        ),
    },
)

#: Of declared columns, which streams do not fill by themselves: see ``engine_drive.extended``.
DECLARED = LabelRule(
    name="declared",
    anchor=Event("impression", where=~column("flag") | (column("more") == 0)),
    match=("user_id", "item_id"),
    window="12ms",
    carry=("flag",),
    columns={"flag": "bool", "more": "i64"},
    labels={
        "last": last_value("click", "flag"),
        "no": ~label("last"),
        "both": label("last") & anchor("flag"),
        "one": label("last") | anchor("flag"),
        "odd": label("last") != anchor("flag"),
        "ever": max_of("click", "flag"),
        "kinds": count_distinct("click", "flag"),
        "chosen": count(Event("click", where=column("flag"))),
        "more": sum_of("click", "more") - anchor("more"),
    },
)

RULES: Final = (NOTES, COLUMNS, EVERY, DOUBLE, CALENDAR, VIEWS, LOGIC, POLARS, LANES)


def _most(seen: list[Fact]) -> Any:
    values = [e["value"] for e in seen if e["value"] is not None]
    return max(values) if values else None


def _expr(rule: LabelRule, name: str) -> str:
    measure: Any = rule.labels[name]
    return str(measure.expr)


def _big_expr() -> str:
    measure: Any = POLARS.labels["big"]
    return str(measure.event.where.expr)


TWINS: Final[Twins] = {
    _expr(POLARS, "most"): _most,
    _expr(POLARS, "soon"): lambda seen: any(e["delay_ms"] < 4 for e in seen),
    _expr(POLARS, "path"): lambda seen: ">".join(e["event_id"] for e in seen),
    _big_expr(): lambda e: e["value"] is not None and e["value"] > 0,
}
