"""Attribution rules that together use every option, on a scale of milliseconds.

Always holds: times are near ``T0``, local midnight in Berlin is in the middle of what streams
draw; the types are those of ``strategies.TYPES``, so that every setup of sources can carry them.

Not promised: sense. These rules ask for what goes wrong: a ``like`` is an order, an ``unlike``
takes it back, a ``view_end`` refunds it.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from labeling.model.attribution import AttributionRule
from labeling.model.credit import (
    first_touch,
    last_touch,
    linear,
    position_based,
    time_decay,
    weighted,
)
from labeling.model.expr import column
from labeling.model.selector import Event
from labeling.model.session import session

BERLIN: Final = "Europe/Berlin"
ITEM: Final = ("user_id", "item_id")
AUTHOR: Final = ("user_id", "author_id")
ORDER: Final = ("user_id", "order_id")
USER: Final = ("user_id",)

PLAIN = AttributionRule(
    name="plain",
    action=Event("like"),
    match=ITEM,
    touches=(Event("click", within="9ms"), Event("view_start", within="5ms")),
)

LANES = AttributionRule(
    name="lanes",
    action=Event("like"),
    match=AUTHOR,
    touches=(
        Event("view_start", within="12ms", match=ITEM),
        Event("click", "view_start", within="6ms", match=USER),
    ),
    credit=position_based(first=0.3, last=0.5),
    undone_by=Event("unlike"),
    undone_within="8ms",
    path="page_id",
    carry=("item_id", "value"),
    touch_carry=("scene", "experiments"),
)

CLASSES = AttributionRule(
    name="classes",
    action=Event("like", "follow"),
    match=ITEM,
    touches=(
        Event("click", within="3ms", where=column("scene") != "search"),
        Event("click", "view_start", within="8ms"),
        Event("impression", "click", within="20ms", match=USER),
    ),
    classes=True,
    min_age="1ms",
    credit=linear(),
)

VALUE = AttributionRule(
    name="value",
    action=Event("like"),
    match=ITEM,
    touches=(Event("click", "impression", within="14ms", match=USER),),
    credit={
        "last": last_touch(),
        "first": first_touch(),
        "linear": linear(),
        "decay": time_decay("3ms"),
        "ends": position_based(),
        "middle": position_based(first=0, last=0),
        "odd": position_based(first=0.123456789, last=0),
    },
    value="value",
    refunded_by=Event("view_end", match=ORDER),
    undone_by=Event("unlike"),
    undone_within="9ms",
)

#: A repeat is by the user alone, an undo by the item: it may meet another candidate.
REPEATS = AttributionRule(
    name="repeats",
    action=Event("like", "follow"),
    match=ITEM,
    touches=(Event("click", within="7ms"),),
    repeat_within="6ms",
    repeat_match=USER,
    undone_by=Event("unlike"),
    undone_within="4ms",
    day=BERLIN,
)

#: The first of a day; undone for longer than it is repeated, by columns of its own.
DAILY = AttributionRule(
    name="daily",
    action=Event("like", where=column("value").is_null() | (column("value") >= 0)),
    match=ITEM,
    touches=(Event("click", within="16ms"),),
    repeat_within="25h",
    day=BERLIN,
    undone_by=Event("unlike", match=AUTHOR),
    undone_within="10ms",
    value="value",
    refunded_by=Event("unlike", "view_end", match=USER),
    credit=time_decay("2ms"),
)

CONSUMED = AttributionRule(
    name="consumed",
    action=Event("like", "follow"),
    match=USER,
    touches=(Event("click", within="10ms", match=ITEM), Event("view_start", within="6ms")),
    max_actions=1,
    own_page=False,
    repeat_within="2ms",
    repeat_match=ITEM,
    day=BERLIN,
    undone_by=Event("unlike", match=ITEM),
    undone_within="5ms",
    credit=linear(),
)

TWICE = AttributionRule(
    name="twice",
    action=Event("like"),
    match=USER,
    touches=(Event("click", "impression", within="12ms"),),
    max_actions=2,
    max_touches=3,
    min_age="2ms",
    own_page=False,
    credit=first_touch(),
)

RUNS = AttributionRule(
    name="runs",
    action=Event("like"),
    match=USER,
    touches=(Event("click", "view_start", within="15ms"),),
    collapse=("scene", "item_id"),
    max_touches=2,
    credit={"ends": position_based(first=0, last=0), "u": position_based(first=0.7, last=0.3)},
)

VISITS = AttributionRule(
    name="visits",
    action=Event("like"),
    match=USER,
    touches=(Event("click", within="14ms"), Event("view_start", within="20ms", match=ITEM)),
    collapse=session("3ms", tz=BERLIN),
    credit={"decay": time_decay("4ms"), "mine": weighted(pl.col("delay_ms") * pl.col("rank"))},
)

SAME_VISIT = AttributionRule(
    name="same_visit",
    action=Event("like", "view_start"),
    match=ITEM,
    touches=(
        Event("click", "view_start", within="20ms", match=("user_id", "session")),
        Event("impression", within="11ms"),
    ),
    session=session("4ms", tz=BERLIN),
    max_actions=1,
    classes=True,
    day=BERLIN,
)

PRIORITY = AttributionRule(
    name="priority",
    action=Event("like"),
    match=USER,
    touches=(Event("click", within="9ms"), Event("click", "impression", within="20ms")),
    priority="position",
    classes=True,
    credit=linear(),
)

#: A like is its own touch's kind, and one without a scene takes another back.
SELF = AttributionRule(
    name="self",
    action=Event("like"),
    match=ITEM,
    touches=(Event("like", "click", within="12ms"),),
    repeat_within="3ms",
    undone_by=Event("like", "unlike", where=column("scene").is_null()),
    undone_within="6ms",
    value="value",
    refunded_by=Event("like", match=AUTHOR, where=column("scene") == "search"),
    credit=time_decay("5ms"),
)

WEIGHTS = AttributionRule(
    name="weights",
    action=Event("like"),
    match=USER,
    touches=(Event("click", "impression", within="16ms"),),
    credit={
        "mine": weighted(pl.col("weight")),
        "whole": weighted(pl.col("value")),
        "place": weighted(1.0 / pl.col("delay_ms") + pl.col("rank") / pl.col("touches")),
    },
    value="value",
    columns={"weight": "f64", "bot": "bool"},
)

CLEAN = AttributionRule(
    name="clean",
    action=Event("like", where=column("position") != 3),
    match=ITEM,
    touches=(
        Event("click", within="10ms", where=pl.col("value") > 0),
        Event("view_start", within="10ms", where=~column("bot")),
    ),
    credit=position_based(first=0, last=1),
    columns={"bot": "bool", "slot": "i64"},
    priority="slot",
    collapse=("bot",),
    touch_carry=("bot", "slot"),
    carry=(),
)

#: What meets a repeat counts for an action that lies further back than ``undone_within``.
FAR = AttributionRule(
    name="far",
    action=Event("like"),
    match=USER,
    touches=(Event("click", within="4ms"),),
    repeat_within="12ms",
    undone_by=Event("unlike", match=ITEM),
    undone_within="2ms",
    value="value",
    refunded_by=Event("view_end", match=AUTHOR),
)

ALL = AttributionRule(
    name="all",
    action=Event("like", "follow"),
    match=USER,
    touches=(
        Event("click", "like", within="10ms", match=("user_id", "session")),
        Event("view_start", "click", within="14ms"),
    ),
    credit={"decay": time_decay("3ms"), "linear": linear()},
    min_age="0ms",
    classes=True,
    priority="position",
    collapse=session("5ms", tz="Asia/Shanghai"),
    session=session("5ms", tz="Asia/Shanghai"),
    max_touches=2,
    max_actions=2,
    own_page=False,
    repeat_within="3ms",
    repeat_match=ITEM,
    day=BERLIN,
    undone_by=Event("unlike", match=ITEM),
    undone_within="7ms",
    refunded_by=Event("view_end", match=ORDER),
    value="value",
    path="item_id",
)

TRAIL = AttributionRule(
    name="trail",
    action=Event("like", "follow"),
    match=USER,
    touches=(Event("click", "impression", "view_start", within="14ms"),),
    trail=True,
    session=session("2ms", tz=BERLIN),
    undone_by=Event("unlike", match=ITEM),
    undone_within="5ms",
    path="page_id",
)

#: A like is a page too, clicks count on its item alone, and what is used up leads on all the same.
WAYS = AttributionRule(
    name="ways",
    action=Event("like"),
    match=USER,
    touches=(
        Event("click", within="10ms", match=ITEM),
        Event("impression", "view_start", "like", within="16ms"),
    ),
    trail=True,
    session=session("4ms", tz=BERLIN),
    own_page=False,
    min_age="1ms",
    max_actions=2,
    max_touches=4,
    collapse=("item_id",),
    credit=linear(),
    path="page_id",
)

#: Of the contract's columns alone: what streams of any kind can carry.
ATTRIBUTIONS: Final = (
    PLAIN,
    LANES,
    CLASSES,
    VALUE,
    REPEATS,
    DAILY,
    CONSUMED,
    TWICE,
    RUNS,
    VISITS,
    SAME_VISIT,
    PRIORITY,
    SELF,
    FAR,
    ALL,
    TRAIL,
    WAYS,
)
#: These read declared columns.
DECLARED: Final = (WEIGHTS, CLEAN)
