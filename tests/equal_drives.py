"""The engine's stream and the plain-Python stream through one case: equal after each step.

Always holds: the marks of rules and sources, changes, counts, conflicts, what is archived and the
tables at the end are equal, whatever the kinds of the rules.
"""

from __future__ import annotations

from labeling.model.kinds import Rule
from tests.engine_drive import in_order
from tests.engine_stream import EngineStream
from tests.model.assign import identity
from tests.model.attribution_facts import ATTRIBUTION_TWINS
from tests.model.sample_rules import TWINS
from tests.model.stream import Stream
from tests.strategies import LATENESS_MS, Case

BOTH_TWINS = {**TWINS, **ATTRIBUTION_TWINS}


def assert_equal_drives(
    case: Case,
    *rules: Rule,
    shards: int = 1,
    crashes: frozenset[int] = frozenset(),
    since_ms: dict[str, int] | None = None,
) -> None:
    """Both through the case, compared after each step."""
    model = Stream(rules, case.sources, LATENESS_MS, since_ms, BOTH_TWINS)
    engine = EngineStream(rules, case, shards, since_ms)
    for n, items in enumerate(case.steps):
        out = model.step(items)
        expected = out.changes
        got = engine.step(items, crash=n in crashes)
        assert engine.marks.rules == model.clock.of_rule, f"F of rules after step {n}"
        assert engine.marks.sources == model.clock.of_source, f"F of sources after step {n}"
        for rule in rules:
            assert got[rule.key] == sorted(expected[rule.key], key=in_order), (
                f"step {n} of {rule.name}"
            )
        assert engine.counts == model.counts
        assert engine.conflicts == sum(conflict for _, conflict in out.duplicates)
    archived = sorted((*identity(x.event), x.arrival) for x in model.archive)
    assert engine.arrivals() == archived
    for rule in rules:
        stored = {k: (s.revision, s.values) for k, s in model.tables[rule.key].items()}
        assert engine.tables(rule) == stored
