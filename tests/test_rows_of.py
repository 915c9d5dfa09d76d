"""Rules that read rules (docs/rows-of.md): an example by hand, and chains against the model.

Always holds: engine and plain-Python model agree on every row at every point of every reader.

Not promised: the stream; ``tests/test_rows_of_stream.py`` drives it.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, note

from labeling import (
    AttributionRule,
    Event,
    LabelRule,
    count,
    dwell,
    happened,
    label,
    rows_of,
    sum_of,
)
from labeling.errors import RuleError
from labeling.model.kinds import Rule
from tests.engine_drive import compare, engine_rows, worlds
from tests.model.assign import Fact
from tests.model.chained_rules import AFTER, CHAINS, FOLLOWS, READS
from tests.model.kinds import points_of, rows_at
from tests.strategies import THOROUGH, examples, fact, facts, table

ITEM = ("user_id", "item_id")
WORLDS = 600 if THOROUGH else 60
each_rule = pytest.mark.parametrize("rule", CHAINS, ids=lambda r: r.name)


def model_rows(rule: Rule, events: list[Fact]) -> list[dict[str, Any]]:
    """All rows of all points by the model, in the engine's order."""
    found = [
        row
        for c, times in points_of(rule, events, {})
        for p in times
        for row in rows_at(rule, events, c, p, {})
    ]
    keys = ("point_ts", "anchor_ts", "anchor_id", "user_id", "touch_ts", "touch_id")
    return sorted(found, key=lambda r: tuple(r[k] for k in keys if k in r))


@each_rule
def test_many_worlds(rule: Rule) -> None:
    """Many users in one frame: each one's rows are the model's for that user alone."""
    by_user = worlds(Random(11), WORLDS, sorted(rule.event_types))
    got: dict[str, list[dict[str, Any]]] = {}
    for r in engine_rows(rule, [e for mine in by_user.values() for e in mine]):
        got.setdefault(r["user_id"], []).append(r)
    for user, mine in by_user.items():
        found = compare(model_rows(rule, mine), got.get(user, []))
        assert not found, f"{table(mine)}\n" + "\n".join(found)


@each_rule
def test_small_streams(rule: Rule) -> None:
    """A shrinking example for each chain."""

    @examples(12)
    @given(facts(12, types=sorted(rule.event_types)))
    def equal(events: list[Fact]) -> None:
        note(table(events))
        for user in {e["user_id"] for e in events}:
            mine = [e for e in events if e["user_id"] == user]
            assert not compare(model_rows(rule, mine), engine_rows(rule, mine))

    equal()


def test_a_follow_after_a_finished_read() -> None:
    """A finished read caused a follow, an unfinished one did not; the unfollow takes it back."""
    events = [
        fact("impression", 0, "a", item_id="i1"),
        fact("view_start", 10, "b", item_id="i1"),
        fact("view_end", 20, "c", item_id="i1"),
        fact("impression", 21, "d", item_id="i2"),
        fact("view_start", 22, "e", item_id="i2"),
        fact("follow", 25, "f", item_id=None),
        fact("view_end", 26, "g", item_id="i2"),
        fact("unfollow", 400_000, "h", item_id=None),
    ]
    (touch,) = (r for r in engine_rows(FOLLOWS, events) if r["touch_id"])
    assert (touch["touch_id"], touch["touch_item_id"], touch["credit"]) == ("b", "i1", 10**9)
    told = [
        (r["item_id"], r["followed_after_view"], r["follow_credit"])
        for r in engine_rows(AFTER, events)
    ]
    early = [("i1", True, 10**9), ("i2", False, 0)]
    assert told == [*early, ("i1", False, 0), ("i2", False, 0)]


def test_what_cannot_be_read_is_refused() -> None:
    """Each message names the rule and the fix."""
    with pytest.raises(RuleError, match="did you mean 'liked'"):
        _reader(happened(rows_of(READS, where=label("like"))))
    with pytest.raises(RuleError, match="dwell is measured of events"):
        _reader(dwell(start=rows_of(READS)))
    with pytest.raises(RuleError, match="not a condition"):
        _reader(happened(rows_of(READS, where=label("ends"))))
    with pytest.raises(RuleError, match="unknown column 'nothing'"):
        _reader(sum_of(rows_of(READS), "nothing"))
    with pytest.raises(RuleError, match="an action has several rows"):
        LabelRule(
            name="r", anchor=rows_of(FOLLOWS), match=("user_id",), window="1m",
            labels={"n": count("x")},
        )  # fmt: skip
    with pytest.raises(RuleError, match="rows of an attribution are no touches"):
        AttributionRule(
            name="r", action=Event("order"), match=("user_id",),
            touches=(rows_of(FOLLOWS, within="1h"),),
        )  # fmt: skip
    of_ads = _reader(count("click"), columns={"campaign": "str"})
    with pytest.raises(RuleError, match=r"declare it here too: columns=\{'campaign': 'str'\}"):
        _reader(count(rows_of(of_ads)))
    with pytest.raises(RuleError, match="two rules are r@1"):
        _reader(count(rows_of(_reader(count("click")))) + count(rows_of(_reader(count("like")))))


def test_a_row_that_is_not_there_is_read_by_nobody() -> None:
    """A row of a row: where the first is not there at the point, neither is what it leads to."""
    long_reads = LabelRule(
        name="long_reads", anchor=rows_of(READS, where=label("long")), match=ITEM, window="20ms",
        labels={"liked": happened("like")},
    )  # fmt: skip
    counting = LabelRule(
        name="counting", anchor=Event("impression"), match=ITEM, window="15ms", early=("8ms",),
        labels={"reads": count(rows_of(long_reads))},
    )  # fmt: skip
    onwards = LabelRule(
        name="onwards", anchor=rows_of(long_reads), match=ITEM, window="14ms", early=("7ms",),
        labels={"clicks": count("click")},
    )  # fmt: skip
    causes = AttributionRule(
        name="causes", action=Event("follow"), match=ITEM,
        touches=(rows_of(long_reads, within="1h"),),
    )  # fmt: skip
    events = [
        fact("impression", 0, "a"), fact("view_start", 1, "b"), fact("click", 2, "c"),
        fact("follow", 8, "d"), fact("view_end", 9, "e"), fact("follow", 9, "f"),
    ]  # fmt: skip
    assert [r["reads"] for r in engine_rows(counting, events)] == [0, 1]
    told = [(r["present"], r["clicks"]) for r in engine_rows(onwards, events)]
    assert told == [(False, None), (True, 1)]
    assert [r["verdict"] for r in engine_rows(causes, events) if not r["touch_id"]] == [
        "unattributed",
        "attributed",
    ]
    for rule in (counting, onwards, causes):
        assert not compare(model_rows(rule, events), engine_rows(rule, events))


def test_what_has_no_row_is_repeated_by_nothing() -> None:
    """Where rows are anchors an event that repeats another in their rule is no candidate."""
    after = LabelRule(
        name="after", anchor=rows_of(READS), match=ITEM, window="9ms", repeat_within="3ms",
        labels={"clicks": count("click")},
    )  # fmt: skip
    events = [fact("view_start", t, name) for t, name in ((0, "a"), (1, "b"), (4, "c"), (6, "d"))]
    told = {r["anchor_id"]: r["present"] for r in engine_rows(after, events)}
    assert told == {"a": True, "b": False, "c": True, "d": False}
    assert not compare(model_rows(after, events), engine_rows(after, events))


def test_rules_that_say_different_things_by_one_name() -> None:
    """What rows of one rule say is told from what those of another do, whatever its type."""
    clicks = LabelRule(
        name="clicks", anchor=Event("click"), match=ITEM, window="9ms",
        labels={"liked": count("like")},
    )  # fmt: skip
    both = LabelRule(
        name="both", anchor=Event("impression"), match=ITEM, window="20ms",
        labels={
            "reads": count(rows_of(READS, where=label("liked"))),
            "likes": sum_of(rows_of(clicks), "liked"),
        },
    )  # fmt: skip
    events = [
        fact("impression", 0, "a"), fact("click", 1, "b"), fact("view_start", 1, "c"),
        fact("like", 2, "d"), fact("like", 3, "e"),
    ]  # fmt: skip
    (row,) = engine_rows(both, events)
    assert (row["reads"], row["likes"]) == (1, 2)
    assert not compare(model_rows(both, events), [row])


def test_a_readers_digest_holds_what_it_reads() -> None:
    """Another definition behind the rows is another definition."""
    other = LabelRule(
        name="reads", anchor=Event("view_start"), match=("user_id", "item_id"), window="9m",
        labels=READS.labels,
    )  # fmt: skip
    mine, theirs = (_reader(happened(rows_of(s, where=label("liked")))) for s in (READS, other))
    assert mine.digest != theirs.digest
    assert mine.digest == _reader(happened(rows_of(READS, where=label("liked")))).digest


def _reader(value: Any, **more: Any) -> LabelRule:
    return LabelRule(
        name="r", anchor=Event("impression"), match=("user_id",), window="1h",
        labels={"x": value}, **more,
    )  # fmt: skip
