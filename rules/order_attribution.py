"""Order attribution: which clicks led to an order, by five models side by side.

Always holds: one row per order, and one for each click on its item within seven days before it or,
where there is none, for each view of it within one day; both bounds are inclusive. The credit of
an order sums to one by each model, and so do the shares to its value. A refund that names the order
(``order_id``) within thirty days lowers its value and leaves the credit as it is.

Not promised: that an order without ``item_id`` has touches, or a refund without ``order_id`` an
order: a null matches nothing.
"""

from __future__ import annotations

from labeling import (
    AttributionRule,
    Event,
    first_touch,
    last_touch,
    linear,
    position_based,
    time_decay,
)

ORDER_ATTRIBUTION = AttributionRule(
    name="order_attribution",
    version=1,
    action=Event("order"),
    match=("user_id", "item_id"),
    touches=(Event("click", within="7d"), Event("view_start", within="1d")),
    classes=True,
    credit={
        "last": last_touch(),
        "first": first_touch(),
        "linear": linear(),
        "position": position_based(first=0.4, last=0.4),
        "decay": time_decay("42h"),  # A quarter of the lookback.
    },
    value="value",
    refunded_by=Event("refund", match=("user_id", "order_id")),
    undone_within="30d",
)
