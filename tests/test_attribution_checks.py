"""What an attribution rule must satisfy, each refusal with the rule's name and the fix."""

from __future__ import annotations

from typing import Any

import pytest

from labeling import AttributionRule, Event, session
from labeling.errors import RuleError

WELL: dict[str, Any] = {
    "name": "orders",
    "action": Event("order"),
    "match": ("user_id",),
    "touches": (Event("click", within="1d"),),
}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "Orders"}, "name: use lower-case"),
        ({"match": ("item_id",)}, "add 'user_id'"),
        ({"touches": ()}, "name at least one Event"),
        ({"touches": (Event("click"),)}, "say how far back it may lie"),
        ({"min_age": "2d"}, "within is shorter than min_age"),
        ({"undone_by": Event("cancel")}, "say how long it counts"),
        ({"undone_within": "1d"}, "nothing undoes or refunds"),
        ({"refunded_by": "refund", "undone_within": "1d"}, "there is no value to be refunded"),
        ({"value": "scene"}, "'scene' is not an integer column"),
        ({"priority": "scene"}, "'scene' is not an integer column"),
        ({"max_touches": 0}, "must be at least 1"),
        ({"max_actions": 0}, "must be at least 1"),
        ({"repeat_match": ("user_id",)}, "give repeat_within with it"),
        ({"repeat_within": "0s"}, "must be longer than zero"),
        ({"day": "Mars/Olympus"}, "unknown time zone"),
        ({"trail": True}, "give session="),
        ({"session": session("1h"), "collapse": session("2h")}, "different sessions"),
        ({"path": "position"}, "'position' is not a string column"),
        ({"carry": ("sceen",)}, "did you mean 'scene'"),
        ({"carry": ("scene", "scene")}, "twice"),
        ({"credit": {}}, "name at least one model"),
        ({"credit": "linear"}, "credit"),
        ({"session": "30m"}, "session"),
    ],
    ids=lambda v: v if isinstance(v, str) else "-".join(v),
)
def test_what_cannot_mean_anything_is_refused(changed: dict[str, Any], said: str) -> None:
    """The message names the rule, what is wrong and what to write."""
    with pytest.raises(RuleError) as refused:
        AttributionRule(**(WELL | changed))
    assert "rule '" in str(refused.value)
    assert said in str(refused.value)


def test_what_may_be_abbreviated() -> None:
    """One touch, one column to collapse by, and types in place of events."""
    short = AttributionRule(
        **(WELL | {"action": "order", "touches": WELL["touches"][0], "collapse": "scene"})
    )
    long = AttributionRule(**(WELL | {"collapse": ("scene",)}))
    assert short.digest == long.digest
