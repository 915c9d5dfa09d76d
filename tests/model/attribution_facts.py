"""What streams and rules of attribution need beside each other: richer facts, and twins.

Always holds: ``rich`` is a function of a fact, so that repeats of one stay repeats.

Not promised: that columns are independent. A page follows from a reference, an order from a view.
"""

from __future__ import annotations

from typing import Any, Final

from labeling.model.attribution import AttributionRule
from tests.model.assign import Fact, Twins
from tests.model.attribution_rules import CLEAN, VISITS, WEIGHTS

#: What is shared is so much that its parts are not round.
MONEY: Final = 333_333_337
_PAGES: Final = {None: None, "a": "p1", "b": "p1", "r1": "p1"}
#: Where a trail is asked for there are more pages, and what led to some is logged.
_STOPS: Final = {None: None, 1: "p1", 2: "p2", 3: "p3"}
_REFERRERS: Final = {None: None, "v1": "p1", "v2": "p2"}
_WEIGHTS: Final = {0: 0.0, 1: 0.5, 2: 2.25, 3: float("nan"), 5: float("inf"), -1: -1.0}
_BOTS: Final = {1: True, 2: False, 3: False}


def rich(rule: AttributionRule, e: Fact) -> Fact:
    """The fact with a page, an order and what the rule declares, made of its other columns."""
    more = {
        "page_id": _PAGES.get(e["impression_id"], "p2") if e["page_id"] is None else e["page_id"],
        "order_id": e["view_id"],
        "weight": _WEIGHTS.get(e["value"]),
        "bot": _BOTS.get(e["position"]),
        "slot": e["value"],
    }
    if rule.trail:
        more["page_id"] = _STOPS[e["position"]]
        more["referrer_page_id"] = _REFERRERS[e["view_id"]]
    if rule.value is not None and e["value"] is not None:
        more["value"] = e["value"] * MONEY
    return e | {k: v for k, v in more.items() if k in rule.event_schema}


def _expr(rule: AttributionRule, suffix: str) -> str:
    model: Any = rule.models[suffix]
    return str(model.expr)


def _where() -> str:
    where: Any = CLEAN.touches[0].where
    return str(where.expr)


def _place(t: Fact) -> float:
    near = 1.0 / t["delay_ms"] if t["delay_ms"] else float("inf")
    return float(near + t["rank"] / t["touches"])


ATTRIBUTION_TWINS: Final[Twins] = {
    _expr(VISITS, "_mine"): lambda t: t["delay_ms"] * t["rank"],
    _expr(WEIGHTS, "_mine"): lambda t: t["weight"],
    _expr(WEIGHTS, "_whole"): lambda t: t["value"],
    _expr(WEIGHTS, "_place"): _place,
    _where(): lambda e: e["value"] is not None and e["value"] > 0,
}
