"""From view to order: what did a user do with an item by the end of the next day in Shanghai?

Always holds: one row per view, published after an hour and, finally, at the last millisecond of
the next local day. A favourite, a cart or an order counts for one view: the latest of that item
by that user at or before it.

Not promised: a view for every order. Most items in this sample were ordered, or put into the
cart, without a view of them in the log.
"""

from labeling import Event, LabelRule, end_of_day, happened, time_to

VIEW_TO_ORDER = LabelRule(
    name="view_to_order",
    version=1,
    anchor=Event("view"),
    match=("user_id", "item_id"),
    window=end_of_day(1, tz="Asia/Shanghai"),
    early=("1h",),
    labels={
        "favorited": happened("favorite"),
        "carted": happened("cart"),
        "ordered": happened("order"),
        "time_to_order_ms": time_to("order"),
    },
    carry=("item_id", "category_id"),
    columns={"category_id": "str"},
)

RULES = (VIEW_TO_ORDER,)
