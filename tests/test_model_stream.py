"""The plain-Python stream against the design, by hand, and against the laws, at random.

Always holds: examples name the clause or section they pin; the laws here hold the model to the
design, so that an engine equal to the model keeps them too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from labeling.model.attribution import AttributionRule
from labeling.model.kinds import Rule
from labeling.model.rule import LabelRule
from labeling.model.selector import Event
from labeling.model.vocabulary import count
from tests.attribution_streams import stream_of
from tests.model.assign import Fact, identity
from tests.model.attribution_facts import ATTRIBUTION_TWINS
from tests.model.attribution_rules import ATTRIBUTIONS
from tests.model.clock import FOREVER, NEVER, Clock, Item, Source
from tests.model.kinds import final_rows
from tests.model.sample_rules import NOTES, RULES, T0
from tests.model.sample_rules import TWINS as LABEL_TWINS
from tests.model.stream import KEY, Stream, Table, current, publish, reaches, replay
from tests.strategies import LATENESS_MS, Case, cases, cut, cuts, examples, fact

CLICKS = LabelRule(
    name="clicks",
    anchor=Event("impression"),
    match=("user_id", "item_id"),
    window="10ms",
    early=("3ms",),
    carry=(),
    labels={"clicks": count("click")},
)
ONE = (Source("s", 2, ("0",)),)
TWINS = {**LABEL_TWINS, **ATTRIBUTION_TWINS}


def item(*events: Fact, source: str = "s", partition: str = "0", **flags: bool) -> Item:
    """An item of whole events."""
    top = max((e["event_ts"] for e in events), default=None)
    return Item(source, partition, events, top, **flags)


def tick(t: int) -> Fact:
    """An event that no rule reads, to move the watermark."""
    return fact("other", t, f"tick{t}", user_id="nobody")


def brief(changes: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Changes as tuples: anchor, revision, kind, reason, point less T0, new clicks."""
    return [
        (
            c["anchor_id"],
            c["revision"],
            c["kind"],
            c["reason"],
            c["point_ts"] - T0,
            c["new"] and c["new"]["clicks"],
        )
        for c in changes
    ]


# ---- marks and watermarks -------------------------------------------------------------------


def test_f_is_the_lowest_mark_and_never_goes_back() -> None:
    """A partition that was not read holds all; a mark is the highest time less the disorder."""
    clock = Clock((Source("s", 2, ("0", "1")),), (CLICKS,))
    clock.judge(item(tick(10)), 0)
    assert clock.of_source["s"] == NEVER
    clock.judge(item(tick(7), partition="1"), 0)
    assert clock.of_rule["clicks@1"] == clock.of_source["s"] == T0 + 5
    clock.judge(item(tick(1), partition="1"), 0)
    assert clock.of_source["s"] == T0 + 5


def test_an_item_is_judged_by_the_watermark_before_it() -> None:
    """Clause 17: below F is late, below F less lateness too late; the item moves F only after."""
    clock = Clock(ONE, (CLICKS,))
    clock.judge(item(tick(10)), 3)
    events = [tick(20), tick(8), tick(7), tick(5), tick(4)]
    judged = [arrival for _, arrival in clock.judge(item(*events), 3)]
    assert judged == ["on_time", "on_time", "late", "late", "too_late"]
    assert clock.of_source["s"] == T0 + 18


def test_an_idle_partition_and_an_idle_source_are_left_out() -> None:
    """Section 2: idle partitions leave the lowest; with none left F stands; the floors hold."""
    ads = Source("ads", 2, ("0",), frozenset({"click"}))
    other = Source("other", 2, ("0",), frozenset({"order"}))
    clock = Clock((ONE[0], ads, other), (CLICKS,))
    clock.judge(item(tick(10)), 0)
    assert clock.of_rule["clicks@1"] == NEVER
    clock.judge(item(source="ads", idle=True), 0)
    assert clock.of_rule["clicks@1"] == clock.of_source["ads"] == T0 + 8
    clock.judge(item(source="other", idle=True), 0)
    assert clock.of_source["other"] == T0 + 8
    clock.judge(item(tick(20), idle=True), 0)
    assert clock.of_rule["clicks@1"] == T0 + 8
    clock.judge(item(tick(15), source="ads"), 0)
    assert clock.of_rule["clicks@1"] == T0 + 13
    assert clock.of_source == {"s": T0 + 13, "ads": T0 + 13, "other": T0 + 13}


def test_the_end_of_all_partitions_passes_every_point() -> None:
    """A bounded partition ends at +infinity."""
    clock = Clock(ONE, (CLICKS,))
    clock.judge(item(ended=True), 0)
    assert clock.of_rule["clicks@1"] == FOREVER


# ---- steps ------------------------------------------------------------------------------------


def test_points_pass_below_f_and_late_events_correct_the_latest() -> None:
    """Clause 18, step by step: point, late correction of the latest point below F0, silence."""
    stream = Stream((CLICKS,), ONE, 20)
    out = stream.step([item(fact("impression", 0), fact("click", 3, "b"), tick(5))])
    assert brief(out.changes["clicks@1"]) == []
    out = stream.step([item(tick(6))])
    assert brief(out.changes["clicks@1"]) == [("a", 1, "insert", "point", 3, 1)]
    out = stream.step([item(fact("click", 2, "c"), fact("click", 6, "d"))])
    assert brief(out.changes["clicks@1"]) == [("a", 2, "update", "late", 3, 2)]
    out = stream.step([item(fact("click", 2, "c"), tick(13))])
    assert brief(out.changes["clicks@1"]) == [("a", 3, "update", "point", 10, 3)]
    assert out.counts() == (0, 1, 1)
    out = stream.step([item(fact("click", 12, "e"))])
    assert brief(out.changes["clicks@1"]) == []


def test_a_late_anchor_takes_a_click_and_has_one_row() -> None:
    """Clause 18: it is reached by itself and published at its latest point; its neighbour loses."""
    stream = Stream((CLICKS,), ONE, 20)
    stream.step([item(fact("impression", 0), fact("click", 4, "b"), tick(20))])
    out = stream.step([item(fact("impression", 2, "c"))])
    assert brief(out.changes["clicks@1"]) == [
        ("a", 3, "update", "late", 10, 0),
        ("c", 1, "insert", "late", 12, 1),
    ]


def test_a_point_and_its_correction_in_one_step() -> None:
    """Clause 18: an anchor with a point in the step has rows at its points only, reason point."""
    stream = Stream((CLICKS,), ONE, 20)
    stream.step([item(fact("impression", 0), tick(6))])
    out = stream.step([item(fact("click", 1, "b"), tick(13))])
    assert brief(out.changes["clicks@1"]) == [("a", 2, "update", "point", 10, 1)]


def test_a_jump_over_both_points_publishes_both() -> None:
    """Clause 18: each point in [F0, F1) in order, so that the changes do not depend on steps."""
    stream = Stream((CLICKS,), ONE, 20)
    out = stream.step([item(fact("impression", 0), fact("click", 4, "b"), ended=True)])
    assert brief(out.changes["clicks@1"]) == [
        ("a", 1, "insert", "point", 3, 0),
        ("a", 2, "update", "point", 10, 1),
    ]


def test_a_late_anchor_turns_a_row_into_a_repeat() -> None:
    """Clause 18: a repeat that had a row is retracted, and its return continues the revisions."""
    stream = Stream((replace(CLICKS, repeat_within="5ms", early=()),), ONE, 50)
    stream.step([item(fact("impression", 4), tick(20))])
    out = stream.step([item(fact("impression", 0, "b"))])
    assert brief(out.changes["clicks@1"]) == [
        ("b", 1, "insert", "late", 10, 0),
        ("a", 2, "retract", "late", 14, None),
    ]
    table = stream.tables["clicks@1"]
    back = current(table)[("u1", T0, "b")] | {
        "point_ts": T0 + 14,
        "reason": "late",
        "present": True,
    }
    key = {"user_id": "u1", "anchor_ts": T0 + 4, "anchor_id": "a"}
    assert brief(publish(table, [back | key])) == [("a", 3, "insert", "late", 14, 0)]


def test_too_late_comes_before_duplicate_and_conflicts_are_told() -> None:
    """Law 5: outcomes in order; the first of an identity stays, a different one is a conflict."""
    stream = Stream((CLICKS,), ONE, 3)
    stream.step([item(fact("impression", 0), fact("click", 8, "b"), tick(12))])
    again = [fact("impression", 0), fact("click", 8, "b"), fact("click", 8, "b", scene="x")]
    out = stream.step([item(*again)])
    assert out.counts() == (1, 2, 0)
    assert [conflict for _, conflict in out.duplicates] == [False, True]
    assert [(x.event["event_id"], x.arrival) for x in stream.archive] == [
        ("a", "on_time"),
        ("b", "on_time"),
        ("tick12", "on_time"),
        ("a", "too_late"),
    ]


def test_anchors_before_since_are_not_published() -> None:
    """Section 5: the stream owns a rule's anchors from its ``since`` on, events before it count."""
    stream = Stream((CLICKS,), ONE, 3, since_ms={"clicks@1": T0 + 1})
    events = [fact("impression", 0), fact("impression", 1, "b"), fact("click", 2, "c")]
    out = stream.step([item(*events, ended=True)])
    assert {c["anchor_id"] for c in out.changes["clicks@1"]} == {"b"}


def test_publishing_is_silent_where_nothing_differs() -> None:
    """Law 4: an absent row never stored and an equal row emit nothing."""
    table: Table = {}
    row = {"user_id": "u", "anchor_ts": 0, "anchor_id": "a", "clicks": 1}
    said = row | {"point_ts": T0, "reason": "point", "present": True}
    assert publish(table, [said | {"present": False}]) == []
    assert len(publish(table, [said, said | {"point_ts": T0 + 9}])) == 1


# ---- laws at random ---------------------------------------------------------------------------


def ruled(**flags: bool) -> st.SearchStrategy[tuple[Rule, Case]]:
    """One of the rules and a stream of what it reads, and of a type that nobody reads."""

    def with_stream(r: Rule) -> st.SearchStrategy[tuple[Rule, Case]]:
        if isinstance(r, AttributionRule):
            return st.tuples(st.just(r), stream_of(r, **flags))
        return st.tuples(st.just(r), cases(types=(*r.event_types, "other"), **flags))

    kinds = st.sampled_from(RULES) | st.sampled_from(ATTRIBUTIONS)
    return kinds.flatmap(with_stream)


def drive(case: Case, *rules: Rule, restarts: frozenset[int] = frozenset()) -> Stream:
    """A case through the model, crashing before the given steps."""
    stream = Stream(rules, case.sources, LATENESS_MS, twins=TWINS)
    for n, items in enumerate(case.steps):
        if n in restarts:
            stream.restart()
        stream.step(items)
    return stream


def accepted(stream: Stream) -> list[Fact]:
    """The archive less what was too late."""
    return [x.event for x in stream.archive if x.arrival != "too_late"]


CRASHES = st.frozensets(st.integers(1, 18), max_size=3)


@given(ruled(late=True, idle=True), CRASHES)
@examples(100)
def test_rows_are_those_of_all_accepted_events(
    ruled_case: tuple[Rule, Case], restarts: frozenset[int]
) -> None:
    """Law 1: whatever was late, evicted or crashed, the rows are those of the accepted events."""
    rule, case = ruled_case
    stream = drive(case, rule, restarts=restarts)
    assert sum(stream.counts) == len(case.arrived)
    expected = {
        tuple(r[k] for k in rule.row_keys): {c: r[c] for c in rule.value_schema}
        for r in final_rows(rule, accepted(stream), TWINS)
    }
    assert current(stream.tables[rule.key]) == expected


@given(ruled(), st.data())
@examples(60)
def test_within_the_bound_changes_do_not_depend_on_steps(
    ruled_case: tuple[Rule, Case], data: st.DataObject
) -> None:
    """Law 1: the same arrivals in other steps give the same changes of every row."""
    rule, case = ruled_case
    other = cut(case, data.draw(cuts(len(case.arrived))))
    one, two = drive(case, rule), drive(other, rule)
    assert one.counts[0] == 0

    def by_row(change: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(change[k] for k in (*rule.row_keys, "revision"))

    assert sorted(one.log[rule.key], key=by_row) == sorted(two.log[rule.key], key=by_row)


@given(ruled(late=True, idle=True), CRASHES)
@examples(60)
def test_a_crash_changes_nothing(ruled_case: tuple[Rule, Case], restarts: frozenset[int]) -> None:
    """Law 8 and section 6: memory from the archive's tail is as good as memory kept."""
    rule, case = ruled_case
    one, two = drive(case, rule, NOTES), drive(case, rule, NOTES, restarts=restarts)
    assert (one.log, one.counts, one.archive) == (two.log, two.counts, two.archive)


@given(ruled(late=True, idle=True))
@examples(60)
def test_shards_by_user_change_nothing(ruled_case: tuple[Rule, Case]) -> None:
    """Section 6: each shard has the marks of whole items, and only its users' events."""
    rule, case = ruled_case
    whole = drive(case, rule)
    for user in ("u1", "u2"):
        mine = [
            [replace(i, events=tuple(e for e in i.events if e["user_id"] == user)) for i in items]
            for items in case.steps
        ]
        shard = drive(replace(case, steps=mine), rule)
        assert shard.clock == whole.clock
        assert [c for c in whole.log[rule.key] if c["user_id"] == user] == shard.log[rule.key]


@given(ruled(late=True, idle=True))
@examples(100)
def test_live_equals_replay(ruled_case: tuple[Rule, Case]) -> None:
    """Law 2: equal rows without the too late; with them the difference is theirs; equal sequences.

    A late event is one below the rule's own F when it came: only that can change what was passed.
    """
    rule, case = ruled_case
    stream = Stream((rule,), case.sources, LATENESS_MS, twins=TWINS)
    late: list[Fact] = []
    for items in case.steps:
        f0 = stream.clock.of_rule[rule.key]
        late += [e for e in stream.step(items).accepted if e["event_ts"] < f0]
    live, fresh = stream.tables[rule.key], Table()
    hours = (T0 - 86_400_000, FOREVER)
    made = replay(rule, stream.archive, hours, fresh, with_too_late=False, twins=TWINS)
    assert current(fresh) == current(live)
    anchors = {identity(x.event): x.event for x in stream.archive}

    def untouched(log: list[dict[str, Any]]) -> list[str]:
        kept = [c for c in log if not any(reaches(rule, e, anchors[key(c)]) for e in late)]
        return sorted(str(c | {"reason": None}) for c in kept)

    assert untouched(stream.log[rule.key]) == untouched(made)
    assert replay(rule, stream.archive, hours, live, with_too_late=False, twins=TWINS) == []
    lost = [x.event for x in stream.archive if x.arrival == "too_late"]
    for change in replay(rule, stream.archive, hours, live, with_too_late=True, twins=TWINS):
        assert any(reaches(rule, e, anchors[key(change)]) for e in lost)


def key(change: dict[str, Any]) -> tuple[Any, ...]:
    """The key of a change, which is its anchor's identity."""
    return tuple(change[k] for k in KEY)
