"""``evaluate`` of attributions against the slow twin, and the laws that their rows keep.

Always holds: rows at all points, and at any other times, are those of the model, cell by cell and
type by type.

Not promised: small counter-examples from the seeded worlds; those of hypothesis are small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

import rules as shipped
from labeling.engine.evaluate import evaluate
from labeling.engine.points import points
from labeling.model.attribution import AttributionRule
from labeling.model.credit import linear
from labeling.model.selector import Event
from labeling.model.session import session
from tests.engine_drive import compare, dicts, engine_rows, frame, worlds
from tests.model.actions import AsOf
from tests.model.assign import Fact, identity
from tests.model.attribution import in_order, rows, rows_at
from tests.model.attribution import points as model_points
from tests.model.attribution_facts import ATTRIBUTION_TWINS, rich
from tests.model.attribution_rules import (
    ALL,
    ATTRIBUTIONS,
    BERLIN,
    CONSUMED,
    DECLARED,
    REPEATS,
    SELF,
    VALUE,
)
from tests.model.clock import FOREVER
from tests.model.oracle import Row
from tests.strategies import THOROUGH, examples, facts, table

SAMPLES = (*ATTRIBUTIONS, *DECLARED)
WORLDS = 3_000 if THOROUGH else 80
each_rule = pytest.mark.parametrize("rule", SAMPLES, ids=lambda r: r.name)


def of_rule(rule: AttributionRule, max_size: int = 16) -> st.SearchStrategy[list[Fact]]:
    """Streams of what a rule reads, and of a type that it does not."""
    made = facts(max_size, types=(*sorted(rule.event_types), "other"))
    return made.map(lambda events: [rich(rule, e) for e in events])


def engine(rule: AttributionRule, events: list[Fact], asked: Any = None) -> list[Row]:
    """What the engine says, in the model's order."""
    return sorted(engine_rows(rule, events, asked), key=in_order)


def assert_worlds_agree(rule: AttributionRule, by_user: dict[str, list[Fact]]) -> None:
    """All users in one frame against each by itself."""
    got: dict[str, list[Row]] = {}
    for r in engine(rule, [e for mine in by_user.values() for e in mine]):
        got.setdefault(r["user_id"], []).append(r)
    for user, mine in by_user.items():
        found = compare(rows(rule, mine, None, ATTRIBUTION_TWINS), got.get(user, []))
        assert not found, f"{table(mine)}\n" + "\n".join(found)


@each_rule
@pytest.mark.parametrize("unit_ms", [1, 2])
def test_many_worlds(rule: AttributionRule, unit_ms: int) -> None:
    """Many users in one frame, close together or not: each one's rows are the model's."""
    by_user = worlds(Random(7), WORLDS, sorted(rule.event_types), unit_ms=unit_ms)
    assert_worlds_agree(rule, {u: [rich(rule, e) for e in mine] for u, mine in by_user.items()})


@each_rule
def test_rows_at_every_point(rule: AttributionRule) -> None:
    """A shrinking example for each rule: all points of all candidates, or a few of them."""

    @examples(8)
    @given(of_rule(rule), st.integers(0, 3), st.integers(0, 3))
    def equal(events: list[Fact], modulus: int, rest: int) -> None:
        note(table(events))
        asked = None if modulus == 0 else lambda _, p: p % (2 * modulus) == rest
        expected = rows(rule, events, asked, ATTRIBUTION_TWINS)
        assert compare(expected, engine(rule, events, asked)) == []
        found = dicts(points(rule, frame(events, rule)))
        assert sorted((r["row"], r["point_ts"]) for r in found) == sorted(
            (events.index(c), p) for c, p in model_points(rule, events, ATTRIBUTION_TWINS)
        )

    equal()


@each_rule
def test_rows_at_any_time(rule: AttributionRule) -> None:
    """Between its points an action is what it was at the one before, undone or refunded."""

    @examples(5)
    @given(of_rule(rule), st.sets(st.integers(0, 12), min_size=1, max_size=4))
    def equal(events: list[Fact], after: set[int]) -> None:
        note(table(events))
        known = AsOf(rule, events, FOREVER, ATTRIBUTION_TWINS)
        pairs = [(c, c["event_ts"] + ms) for c in known.candidates for ms in sorted(after)]
        expected = rows_at(rule, events, pairs, ATTRIBUTION_TWINS)
        assert compare(expected, engine_at(rule, events, pairs)) == []

    equal()


def engine_at(
    rule: AttributionRule, events: list[Fact], pairs: list[tuple[Fact, int]]
) -> list[Row]:
    """What the engine says of candidates at any times."""
    given_events = frame(events, rule)
    schema = points(rule, given_events).schema
    asked = pl.DataFrame(
        [
            {k: c[k] for k in ("user_id", "event_ts", "event_id")}
            | {"row": events.index(c), "point": n, "point_ts": p, "final": False}
            for n, (c, p) in enumerate(pairs)
        ],
        schema={**schema, "event_ts": pl.Int64(), "point_ts": pl.Int64()},
    ).cast(schema)
    return sorted(dicts(evaluate(rule, given_events, asked)), key=in_order)


DENSE = {
    "repeats": ("like", "like", "follow", "unlike", "click"),
    "self": ("like", "like", "like", "unlike", "click"),
    "consumed": ("like", "like", "click", "view_start", "unlike"),
    "value": ("like", "unlike", "view_end", "view_end", "click"),
    "all": ("like", "like", "click", "view_start", "unlike", "view_end"),
}


@pytest.mark.parametrize("rule", [REPEATS, SELF, CONSUMED, VALUE, ALL], ids=lambda r: r.name)
def test_dense_in_what_is_hard(rule: AttributionRule) -> None:
    """Actions upon actions: chains of repeats, undone or not, touches used up by them."""
    by_user = worlds(Random(3), WORLDS, DENSE[rule.name])
    assert_worlds_agree(rule, {u: [rich(rule, e) for e in mine] for u, mine in by_user.items()})


HALF_HOURS = AttributionRule(
    name="half_hours",
    action=Event("like"),
    match=("user_id",),
    touches=(Event("click", within="40h"), Event("view_start", within="4h", match=("user_id",))),
    credit=linear(),
    max_actions=2,
    repeat_within="9h",
    undone_by=Event("unlike", match=("user_id", "item_id")),
    undone_within="20h",
    collapse=session("2h", tz="America/Havana"),
)


@pytest.mark.parametrize("day", [BERLIN, "UTC", "Asia/Shanghai", "America/Havana"])
def test_local_days(day: str) -> None:
    """On a scale of hours, over the night in which Berlin puts its clocks back."""
    rule = replace(HALF_HOURS, day=day)
    for unit_ms in (1_800_000, 5_400_000):
        by_user = worlds(Random(9), WORLDS, sorted(rule.event_types), unit_ms=unit_ms)
        assert_worlds_agree(rule, {u: [rich(rule, e) for e in m] for u, m in by_user.items()})


SHIPPED = [r for r in shipped.RULES if isinstance(r, AttributionRule)]


@pytest.mark.parametrize("unit_ms", [1_000, 90_000, 5_400_000])
@pytest.mark.parametrize("rule", SHIPPED, ids=lambda r: r.name)
def test_shipped_rules(rule: AttributionRule, unit_ms: int) -> None:
    """The shipped attributions, on scales of their gaps, their windows and a calendar day."""
    by_user = worlds(Random(5), WORLDS, sorted(rule.event_types), unit_ms=unit_ms)
    assert_worlds_agree(rule, {u: [rich(rule, e) for e in m] for u, m in by_user.items()})


# ---- laws -------------------------------------------------------------------------------------


@each_rule
def test_order_of_arrival_does_not_matter(rule: AttributionRule) -> None:
    """Law 1: the same frame of rows, whatever the order of the events."""

    @examples(3)
    @given(of_rule(rule), st.randoms(use_true_random=False))
    def equal(events: list[Fact], rng: Random) -> None:
        shuffled = rng.sample(events, len(events))
        assert engine_rows(rule, shuffled) == engine_rows(rule, events)

    equal()


@each_rule
def test_what_is_out_of_reach_changes_nothing(rule: AttributionRule) -> None:
    """Law 3: without another group's events, or what is beyond reach, a candidate's rows stay."""

    @examples(3)
    @given(of_rule(rule), st.data())
    def equal(events: list[Fact], data: st.DataObject) -> None:
        candidates = AsOf(rule, events, FOREVER, ATTRIBUTION_TWINS).candidates
        if not candidates:
            return
        c = data.draw(st.sampled_from(candidates))
        lowest, highest = c["event_ts"] - rule.looks_back_ms, c["event_ts"] + rule.looks_ahead_ms
        near = [
            e
            for e in events
            if lowest <= e["event_ts"] <= highest and all(e[k] == c[k] for k in rule.group)
        ]
        note(f"{c['event_id']}{table(events)}")
        mine: Callable[[Fact, int], bool] = lambda e, _: identity(e) == identity(c)  # noqa: E731 - a name for the question
        assert engine_rows(rule, near, mine) == engine_rows(rule, events, mine)

    equal()


@each_rule
def test_credit_is_conserved(rule: AttributionRule) -> None:
    """Law 6: credits sum to 10^9, shares to the value, whatever comes late, leaves or is undone."""

    @examples(4)
    @given(of_rule(rule, 24), st.integers(0, 24))
    def conserved(events: list[Fact], known: int) -> None:
        for some in (events, events[:known]):
            note(table(some))
            assert_conserved(rule, engine_rows(rule, some))

    conserved()


def assert_conserved(rule: AttributionRule, made: list[Row]) -> None:
    """Every action's own row against its touches' at the same point."""
    touches: dict[tuple[Any, ...], list[Row]] = {}
    for r in made:
        key = tuple(r[k] for k in NAMED)
        touches.setdefault(key, [])
        if r["touch_id"]:
            touches[key].append(r)
    own = {k: r for r in made if not r["touch_id"] for k in [tuple(r[n] for n in NAMED)]}
    assert own.keys() == touches.keys()
    for key, action in own.items():
        path = sorted(touches[key], key=lambda r: r["rank"])
        assert (action["verdict"] == "attributed") == bool(path)
        if action["verdict"] != "undone":
            assert action["touches"] == (len(path) if action["present"] else None)
        assert [r["rank"] for r in path] == [*range(1, len(path) + 1)]
        for suffix in rule.models if path else ():
            assert sum(r[f"credit{suffix}"] for r in path) == 10**9
            if rule.value and action["value"] is not None:
                assert sum(r[f"value{suffix}"] for r in path) == action["value"]


NAMED = ("point_ts", "user_id", "anchor_ts", "anchor_id")
