"""Rules that read rules in the stream, against the plain-Python stream: equal at each step.

Always holds: late, too late and repeated events, idle partitions, crashes and shards change rows of
readers as they change what the readers read.

Not promised: more than the sample chains.
"""

from __future__ import annotations

import pytest
from hypothesis import given

from labeling.model.kinds import Rule
from tests.equal_drives import assert_equal_drives
from tests.model.chained_rules import AFTER, CHAINS, READS
from tests.strategies import Case, cases, examples
from tests.test_attribution_step_vs_model import CRASHES

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("rule", CHAINS, ids=lambda r: r.name)
def test_step_by_step(rule: Rule) -> None:
    """Each chain by itself."""

    @examples(3)
    @given(cases(14, types=sorted(rule.event_types), late=True, idle=True), CRASHES)
    def equal(case: Case, crashes: frozenset[int]) -> None:
        assert_equal_drives(case, rule, shards=2, crashes=crashes)

    equal()


@examples(3)
@given(cases(14, types=sorted(AFTER.event_types), late=True), CRASHES)
def test_a_chain_beside_its_links(case: Case, crashes: frozenset[int]) -> None:
    """A reader published beside what it reads: neither changes the other."""
    assert_equal_drives(case, AFTER, READS, crashes=crashes)
