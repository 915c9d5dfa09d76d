"""Attributions through every drive, and what a step of one says and holds.

Always holds: however events are cut into steps, repeated, shuffled or lost in crashes, rows are
equal; where no event is late, so are the changes, revisions and reasons.
"""

from __future__ import annotations

from random import Random
from typing import Any

import polars as pl
import pytest

from labeling import Event, LabelRule, happened, rows_of, sum_of
from labeling.engine.holding import ACTION, ANCHOR, OTHER, TOUCH, holdings
from labeling.model.attribution import ATTRIBUTION_KEY_SCHEMA, AttributionRule
from labeling.model.kinds import Rule
from labeling.testing.arrival import Arrival
from labeling.testing.drives import DRIVES, EVENT_BY_EVENT, Run
from labeling.testing.memory import MemoryStore
from tests.engine_drive import dicts, frame
from tests.model.assign import Fact
from tests.model.attribution_facts import rich
from tests.model.attribution_rules import ALL, FAR, ITEM, LANES, PLAIN, SELF
from tests.model.sample_rules import NOTES
from tests.strategies import LATENESS_MS, fact, seeded

DISORDER_MS = 3


#: A rule that reads an attribution is evaluated by groups as well.
AFTER = LabelRule(
    name="after", anchor=Event("click"), match=ITEM, window="12ms", early=("4ms",),
    labels={"caused": happened(rows_of(PLAIN)), "credit": sum_of(rows_of(PLAIN), "credit")},
)  # fmt: skip


def arrival(rule: Rule, seed: int, *, late: bool) -> Arrival:
    """Events about few things, in the order of their times but for disorder, or lateness."""
    rng = Random(seed)
    spread = DISORDER_MS + (LATENESS_MS if late else 0)
    found = seeded(rng, 13, types=(*sorted(rule.event_types), "other"))
    found.sort(key=lambda e: e["event_ts"] + rng.randint(0, spread))
    if isinstance(rule, AttributionRule):
        found = [rich(rule, e) for e in found]
    events = frame(found, rule)
    return Arrival(rule, events, DISORDER_MS, LATENESS_MS)


def told(run: Run, *, reasons: bool) -> tuple[list[Any], list[Any] | None]:
    """Rows and, where they can be compared, changes; by key."""
    keys = [c for c in ATTRIBUTION_KEY_SCHEMA if c in run.rows.columns]
    rows = run.rows.sort(keys).rows()
    if run.changes is None:
        return rows, None
    kept = run.changes if reasons else run.changes.drop("reason")
    return rows, kept.sort(*keys, "revision").rows()


@pytest.mark.parametrize(
    ("rule", "late"),
    [(FAR, False), (FAR, True), (SELF, True), (ALL, True), (AFTER, True)],
    ids=lambda v: "late" * v if isinstance(v, bool) else v.name,
)
def test_every_drive_ends_with_the_same(rule: Rule, *, late: bool) -> None:
    """One batch, event by event, splits, shuffled, doubled, crashes, replay: laws 1, 2 and 8."""
    arrived = arrival(rule, 5, late=late)
    assert arrived.in_bound != late
    expected = next(EVENT_BY_EVENT.runs(arrived))
    assert expected.rows.height > 1
    for drive in DRIVES:
        for run in drive.runs(arrived):
            rows, changed = told(run, reasons=run.reasons)
            wanted, known = told(expected, reasons=run.reasons)
            assert rows == wanted, f"{drive.name} {run.label}"
            assert changed is None or changed == known, f"{drive.name} {run.label}"


class Steps:
    """A rule's stream without disorder, and what each step said."""

    def __init__(self, rule: AttributionRule) -> None:
        self._store = MemoryStore.empty(rule, max_disorder_ms=0, lateness_ms=LATENESS_MS)
        self.state = self._store.fresh()
        self._rule = rule

    def take(self, *events: Fact) -> list[tuple[Any, ...]]:
        """Each row of a step: point, action, touch, reason, fresh, verdict."""
        taken = self._store.take(self.state, frame(events, self._rule))
        self.state = self._store.commit(taken)
        names = ("point_ts", "anchor_id", "touch_id", "reason", "fresh", "verdict")
        rows = dicts(taken.out.rows[self._rule.key])
        start_ms = fact("like", 0)["event_ts"]
        return [(r["point_ts"] - start_ms, *(r[n] for n in names[1:])) for r in rows]


def test_a_step_says_why_a_row_is_made_and_whether_it_is_the_first() -> None:
    """An action's own point, then a late touch, then its undo; nothing is said twice."""
    steps = Steps(LANES)
    assert steps.take(fact("click", 0, "c"), fact("like", 4, "a"), fact("other", 5)) == [
        (4, "a", "c", "point", True, None),
        (4, "a", "", "point", True, "attributed"),
    ]
    assert steps.take(fact("click", 3, "d")) == [
        (4, "a", "c", "late", False, None),
        (4, "a", "d", "late", False, None),
        (4, "a", "", "late", False, "attributed"),
    ]
    assert steps.take(fact("unlike", 6, "u"), fact("other", 8)) == [
        (6, "a", "", "undo", False, "undone")
    ]
    assert steps.take(fact("other", 30)) == []


def test_a_point_passed_now_stands_for_a_late_event_too() -> None:
    """An action that a late touch reaches in the step of its undo is made once, at the undo."""
    steps = Steps(LANES)
    steps.take(fact("like", 4, "a"), fact("other", 5))
    made = steps.take(fact("unlike", 6, "u"), fact("click", 3, "d"), fact("other", 8))
    assert made == [(6, "a", "", "undo", False, "undone")]


def test_an_action_that_came_late_is_told_at_its_latest_point() -> None:
    """Its undo had passed before it: reason late, at the undo's time, as never seen before."""
    steps = Steps(LANES)
    steps.take(fact("unlike", 6, "u"), fact("other", 8))
    assert steps.take(fact("like", 4, "a")) == [(6, "a", "", "late", False, "undone")]


def test_an_action_without_its_columns_is_told_alone() -> None:
    """A null in a group column: a row of its own, on time and late, unattributed."""
    nameless = {"author_id": None, "item_id": None}
    rule = AttributionRule(
        name="by_item", action=LANES.action, match=("user_id", "author_id"),
        touches=(LANES.touches[0],), carry=("scene",),
    )  # fmt: skip
    steps = Steps(rule)
    click = fact("view_start", 0, "v", **nameless)
    assert steps.take(click, fact("like", 1, "a", scene="x", **nameless), fact("other", 3)) == [
        (1, "a", "", "point", True, "unattributed")
    ]
    assert steps.take(fact("like", 2, "b", **nameless)) == [
        (2, "b", "", "late", False, "unattributed")
    ]


def test_a_late_anchor_without_its_columns_is_told_once() -> None:
    """A reader's anchor that came late, alone in its group: its point passed now has one row."""
    views = LabelRule(
        name="views", anchor=Event("view_start"), match=ITEM, window="5ms",
        labels={"ended": happened("view_end")},
    )  # fmt: skip
    reader = LabelRule(
        name="reader", anchor=Event("impression"), match=ITEM, window="4ms",
        labels={"viewed": happened(rows_of(views))},
    )  # fmt: skip
    store = MemoryStore.empty(reader, max_disorder_ms=0, lateness_ms=LATENESS_MS)
    state, made = store.fresh(), []
    for batch in ([fact("other", 10)], [fact("impression", 7, item_id=None), fact("other", 12)]):
        taken = store.take(state, frame(batch, reader))
        state = store.commit(taken)
        made = dicts(taken.out.rows[reader.key])
    assert [(r["anchor_id"], r["reason"], r["viewed"]) for r in made] == [("a", "point", False)]


def test_types_are_held_once_with_what_is_read_of_them() -> None:
    """Labels alone hold what they held; touches go without what only actions carry."""
    alone = holdings((NOTES,))
    assert alone[ANCHOR].types == {*NOTES.anchor.types}
    assert alone[ANCHOR].types | alone[OTHER].types == NOTES.event_types
    assert not alone[ACTION].types | alone[TOUCH].types
    both = holdings((NOTES, LANES))
    assert both[ANCHOR].types == alone[ANCHOR].types
    assert both[ACTION].types == {"like"}
    assert both[TOUCH].types == {"click", "view_start", "unlike"}
    assert sorted(t for h in both for t in h.types) == sorted(NOTES.event_types | LANES.event_types)
    only = holdings((LANES,))[TOUCH].schema
    assert "value" in holdings((LANES,))[ACTION].schema
    assert "value" not in only
    assert "experiments" in only


def test_what_no_action_can_need_is_dropped() -> None:
    """A touch goes when the watermark is past reach and lateness, and nothing else is kept."""
    steps = Steps(LANES)
    for n in range(4):
        steps.take(*(fact("click", n * 50 + k, f"c{k}") for k in range(5)))
    # The horizon lags by one step: what was too old before it.
    kept = steps.state.logs[TOUCH]
    low = pl.concat([c.rows(["event_ts"]) for c in kept.chunks])["event_ts"].dt.epoch("ms").min()
    assert low == fact("click", 100)["event_ts"]
