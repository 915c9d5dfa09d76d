"""Small attribution rules, one for each option: what the cases of ``attribution_cases`` are about.

Always holds: a rule has no more than it needs to show its option; rows carry nothing unless
carrying is the option.

Not promised: that anybody would want them. The shipped rules are in ``rules/``.
"""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from labeling import (
    AttributionRule,
    Event,
    column,
    first_touch,
    last_touch,
    linear,
    position_based,
    session,
    time_decay,
    weighted,
)

CLICK: Final = Event("click", within="7d")
VIEW: Final = Event("view", within="1d")
USER: Final = ("user_id",)
ITEM: Final = ("user_id", "item_id")
ORDER: Final = ("user_id", "order_id")


def made(name: str, action: str, *touches: Event, **options: Any) -> AttributionRule:
    """A rule that carries nothing and matches by user, unless it says otherwise."""
    plain: dict[str, Any] = {"match": USER, "carry": (), "touch_carry": ()}
    return AttributionRule(name=name, action=Event(action), touches=touches, **{**plain, **options})


#: What users of other systems know: their numbers must come out.
REFERENCE: Final = (
    made("last_click_1d", "order", Event("click", within="1d")),
    made("clicks_7d_over_views_1d", "order", CLICK, VIEW, classes=True),
    made("clicks_1d_over_views_1d", "order", Event("click", within="1d"), VIEW, classes=True),
    made("decay_over_7d", "order", CLICK, credit=time_decay("42h")),
    made("decay_over_2d", "order", Event("click", within="2d"), credit=time_decay("1d")),
    made(
        "position_collapsed",
        "order",
        CLICK,
        credit=position_based(first=0.4, last=0.4),
        collapse=("channel",),
        path="channel",
        columns={"channel": "str"},
    ),
)

CREDIT: Final = (
    made(
        "five_models",
        "order",
        CLICK,
        credit={
            "last": last_touch(),
            "first": first_touch(),
            "linear": linear(),
            "position": position_based(),
            "decay": time_decay("1d"),
        },
        value="value",
    ),
    made(
        "no_ends",
        "order",
        CLICK,
        credit={
            "none": position_based(first=0, last=0),
            "first": position_based(first=0.3, last=0),
        },
    ),
    made("own_weights", "order", CLICK, credit=weighted(pl.col("value"))),
    made(
        "weights_of_place",
        "order",
        CLICK,
        credit={
            "rank": weighted(pl.col("rank") * pl.col("touches")),
            "near": weighted(1 / (1 + pl.col("delay_ms") / 3_600_000)),
        },
    ),
)

CHOICE: Final = (
    made("not_too_fresh", "order", Event("click", within="1h"), min_age="5s"),
    made(
        "no_direct",
        "order",
        Event("click", where=column("channel") != "direct", within="1d"),
        credit=linear(),
        columns={"channel": "str"},
    ),
    made(
        "ads_within_the_hour",
        "order",
        Event("click", where=column("channel") == "ad", within="1h"),
        Event("click", within="1d"),
        credit=linear(),
        columns={"channel": "str"},
    ),
    made("by_priority", "order", CLICK, priority="position", credit=linear()),
    made(
        "class_then_priority",
        "order",
        CLICK,
        VIEW,
        classes=True,
        priority="position",
        credit=linear(),
    ),
    made("other_page", "like", Event("view", within="1h"), own_page=False),
    made(
        "two_kept",
        "order",
        CLICK,
        collapse=("channel",),
        max_touches=2,
        credit=linear(),
        path="channel",
        columns={"channel": "str"},
    ),
    made(
        "same_campaign",
        "order",
        CLICK,
        match=("user_id", "campaign_id", "conversion_type"),
        columns={"campaign_id": "str", "conversion_type": "str"},
    ),
    made("after_orders", "order", Event("order", "click", within="1d"), credit=linear()),
    made(
        "carried",
        "like",
        Event("view", within="1h"),
        match=ITEM,
        carry=("item_id", "platform", "experiments"),
        touch_carry=("request_id", "position"),
    ),
)

SESSIONS: Final = (
    made(
        "session_touches",
        "order",
        Event("click", within="1d"),
        collapse=session("30m"),
        credit={"linear": linear(), "decay": time_decay("1h")},
    ),
    made(
        "session_touches_shanghai",
        "order",
        Event("click", within="1d"),
        collapse=session("30m", tz="Asia/Shanghai"),
        credit=linear(),
    ),
    made(
        "same_session",
        "like",
        Event("view", match=("user_id", "session"), within="1d"),
        session=session("30m"),
        credit=linear(),
    ),
)

ACTIONS: Final = (
    made(
        "consumed",
        "order",
        CLICK,
        max_actions=1,
        credit=linear(),
        undone_by=Event("cancel", match=ORDER),
        undone_within="1d",
    ),
    made("two_uses", "order", CLICK, max_actions=2, credit=linear(), day="Asia/Shanghai"),
    made(
        "once_per_hour",
        "like",
        Event("view", within="1d"),
        match=ITEM,
        repeat_within="1h",
        undone_by=Event("unlike"),
        undone_within="1d",
    ),
    made(
        "first_of_the_day",
        "like",
        Event("view", within="1h"),
        repeat_within="25h",
        day="Asia/Shanghai",
    ),
    made(
        "refunded",
        "order",
        CLICK,
        credit=linear(),
        value="value",
        refunded_by=Event("refund", match=ORDER),
        undone_by=Event("cancel", match=ORDER),
        undone_within="1d",
    ),
)

RULES: Final = (*REFERENCE, *CREDIT, *CHOICE, *SESSIONS, *ACTIONS)
