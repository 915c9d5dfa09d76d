"""The plain-Python stream's log: revisions without gaps, changes that compose (law 4).

Always holds: this is said of labels and attributions alike, whatever comes late.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given

from labeling.model.kinds import Rule
from tests.model.stream import current
from tests.strategies import Case, examples
from tests.test_model_stream import drive, ruled


@given(ruled(late=True))
@examples(60)
def test_revisions_count_and_compose(ruled_case: tuple[Rule, Case]) -> None:
    """Law 4: applying the log in order gives the table; each revision is the one after."""
    rule, case = ruled_case
    stream = drive(case, rule)
    values: dict[Any, Any] = {}

    def row_key(change: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(change[k] for k in rule.row_keys)

    revision: dict[Any, int] = {}
    for c in stream.log[rule.key]:
        assert c["revision"] == revision.get(row_key(c), 0) + 1
        assert c["old"] == values.get(row_key(c))
        assert c["old"] != c["new"]
        revision[row_key(c)], values[row_key(c)] = c["revision"], c["new"]
    assert {k: v for k, v in values.items() if v is not None} == current(stream.tables[rule.key])
