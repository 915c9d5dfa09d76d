"""A rule that cannot mean anything is refused when it is made, with its name and the fix."""

from __future__ import annotations

from typing import Any

import polars as pl
import polars.selectors as cs
import pytest

from labeling import (
    Event,
    LabelRule,
    aggregate,
    anchor,
    column,
    count,
    dwell,
    end_of_day,
    first_value,
    happened,
    label,
    sum_of,
)
from labeling.errors import RuleError


def rule(**more: Any) -> LabelRule:
    """A rule that is right but for what is given."""
    right: dict[str, Any] = {
        "name": "r",
        "anchor": Event("show"),
        "match": ("user_id", "item_id"),
        "window": "30m",
        "labels": {"clicked": happened("click")},
    }
    return LabelRule(**{**right, **more})


def where(condition: Any) -> dict[str, Any]:
    """Labels whose one event has that condition."""
    return {"labels": {"a": happened(Event("click", where=condition))}}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "Note Labels"}, "lower-case"),
        ({"version": 0}, "count from 1"),
        ({"labels": {}}, "at least one"),
        ({"labels": {"user_id": happened("click")}}, "rename"),
        ({"labels": {"scene": happened("click")}}, "rename"),
        ({"match": ("item_id",)}, "add 'user_id'"),
        ({"match": ("user_id", "itm_id")}, "did you mean 'item_id'"),
        ({"match": ("user_id", "position")}, "not a string"),
        ({"match": ("user_id", "user_id")}, "twice"),
        ({"reference": "position"}, "not a string"),
        ({"reference": "show_id"}, "unknown column"),
        ({"assign": "first"}, "'latest' or 'every'"),
        ({"early": ("30m",)}, "past the window"),
        ({"early": ("2m", "1m")}, "increasing"),
        ({"window": "half an hour"}, "whole numbers with units"),
        ({"window": "0s"}, "longer than zero"),
        ({"window": end_of_day(0), "early": ("3d",)}, "past the window"),
        ({"carry": ("campaign_id",)}, "[columns]"),
        ({"carry": ("user_id",)}, "drop it"),
        ({"columns": {"a": "text"}}, "unknown type"),
        ({"columns": {"scene": "str"}}, "taken"),
        ({"money": ("clicked",)}, "not an integer label"),
        ({"anchor": Event("show", within="1m")}, "anchor takes no"),
        ({"labels": {"a": label("b")}}, "undefined label 'b'"),
        ({"labels": {"a": label("b"), "b": ~label("a")}}, "a -> b -> a"),
        ({"labels": {"a": label("clickd"), "clicked": happened("click")}}, "mean 'clicked'"),
        ({"labels": {"a": anchor("positon") > 1}}, "did you mean 'position'"),
        ({"labels": {"a": column("position") > 1}}, "is for where="),
        ({"labels": {"a": count("click") > "many"}}, "make them one type"),
        ({"labels": {"a": count("click") & happened("like")}}, "compare first"),
        ({"labels": {"a": anchor("scene") + 1}}, "use numbers"),
        ({"labels": {"a": sum_of("order", "scene")}}, "not an integer"),
        ({"labels": {"a": first_value("click", "experiments")}}, "is a list"),
        ({"labels": {"a": happened(Event("click", match=("item_id",)))}}, "add 'user_id'"),
        ({"labels": {"a": happened(Event("click", within="1h"))}}, "widen the window"),
        (
            {"labels": {"a": dwell(start="s", end=Event("e", match=("user_id",)))}},
            "share one match",
        ),
        (where(column("position")), "not a condition"),
        (where(column("positon") == 1), "did you mean 'position'"),
        (where(happened("like")), "own columns only"),
        (where(pl.col("positon") == 1), "did you mean 'position'"),
        (where(cs.by_name("position") == 1), "name the columns"),
        (where(pl.col("scene").map_elements(len, pl.Int64) > 1), "row-wise Python"),
        (where(pl.col("scene").map_batches(lambda s: s.is_null())), "row-wise Python"),
        (
            where(pl.fold(pl.lit(0), lambda a, b: a + b, [pl.col("position")]) > 1),
            "row-wise Python",
        ),
        ({"labels": {"a": aggregate("click", pl.col("positon").max(), pl.Int64)}}, "'position'"),
    ],
)
def test_each_mistake_is_named(wrong: dict[str, Any], said: str) -> None:
    """The error names the rule and says what to change."""
    with pytest.raises(RuleError, match=r"rule '.*' \(version \d+\)") as error:
        rule(**wrong)
    assert said in str(error.value)


def test_constants_may_look_like_anything() -> None:
    """Only code is looked at: a constant that spells a forbidden word is a constant."""
    assert rule(**where(pl.col("scene") == "python_udf cs. Series")).labels


def test_dwell_is_one_of_two_kinds() -> None:
    """A dwell reads starts, or reported durations; both or neither is refused."""
    with pytest.raises(ValueError, match="needs start"):
        dwell(end="view_end")
    with pytest.raises(ValueError, match="drop start"):
        dwell(start="view_start", end="view_end", duration="value")


def test_conditions_are_joined_by_operators() -> None:
    """``and`` would silently keep one side only, so it raises and names the operators."""
    with pytest.raises(TypeError, match=r"joined|combine"):
        bool(happened("click"))


@pytest.mark.parametrize(
    "other",
    [
        {"window": "31m"},
        {"match": ("user_id",)},
        {"early": ("1m",)},
        {"reference": "impression_id"},
        {"assign": "every"},
        {"repeat_within": "1s"},
        {"carry": ("item_id",)},
        {"anchor": Event("show", where=column("position") == 1)},
        {"labels": {"clicked": happened("tap")}},
        {"labels": {"clicked": happened(Event("click", within="1m"))}},
        where(pl.col("scene").is_in([str(n) for n in range(50)])),
    ],
)
def test_the_digest_tells_definitions_apart(other: dict[str, Any]) -> None:
    """Any change of the definition changes the digest; name and version are no part of it."""
    assert rule(**other).digest != rule().digest
    assert rule(name="other", version=2).digest == rule().digest


def test_the_digest_sees_long_lists_whole() -> None:
    """Two conditions that differ in the middle of a long list are two definitions."""
    one, two = [str(n) for n in range(100)], [str(n) for n in range(100)]
    two[50] = "other"
    digests = {rule(**where(pl.col("scene").is_in(names))).digest for names in (one, two)}
    assert len(digests) == 2


def test_the_digest_is_the_same_in_every_process() -> None:
    """A digest that is written down stays: it depends on no hash seed and no order of sets."""
    assert rule().digest == "b12a130e4320e1f9"
