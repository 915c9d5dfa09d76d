"""``labeling check`` of attribution rules: what it lets pass, and what it catches.

Always holds: the rules that pass are those of the golden cases, one for each option.
"""

from __future__ import annotations

from typing import Any, Final

import polars as pl
import pytest

from labeling import AttributionRule, Event, linear, weighted
from labeling.engine.evaluate import evaluate
from labeling.engine.points import points
from labeling.testing.check import CHECKS, Result, check
from labeling.testing.check.domain import START, domain
from labeling.testing.check.laws import credit
from labeling.testing.check.streams import frames
from labeling.testing.check.subject import Subject
from tests.attribution_rules import RULES

BY_NAME: Final = {rule.name: rule for rule in RULES}


def made(name: str, **options: Any) -> AttributionRule:
    """An attribution of orders to clicks."""
    plain: dict[str, Any] = {"touches": (Event("click", within="1d"),), "credit": linear()}
    return AttributionRule(
        name=name, action=Event("order"), match=("user_id",), carry=(), touch_carry=(),
        **(plain | options),
    )  # fmt: skip


#: More than other people's clicks weigh.
GREEDY: Final = made(
    "greedy", credit=weighted((pl.col("value") > pl.col("value").max() - 1).cast(pl.Int64))
)
#: Every second click of whatever frame the engine happens to have.
HALVES: Final = made(
    "halves", touches=(Event("click", where=pl.int_range(pl.len()) % 2 == 0, within="1d"),)
)
#: Another result each time.
AT_RANDOM: Final = made("at_random", credit=weighted(pl.int_range(pl.len()).shuffle()))
#: A sum of floats, whatever it is of.
FLOATS: Final = made(
    "floats", credit={"own": weighted(pl.col("price").sum())}, columns={"price": "f64"}
)
#: No weight at all: text.
TEXTS: Final = made("texts", credit={"even": linear(), "own": weighted(pl.col("scene"))})


def one(rule: AttributionRule, name: str) -> Result:
    """The result of one check of one rule."""
    (result,) = check((rule,), only=(name,), examples=24)
    return result


@pytest.mark.parametrize("rule", RULES, ids=lambda r: str(r.name))
def test_rules_of_every_option_keep_the_laws(rule: AttributionRule) -> None:
    """Every check passes on a few random streams, law 6 among them."""
    results = list(check((rule,), examples=2))
    assert [r.check for r in results] == list(CHECKS)
    assert not [str(r) for r in results if r.broken]


@pytest.mark.parametrize(
    ("rule", "name", "columns"),
    [
        (GREEDY, "locality", ("credit",)),
        (HALVES, "order", ()),
        (AT_RANDOM, "order", ("credit",)),
        (FLOATS, "floats", ("credit_own",)),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_a_broken_rule_is_caught(
    rule: AttributionRule, name: str, columns: tuple[str, ...]
) -> None:
    """The check finds it, names the column, and shows few events."""
    result = one(rule, name)
    assert result.broken is not None
    assert result.broken.events.height <= 6
    assert result.labels == columns or not columns
    assert str(result).startswith(f"{rule.key}  {name:<8}  FAILED  ")


def test_weights_that_cannot_be_computed_are_named() -> None:
    """The column of the model that fails, not that of its neighbour."""
    result = one(TEXTS, "types")
    assert result.broken is not None
    assert result.labels == ("credit_own",)


@pytest.mark.parametrize(
    ("column", "value", "touch"),
    [("credit_linear", 1, "touch"), ("value_decay", 1, "touch"), ("rank", 9, "touch"),
     ("direct", True, "touch"), ("touches", 9, "action"), ("value", 10**6, "action"),
     ("verdict", "undone", "action"), ("verdict", "unattributed", "action")],
)  # fmt: skip
def test_credit_that_is_not_conserved_is_caught(column: str, value: object, touch: str) -> None:
    """Tampered with anywhere, the rows of an action do not make a whole."""
    rule = BY_NAME["five_models"]
    events = list(frames(rule, seed=1, examples=20))[-1]
    rows = evaluate(rule, events, points(rule, events)).with_row_index("n")
    longest = rows.filter(pl.col("touches") > 2)[0]
    key = [pl.col(c) == longest[c].item() for c in ("user_id", "anchor_ts", "anchor_id")]
    is_action = pl.col("touch_id") == ""
    mine = rows.filter(*key, is_action if touch == "action" else ~is_action)
    (chosen,) = mine.head(1)["n"]
    changed = pl.when(pl.col("n") == chosen).then(pl.lit(value)).otherwise(column)
    spoiled = rows.with_columns(changed.cast(rule.value_schema[column]).alias(column)).drop("n")
    whole, broken = (Subject(rule, events, 0) for _ in range(2))
    broken.__dict__["rows"] = spoiled
    assert credit(whole) is None
    found = credit(broken)
    assert found is not None
    assert found.users == {longest["user_id"].item()}


def test_streams_know_the_bounds_of_attributions() -> None:
    """Windows, half-lives, gaps and the midnight at which a day starts afresh are aimed at."""
    day, minute = 86_400_000, 60_000
    assert {7 * day, 7 * day + 1, day - 1} <= set(domain(BY_NAME["five_models"]).deltas_ms)
    assert 30 * minute + 1 in domain(BY_NAME["session_touches"]).deltas_ms
    (there,) = domain(BY_NAME["two_uses"]).ends
    assert (there - START).total_seconds() == 6 * 3600
    for rule in RULES:
        events = list(frames(rule, seed=0, examples=12))[-1]
        assert rule.event_types <= set(events["event_type"])
