"""``step`` and ``changes`` against the slow stream: the same changes, tables and counts, step by step.

Always holds: for the identical steps, whatever is late, too late, repeated, idle, lost in a crash or
spread over shards, keys, revisions, kinds, reasons, old and new values are equal.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.model.rule import LabelRule
from tests.engine_stream import EngineStream, in_order
from tests.model.sample_rules import CALENDAR, NOTES, RULES, T0, TWINS
from tests.model.stream import Stream
from tests.strategies import LATENESS_MS, Case, cases, examples

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)


def stream_of(rule: LabelRule, **flags: bool) -> st.SearchStrategy[Case]:
    """Cases of what a rule reads, and of a type that none does."""
    return cases(types=(*rule.event_types, "other"), **flags)


def assert_equal_drives(
    case: Case,
    *rules: LabelRule,
    shards: int = 1,
    crashes: frozenset[int] = frozenset(),
    since_ms: dict[str, int] | None = None,
) -> None:
    """Both through the case, compared after each step."""
    model = Stream(rules, case.sources, LATENESS_MS, since_ms, TWINS)
    engine = EngineStream(rules, case, shards, since_ms)
    for n, items in enumerate(case.steps):
        expected = model.step(items).changes
        got = engine.step(items, crash=n in crashes)
        assert engine.marks.rules == model.clock.of_rule, f"F of rules after step {n}"
        assert engine.marks.sources == model.clock.of_source, f"F of sources after step {n}"
        for rule in rules:
            assert got[rule.key] == sorted(expected[rule.key], key=in_order), f"step {n}"
        assert engine.counts == model.counts
    for rule in rules:
        stored = {k: (s.revision, s.values) for k, s in model.tables[rule.key].items()}
        assert engine.tables(rule) == stored


CRASHES = st.frozensets(st.integers(1, 18), max_size=3)


@each_rule
def test_step_by_step(rule: LabelRule) -> None:
    """Each rule: late, too late and repeated events, idle partitions, crashes, one to three shards."""

    @examples(6)
    @given(stream_of(rule, late=True, idle=True), CRASHES, st.integers(1, 3))
    def equal(case: Case, crashes: frozenset[int], shards: int) -> None:
        assert_equal_drives(case, rule, shards=shards, crashes=crashes)

    equal()


@given(cases(late=True, idle=True), st.integers(0, 40))
@examples(4)
def test_several_rules_in_one_stream(case: Case, since: int) -> None:
    """Rules of different reach share memory; each has its own F, since and table."""
    assert_equal_drives(case, NOTES, CALENDAR, *RULES[2:4], since_ms={NOTES.key: T0 + since})
