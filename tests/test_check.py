"""``labeling.testing.check``: what it catches, what it lets pass, how small its examples are.

Always holds: the rules that break a law stand in ``broken_rules``; each is caught here by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from labeling import Event, LabelRule, aggregate, count, happened, sum_of
from labeling.errors import RuleError
from labeling.model.kinds import Rule
from labeling.testing.check import Result, check, checks_of, fixture_events, wrapped
from tests.broken_rules import (
    AT_RANDOM,
    CAUGHT,
    FLOAT_SUM,
    LOOKS_AHEAD,
    NULL_CONDITION,
    TOO_NARROW,
)
from tests.shipped import RULES

ROOT: Final = Path(__file__).resolve().parent.parent


def one(rule: LabelRule, name: str, **options: Any) -> Result:
    """The result of one check of one rule."""
    (result,) = check((rule,), only=(name,), **options)
    return result


def made(**labels: Any) -> LabelRule:
    """A rule of the labels, about impressions and what follows them."""
    return LabelRule(
        name="made",
        anchor=Event("impression"),
        match=("user_id", "item_id"),
        window="30m",
        carry=(),
        columns={"price": "f64", "prices": "list[str]"},
        labels=labels,
    )


@pytest.mark.parametrize(
    ("rule", "name", "labels"), CAUGHT, ids=[f"{r.name}-{name}" for r, name, _ in CAUGHT]
)
def test_a_broken_rule_is_caught(rule: LabelRule, name: str, labels: tuple[str, ...]) -> None:
    """The check finds it, names the label, and shows few events and what differs."""
    result = one(rule, name)
    assert result.broken is not None
    assert result.labels == labels
    assert result.broken.cells
    assert result.broken.events.height <= 6
    assert str(result).startswith(f"{rule.key}  {name:<8}  FAILED  ")


@pytest.mark.parametrize("rule", RULES, ids=lambda r: str(r.name))
def test_shipped_rules_keep_the_laws(rule: Rule) -> None:
    """Every check passes, on the golden cases and on random streams."""
    fixtures = fixture_events(ROOT / "fixtures", RULES)
    assert fixtures[rule.key].height > 20
    results = list(check((rule,), fixtures=fixtures, examples=12))
    assert [r.check for r in results] == list(checks_of(rule))
    assert not [str(r) for r in results if r.broken]


def test_a_fault_that_only_a_golden_case_shows_is_found() -> None:
    """Events of fixtures are checked beside random ones: here only they have so large a value."""
    rule = made(most=aggregate("order", pl.col("value").max(), pl.Int8))
    seen = {"user_id": "u1", "item_id": "i1", "event_ts": 0}
    rows = [
        seen | {"event_id": "a", "event_type": "impression"},
        seen | {"event_id": "b", "event_type": "order", "value": 77_000},
    ]
    whole = {**rule.event_schema, "event_ts": pl.Int64()}
    times = {"event_ts": rule.event_schema["event_ts"]}
    fixture = pl.DataFrame(rows, schema=whole).cast(times)  # type: ignore[arg-type]  # one column
    assert one(rule, "types", examples=12).broken is None
    result = one(rule, "types", fixtures={rule.key: fixture}, examples=12)
    assert result.labels == ("most",)
    assert "77000" in str(result)


def test_a_rule_that_cannot_be_computed_is_explained_once() -> None:
    """Every check on events fails and points to ``types``, which alone shows events."""
    results = {r.check: r for r in check((TOO_NARROW,))}
    said = results["order"].broken
    assert said is not None
    assert "see types" in said.said
    assert said.events.is_empty()
    shown = results["types"].broken
    assert shown is not None
    assert shown.events["event_type"].sort().to_list() == ["click", "impression"]
    assert "InvalidOperationError" in str(results["types"])


def test_what_was_taken_away_is_marked() -> None:
    """Where a law takes events away, the table says which; the later one made the anchor count."""
    result = one(LOOKS_AHEAD, "point")
    assert result.broken is not None
    lines = [line.strip() for line in str(result).splitlines()]
    (top,) = [n for n, line in enumerate(lines) if line.startswith("event_ts")]
    table = [line.split(" | ") for line in lines[top : lines.index("", top)]]
    assert table[0][-1] == "taken"
    assert [row[-1].strip() for row in table[1:]] == ["-", "away"]


def test_columns_that_do_not_matter_are_emptied() -> None:
    """A null condition needs its anchor and no column of it."""
    result = one(NULL_CONDITION, "types")
    assert result.broken is not None
    (row,) = result.broken.events.to_dicts()
    assert {c for c, v in row.items() if v is not None} == {
        "event_id",
        "event_ts",
        "event_type",
        "user_id",
    }


def test_the_same_seed_gives_the_same_results() -> None:
    """Twice the same text, the counter-example with it; another seed, another example."""
    first, again = (str(one(LOOKS_AHEAD, "point", seed=1)) for _ in range(2))
    assert first == again
    assert "FAILED" in first
    assert first != str(one(LOOKS_AHEAD, "point", seed=2))


def test_chance_is_told_from_order() -> None:
    """A rule that draws at random is said to differ on the very same events."""
    result = one(AT_RANDOM, "order")
    assert result.broken is not None
    assert "evaluated again" in result.broken.said


@pytest.mark.parametrize(
    "expr",
    [
        pl.col("price").mean(),
        pl.col("value").std(),
        (pl.col("price") * 100).round().sum().cast(pl.Int64),
        (pl.col("delay_ms") / 1000).sum(),
        pl.col("price").implode().list.sum().first(),
        pl.col("price").filter(pl.col("value") > 0).cum_sum().last(),
        pl.corr("price", "value"),
        pl.when(pl.col("price").sum() > 1).then(1).otherwise(0),
    ],
    ids=str,
)
def test_a_sum_of_floats_is_seen_in_the_expression(expr: pl.Expr) -> None:
    """Sums, means and deviations of floats are refused, however deep they stand."""
    result = one(made(fine=count("order"), paid=aggregate("order", expr, pl.Float64)), "floats")
    assert result.labels == ("paid",)


@pytest.mark.parametrize(
    "expr",
    [
        pl.col("price").max(),
        pl.col("price").last(),
        pl.col("price").median(),
        pl.col("value").sum(),
        pl.col("value").sum() / 1_000_000,
        pl.col("price").count(),
        pl.col("scene").eq(".sum()").any(),
        (pl.col("price") > 0.5).sum(),
        pl.sum_horizontal("price", "price").max(),
    ],
    ids=str,
)
def test_what_adds_no_floats_passes(expr: pl.Expr) -> None:
    """Choosing among floats, counting, and adding integers is fine, also where order matters."""
    assert one(made(paid=aggregate("order", expr, pl.Float64)), "floats").broken is None


@pytest.mark.parametrize("text", [".fold(", "x.rolling_map(", '"'])
def test_text_that_looks_like_python_is_none(text: str) -> None:
    """A constant is a constant, whatever it says."""
    rule = made(named=happened(Event("click", where=pl.col("scene") == text)))
    assert one(rule, "python").broken is None


@pytest.mark.parametrize(
    "expr",
    [
        pl.col("value").map_elements(hex, return_dtype=pl.String).max(),
        pl.col("value").map_batches(lambda s: s + 1, return_dtype=pl.Int64).max(),
        pl.cum_reduce(lambda a, b: a + b, [pl.col("value"), pl.col("value")]).len(),
    ],
    ids=["map_elements", "map_batches", "cum_reduce"],
)
def test_what_the_model_refuses_needs_no_check(expr: pl.Expr) -> None:
    """Row-wise Python does not become a rule at all."""
    with pytest.raises(RuleError, match="label 'bad'"):
        made(bad=aggregate("click", expr, pl.Int64))


def test_python_in_a_rule_that_was_never_checked_is_found() -> None:
    """A rule whose labels were put in behind the model's back is caught all the same."""
    rule = made(good=happened("click"))
    python = pl.col("value").map_batches(lambda s: s + 1, return_dtype=pl.Int64).max()
    object.__setattr__(rule, "labels", {"bad": aggregate("click", python, pl.Int64)})
    assert wrapped.python(rule) is not None


def test_the_word_for_sums_refuses_floats_itself() -> None:
    """``sum_of`` a double column is refused when the rule is made."""
    with pytest.raises(RuleError, match="sums of floats"):
        made(paid=sum_of("order", "price"))


def test_over_inside_an_aggregate_stays_with_its_anchor() -> None:
    """``over`` looks no further than the events of one anchor, hence keeps the laws."""
    rank = aggregate("click", pl.col("value").sum().over("user_id").max(), pl.Int64)
    results = check((made(rank=rank),), only=("order", "locality", "types"))
    assert not [str(r) for r in results if r.broken]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"examples": 0}, "at least one"), ({"only": ("ordr",)}, r"ordr.*there are order")],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], said: str) -> None:
    """No streams, or a check that does not exist, is an error and no silent pass."""
    with pytest.raises(ValueError, match=said):
        list(check((FLOAT_SUM,), **options))
