"""``step`` and ``changes`` against the slow stream: equal changes, tables and counts at each step.

Always holds: for the identical steps, whatever is late, too late, repeated, idle, lost in a crash
or spread over shards, keys, revisions, kinds, reasons, old and new values are equal.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.engine import watermark
from labeling.model.rule import LabelRule
from tests.engine_drive import frame, in_order
from tests.engine_stream import EngineStream
from tests.equal_drives import assert_equal_drives
from tests.model.clock import Clock, Item, Source
from tests.model.sample_rules import CALENDAR, DOUBLE, NOTES, RULES, T0, TWINS
from tests.model.stream import Stream
from tests.strategies import LATENESS_MS, SETUPS, THOROUGH, Case, cases, crowd, examples, of_user

# Shrinking a failing stream takes minutes; passing takes seconds.
pytestmark = pytest.mark.timeout(900)
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)


def stream_of(rule: LabelRule, **flags: bool) -> st.SearchStrategy[Case]:
    """Cases of what a rule reads, and of a type that none does."""
    return cases(types=(*rule.event_types, "other"), **flags)


THREE = (
    *SETUPS[-1],
    Source("other", 1, ("0",), frozenset({"other"})),
    Source("views", 0, ("0",), frozenset({"view_end", "follow", "unlike"})),
)
PARTITIONS = [(s.name, p) for s in THREE for p in s.partitions]
READS = st.tuples(
    st.integers(0, len(PARTITIONS) - 1),
    st.one_of(st.none(), st.integers(0, 40)),
    st.sampled_from(["", "", "idle", "idle", "ended"]),
)


@given(st.lists(READS, min_size=8, max_size=30))
@examples(100)
def test_watermarks(reads: list[tuple[int, int | None, str]]) -> None:
    """Sources fall idle, wake up behind, end, feed some rules or none: every F is equal."""
    rules = (NOTES, CALENDAR, DOUBLE)
    clock = Clock(THREE, rules)
    specs = [
        watermark.Source(s.name, s.max_disorder_ms, s.partitions, s.event_types) for s in THREE
    ]
    marks = watermark.Watermarks.start(specs, rules)
    nothing = frame([])
    for at, top, flag in reads:
        source, partition = PARTITIONS[at]
        idle, ended = flag == "idle", flag == "ended"
        clock.judge(Item(source, partition, (), top, idle, ended), LATENESS_MS)
        marks, _ = marks.judge(
            watermark.Item(source, partition, nothing, top, idle, ended), LATENESS_MS
        )
        assert marks.rules == clock.of_rule
        assert marks.sources == clock.of_source


CRASHES = st.frozensets(st.integers(1, 18), max_size=3)


@each_rule
def test_step_by_step(rule: LabelRule) -> None:
    """Each rule: late, too late, repeated events, idle partitions, crashes, one to three shards."""

    @examples(6)
    @given(stream_of(rule, late=True, idle=True), CRASHES, st.integers(1, 3))
    def equal(case: Case, crashes: frozenset[int], shards: int) -> None:
        assert_equal_drives(case, rule, shards=shards, crashes=crashes)

    equal()


@each_rule
def test_many_worlds_in_one_stream(rule: LabelRule) -> None:
    """Many users in the same steps; each one's changes are those of a model that has it alone."""
    first = RULES.index(rule)
    for seed in range(first, first + (20 if THOROUGH else 1)):
        case = crowd(
            Random(seed),
            40,
            SETUPS[seed % len(SETUPS)],
            (*sorted(rule.event_types), "other"),
            late=True,
        )
        engine = EngineStream([rule], case)
        crash = len(case.steps) // 2
        got = [engine.step(i, crash=n == crash)[rule.key] for n, i in enumerate(case.steps)]
        for user in sorted({e["user_id"] for e, _ in case.arrived}):
            model = Stream([rule], case.sources, LATENESS_MS, twins=TWINS)
            for n, items in enumerate(of_user(case, user).steps):
                expected = sorted(model.step(items).changes[rule.key], key=in_order)
                mine = [c for c in got[n] if c["user_id"] == user]
                assert mine == expected, f"step {n}, user {user}\n{of_user(case, user)!r}"


@given(cases(late=True, idle=True, conflicts=True), st.integers(0, 40))
@examples(4)
def test_several_rules_in_one_stream(case: Case, since: int) -> None:
    """Rules of different reach share memory; each has its own since; conflicts are told."""
    assert_equal_drives(case, NOTES, CALENDAR, *RULES[2:4], since_ms={NOTES.key: T0 + since})
