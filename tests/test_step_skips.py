"""Which rows ``step`` leaves out, and which it says cannot have been published before.

Always holds: what is left out equals the point before, whatever is late or lost; a row is
``fresh`` where and only where it is the first that its key ever had, corrections left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.engine.changes import KEYS
from labeling.engine.evaluate import evaluate
from labeling.engine.points import points
from labeling.engine.step import restore, start, step
from labeling.engine.watermark import Item, Source, Watermarks
from labeling.model.rule import LabelRule
from tests.engine_drive import dicts, frame
from tests.engine_stream import EngineStream
from tests.model.assign import Fact
from tests.model.sample_rules import NOTES, RULES, T0
from tests.strategies import LATENESS_MS, Case, cases, examples, fact

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)


def stepped(*batches: Sequence[Fact], since: int = 0, lost: bool = False) -> list[list[Any]]:
    """By step (delay of the point, reason, fresh) of the rows of ``NOTES``; no disorder.

    ``lost``: the state is thrown away after each step and read back from what was accepted.
    """
    marks = Watermarks.start((Source("app", 0, ("0",)),), (NOTES,))
    since_ms = {NOTES.key: T0 + since}
    state = start((NOTES,), lateness_ms=LATENESS_MS, since_ms=since_ms)
    archive, told = [], []
    for batch in batches:
        events = frame(batch)
        top = max(e["event_ts"] for e in batch)
        marks, judged = marks.judge(Item("app", "0", events, top), LATENESS_MS)
        state, out = step((NOTES,), state, judged, marks)
        archive.append(out.accepted)
        if lost:
            tail = pl.concat(archive)
            state = restore((NOTES,), [tail], marks, lateness_ms=LATENESS_MS, since_ms=since_ms)
        told.append(
            [
                (r["point_ts"] - r["anchor_ts"], r["reason"], r["fresh"])
                for r in dicts(out.rows[NOTES.key])
            ]
        )
    return told


def mark(t: int) -> Fact:
    """An event of another user that moves the watermark to ``t`` and is no anchor."""
    return fact("click", t, f"m{t}", user_id="other")


FIRST = (2, "point", True)
SHOWN = fact("impression", 0, "i")


@pytest.mark.parametrize("lost", [False, True])
def test_a_row_that_stays_as_it_was_is_made_once(*, lost: bool) -> None:
    """Points are 2, 7 and 16 ms: nothing happens, and only the first has a row."""
    steps = stepped([SHOWN], [mark(3)], [mark(8)], [mark(20)], lost=lost)
    assert steps == [[], [FIRST], [], []]
    assert stepped([SHOWN], [mark(20)], lost=lost) == [[], [FIRST]]


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("kind", ["click", "unlike", "follow", "view_end"])
def test_what_labels_read_between_two_points_makes_a_row(kind: str, *, lost: bool) -> None:
    """An event at the point itself counts for it, the next millisecond for the next."""
    at = [SHOWN], [mark(3)], [fact(kind, 7, "c")], [mark(8)], [mark(20)]
    assert stepped(*at, lost=lost) == [[], [FIRST], [], [(7, "point", False)], []]
    behind = [SHOWN], [mark(3)], [fact(kind, 8, "c")], [mark(20)]
    assert stepped(*behind, lost=lost) == [[], [FIRST], [], [(16, "point", False)]]


@pytest.mark.parametrize("other", [{"item_id": "i2", "author_id": "A2"}, {"user_id": "u2"}])
def test_what_others_do_makes_no_row(other: Mapping[str, str]) -> None:
    """An event of another item and author, or of another user, moves nothing."""
    steps = stepped([SHOWN], [mark(3), fact("click", 5, "c", **other)], [mark(8)], [mark(20)])
    assert steps == [[], [FIRST], [], []]


@pytest.mark.parametrize("lost", [False, True])
def test_a_late_event_makes_the_row_of_a_point_that_passes_now(*, lost: bool) -> None:
    """The click lies before the first point, which was published without it."""
    steps = stepped([SHOWN], [mark(5)], [fact("click", 1, "c"), mark(8)], [mark(20)], lost=lost)
    assert steps == [[], [FIRST], [(7, "point", False)], []]


def test_a_late_anchor_is_made_at_its_next_point_or_its_latest() -> None:
    """Nothing of it was published at points that had passed, columns or none."""
    for shown in (SHOWN, fact("impression", 0, "i", item_id=None, author_id=None)):
        assert stepped([mark(5)], [shown, mark(8)], [mark(20)]) == [[], [(7, "point", True)], []]
        assert stepped([mark(5)], [shown, mark(20)]) == [[], [(7, "point", True)]]
        late = stepped([mark(5)], [shown], [mark(8)])
        assert late == [[], [(2, "late", False)], []]


def test_a_late_anchor_takes_events_from_the_one_before_it() -> None:
    """What comes late is at its latest point, what it takes from at the point that passes now."""
    steps = stepped(
        [SHOWN], [fact("click", 1, "c"), mark(5)], [fact("impression", 1, "h"), mark(8)]
    )
    assert steps[2] == [(2, "late", False), (7, "point", False)]


def test_anchors_before_since_have_no_row_and_those_after_all() -> None:
    """``since`` counts for the anchor, not for its points."""
    steps = stepped([SHOWN, fact("impression", 1, "j")], [mark(4)], [mark(20)], since=1)
    assert steps == [[], [FIRST], []]


@each_rule
def test_fresh_is_the_first_row_of_a_key(rule: LabelRule) -> None:
    """Over late and lost events, idle partitions and crashes, in every step."""

    @examples(8)
    @given(
        cases(types=(*rule.event_types, "other"), late=True, idle=True),
        st.frozensets(st.integers(1, 18), max_size=2),
    )
    def holds(case: Case, crashes: frozenset[int]) -> None:
        engine = EngineStream([rule], case)
        made: list[pl.DataFrame] = []
        take = engine.shards[0].take

        def watched(*args: Any, **flags: Any) -> Any:
            out, changed = take(*args, **flags)
            made.append(out.rows[rule.key])
            return out, changed

        engine.shards[0].take = watched  # type: ignore[method-assign]  # watched for this test
        known: set[tuple[Any, ...]] = set()
        for n, items in enumerate(case.steps):
            engine.step(items, crash=n in crashes)
            for row in dicts(made[-1]):
                key = tuple(row[k] for k in KEYS)
                assert row["fresh"] == (key not in known and row["reason"] == "point"), row
                known.add(key)

    holds()


@each_rule
def test_what_is_left_out_equals_the_point_before(rule: LabelRule) -> None:
    """All at once: of ``evaluate`` at all points, those missing repeat the row before."""

    @examples(8)
    @given(cases(types=rule.event_types))
    def holds(case: Case) -> None:
        facts = [e for e, _ in case.arrived]
        events = frame(facts, rule).unique(["user_id", "event_ts", "event_id"], keep="first")
        marks = Watermarks.start((Source("app", 0, ("0",)),), (rule,))
        marks, judged = marks.judge(Item("app", "0", events, None, ended=True), 0)
        state = start((rule,), lateness_ms=0, since_ms={})
        _, out = step((rule,), state, judged, marks)
        got = {(r["point_ts"], *(r[k] for k in KEYS)): r for r in dicts(out.rows[rule.key])}
        last: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row in dicts(evaluate(rule, events, points(rule, events))):
            key = tuple(row[k] for k in KEYS)
            at = row.pop("point_ts")
            mine = got.pop((at, *key), None)
            expected = last.get(key) if mine is None else {k: mine[k] for k in row}
            assert row == expected
            last[key] = row
        assert not got

    holds()
