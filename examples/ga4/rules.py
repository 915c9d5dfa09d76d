"""From view to order: what followed within a week of an item being viewed?

Always holds: one row per item of a view. An item was carted when that item was put into the cart;
a view was followed by an order when its user ordered anything, because the items of orders and of
views are named differently in this log: 1 of 213 ordered items has a view.

Not promised: that orders add up over views. `assign="every"`: two views before one order were
both followed by it.
"""

import polars as pl

from labeling import Event, LabelRule, anchor, count, happened, time_to

#: Whatever was ordered.
ORDER = Event("order", match=("user_id",))

VIEW_TO_ORDER = LabelRule(
    name="view_to_order",
    version=1,
    anchor=Event("view", where=pl.col("item_id").is_not_null()),
    match=("user_id", "item_id"),
    assign="every",
    window="7d",
    labels={
        "price": anchor("value"),
        "carted": happened("cart"),
        "ordered": happened(ORDER),
        "ordered_items": count(ORDER),
        "time_to_order_ms": time_to(ORDER),
    },
    carry=("item_id", "item_category"),
    columns={"item_category": "str"},
    money=("price",),
)

RULES = (VIEW_TO_ORDER,)
