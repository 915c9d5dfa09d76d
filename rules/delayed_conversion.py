"""Delayed conversion: whether a click was followed by an order by the end of the next day.

Always holds: one row per click, published after one hour and, finally, at the last millisecond
of the next day in Shanghai, inclusive. An order counts for every click of its user on its item
whose window covers it: the label answers whether the click was followed by an order, and two
clicks before one order both were.

Not promised: that revenue adds up over clicks. It is what was ordered after this click; sharing
an order among clicks is credit, which attributions keep.
"""

from __future__ import annotations

from labeling import Event, LabelRule, count, end_of_day, happened, sum_of, time_to

DELAYED_CONVERSION = LabelRule(
    name="delayed_conversion",
    version=1,
    anchor=Event("click"),
    match=("user_id", "item_id"),
    assign="every",
    window=end_of_day(1, tz="Asia/Shanghai"),
    early=("1h",),
    repeat_within="2s",
    labels={
        "converted": happened("order"),
        "orders": count("order"),
        "revenue": sum_of("order", "value"),
        "refunded": sum_of("refund", "value"),
        "time_to_order_ms": time_to("order"),
    },
    money=("revenue", "refunded"),
)
