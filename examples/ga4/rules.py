"""From view to order: what followed within a week of an item being viewed?

Always holds: one row per item of a view. An item was carted when that item was put into the cart;
a view was followed by an order when its user ordered anything, because the items of orders and of
views are named differently in this log: 1 of 213 ordered items has a view.

Not promised: that orders add up over views. `assign="every"`: two views before one order were
both followed by it.
"""

from labeling import Event, LabelRule, column, count, happened, time_to

#: Whatever was ordered.
ORDER = Event("order", match=("user_id",))

VIEW_TO_ORDER = LabelRule(
    name="view_to_order",
    version=1,
    anchor=Event("view", where=column("item_id") != ""),
    match=("user_id", "item_id"),
    assign="every",
    window="7d",
    labels={
        "carted": happened("cart"),
        "ordered": happened(ORDER),
        "ordered_items": count(ORDER),
        "time_to_order_ms": time_to(ORDER),
    },
    carry=("item_id", "item_category", "value"),
    columns={"item_category": "str"},
    money=("value",),
)

RULES = (VIEW_TO_ORDER,)
