"""Rules that break a law on purpose: what ``labeling check`` must catch, each by a named check.

Always holds: the model takes every one of them; each breaks its law through an expression that only
running it can judge, or in what a label lacks.

Not promised: that another check does not catch them too. What looks past its group is rarely wrong
in one way only.
"""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from labeling import Event, LabelRule, aggregate, count, first_value, happened, label
from labeling.model.expr import Node


def _rule(name: str, labels: dict[str, Node], **more: Any) -> LabelRule:
    given: dict[str, Any] = {
        "anchor": Event("impression"),
        "match": ("user_id", "item_id"),
        "window": "30m",
        "early": ("1m",),
        "carry": ("scene",),
    }
    return LabelRule(name=name, labels=labels, **(given | more))


#: Every second row of whatever frame the engine happens to have.
BY_ROW: Final = _rule(
    "by_row",
    {"clicked": happened("click")},
    anchor=Event("impression", where=pl.int_range(pl.len()) % 2 == 0),
)
#: Every second click of whatever frame the engine happens to have.
HALVES: Final = _rule(
    "halves",
    {
        "clicked": happened("click"),
        "half": count(Event("click", where=pl.int_range(pl.len()) % 2 == 0)),
    },
)
#: More than the average of all users: a row depends on other people's events.
ACROSS_USERS: Final = _rule(
    "across_users",
    {
        "clicked": happened("click"),
        "spent": happened(Event("order", where=pl.col("value") > pl.col("value").mean())),
    },
)
#: Another result each time.
AT_RANDOM: Final = _rule(
    "at_random",
    {"lot": aggregate("click", pl.int_range(1_000_000).shuffle().first(), pl.Int64)},
)
#: Euros and cents in a double.
FLOAT_SUM: Final = _rule(
    "float_sum",
    {
        "orders": count("order"),
        "paid": aggregate("order", pl.col("price").sum(), pl.Float64),
    },
    columns={"price": "f64"},
)
#: The same, where the type of what is summed cannot be told from the expression's text.
HIDDEN_FLOAT_SUM: Final = _rule(
    "hidden_float_sum",
    {
        "paid": aggregate(
            "order",
            pl.col("price").implode().list.eval(pl.element().sum()).list.first(),
            pl.Float64,
        )
    },
    columns={"price": "f64"},
)
#: The anchor counts only once something came after it.
LOOKS_AHEAD: Final = _rule(
    "looks_ahead",
    {"clicked": happened("click")},
    anchor=Event("impression", where=pl.col("event_ts") < pl.col("event_ts").max()),
)
#: The first events of all, however long ago.
LOOKS_BACK: Final = _rule(
    "looks_back",
    {"opening": happened(Event("click", where=pl.col("event_ts") == pl.col("event_ts").min()))},
)
#: A condition that is null where no click says whether it was on an ad.
NULL_CONDITION: Final = _rule(
    "null_condition",
    {"clicked": happened("click"), "on_ad": first_value("click", "is_ad")},
    columns={"is_ad": "bool"},
)
#: Cannot be computed where a value is below zero.
TOO_NARROW: Final = _rule(
    "too_narrow",
    {
        "clicked": happened("click"),
        "least": aggregate("click", pl.col("value").min(), pl.UInt8),
        "more": label("least") + 1,
    },
)
#: Each rule with the check that must catch it and the labels that it must name.
CAUGHT: Final = (
    (BY_ROW, "order", ()),
    (HALVES, "batches", ("half",)),
    (AT_RANDOM, "order", ("lot",)),
    (ACROSS_USERS, "locality", ("spent",)),
    (LOOKS_AHEAD, "point", ()),
    (LOOKS_BACK, "reach", ("opening",)),
    (FLOAT_SUM, "floats", ("paid",)),
    (HIDDEN_FLOAT_SUM, "floats", ("paid",)),
    (NULL_CONDITION, "types", ("on_ad",)),
    (TOO_NARROW, "types", ("least",)),
)

RULES: Final = tuple(dict.fromkeys(rule for rule, _, _ in CAUGHT))
