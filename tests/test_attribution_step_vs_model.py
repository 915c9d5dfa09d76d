"""``step`` and ``changes`` of attributions against the slow stream: equal at each step.

Always holds: for the identical steps, whatever is late, too late, repeated, idle, undone, lost in a
crash or spread over shards, keys, revisions, kinds, reasons, old and new values are equal.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.model.attribution import AttributionRule
from tests.attribution_streams import rich_case, stream_of
from tests.engine_drive import in_order
from tests.engine_stream import EngineStream
from tests.equal_drives import assert_equal_drives
from tests.model.attribution_facts import ATTRIBUTION_TWINS
from tests.model.attribution_rules import ALL, ATTRIBUTIONS, FAR, VALUE
from tests.model.sample_rules import NOTES, T0
from tests.model.stream import Stream
from tests.strategies import LATENESS_MS, SETUPS, THOROUGH, Case, cases, crowd, examples, of_user

# Shrinking a failing stream takes minutes; passing takes seconds.
pytestmark = pytest.mark.timeout(900)
each_rule = pytest.mark.parametrize("rule", ATTRIBUTIONS, ids=lambda r: r.name)


CRASHES = st.frozensets(st.integers(1, 18), max_size=3)


@each_rule
def test_step_by_step(rule: AttributionRule) -> None:
    """Each rule: late, too late, repeated events, idle partitions, crashes, one to three shards."""

    @examples(3)
    @given(stream_of(rule, late=True, idle=True), CRASHES, st.integers(1, 3))
    def equal(case: Case, crashes: frozenset[int], shards: int) -> None:
        assert_equal_drives(case, rule, shards=shards, crashes=crashes)

    equal()


@each_rule
def test_many_worlds_in_one_stream(rule: AttributionRule) -> None:
    """Many users in the same steps; each one's changes are those of a model that has it alone."""
    first = ATTRIBUTIONS.index(rule)
    for seed in range(first, first + (20 if THOROUGH else 1)):
        types = (*sorted(rule.event_types), "other")
        case = rich_case(
            rule, crowd(Random(seed), 16, SETUPS[seed % len(SETUPS)], types, late=True)
        )
        engine = EngineStream([rule], case)
        crash = len(case.steps) // 2
        got = [engine.step(i, crash=n == crash)[rule.key] for n, i in enumerate(case.steps)]
        for user in sorted({e["user_id"] for e, _ in case.arrived}):
            model = Stream([rule], case.sources, LATENESS_MS, twins=ATTRIBUTION_TWINS)
            for n, items in enumerate(of_user(case, user).steps):
                expected = sorted(model.step(items).changes[rule.key], key=in_order)
                mine = [c for c in got[n] if c["user_id"] == user]
                assert mine == expected, f"step {n}, user {user}\n{of_user(case, user)!r}"


@given(cases(late=True, idle=True, conflicts=True), st.integers(0, 40))
@examples(3)
def test_rules_of_both_kinds_in_one_stream(case: Case, since: int) -> None:
    """Labels and attributions share memory; each has its own since; conflicts are told."""
    rich = rich_case(ALL, case)
    assert_equal_drives(rich, NOTES, VALUE, ALL, FAR, since_ms={VALUE.key: T0 + since})
