"""The laws of the design, on the engine itself: arrival, replay, locality, composition of changes.

Always holds: each test names its law; streams are those of ``strategies``, rules the model's.

Not promised: that the values are right. ``test_engine_vs_model`` says that.
"""

from __future__ import annotations

from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.engine.changes import apply, changes
from labeling.engine.evaluate import evaluate
from labeling.engine.points import points
from labeling.model.event import TS
from labeling.model.rule import LabelRule
from labeling.model.table import ROW_KEY
from tests.engine_drive import Asked, dicts, engine_rows, frame, in_order, worlds
from tests.engine_stream import EngineStream, empty_table
from tests.model.assign import Fact, cells
from tests.model.sample_rules import RULES, T0
from tests.model.stream import Table, publish
from tests.strategies import INSTANTS, Case, cases, cut, cuts, examples, facts, table

# Shrinking a failing stream takes minutes; passing takes seconds.
pytestmark = pytest.mark.timeout(900)
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
Log = list[dict[str, Any]]


def drive(rule: LabelRule, case: Case, shards: int = 1) -> tuple[EngineStream, Log]:
    """The engine after a case, and all its changes by time and key."""
    engine = EngineStream([rule], case, shards)
    log = [c for items in case.steps for c in engine.step(items)[rule.key]]
    return engine, sorted(log, key=lambda c: (*in_order(c), c["revision"]))


def ruled(**flags: bool) -> st.SearchStrategy[tuple[LabelRule, Case]]:
    """One of the rules and a stream of what it reads."""
    return st.sampled_from(RULES).flatmap(
        lambda r: st.tuples(st.just(r), cases(types=sorted(r.event_types), **flags))
    )


# ---- law 1: arrival does not matter -----------------------------------------------------------


@given(ruled(), st.data())
@examples(8)
def test_in_bound_any_steps_give_the_same_changes(
    ruled_case: tuple[LabelRule, Case], data: st.DataObject
) -> None:
    """One batch, one by one, other cuts, more shards: the same changes and revisions."""
    rule, case = ruled_case
    n = len(case.arrived)
    engine, log = drive(rule, case)
    for sizes in ([n], [1] * n, data.draw(cuts(n))):
        other, same = drive(rule, cut(case, sizes), shards=2)
        assert same == log
        assert other.tables(rule) == engine.tables(rule)


@given(ruled(), st.randoms(use_true_random=False))
@examples(8)
def test_within_the_lateness_any_order_gives_the_same_rows(
    ruled_case: tuple[LabelRule, Case], rng: Random
) -> None:
    """Shuffled, doubled, cut anew: the same rows, as long as nothing comes too late."""
    rule, case = ruled_case
    engine, _ = drive(rule, case)
    late = [(e, lane, e["event_ts"] + rng.randint(0, 16)) for e, lane in case.arrived * 2]
    arrived = [(e, lane) for e, lane, _ in sorted(late, key=lambda x: x[2])]
    other, _ = drive(
        rule, cut(Case(case.sources, arrived, []), [rng.randint(1, 9) for _ in arrived])
    )
    assert other.counts[0] == 0
    assert other.counts[2] == engine.counts[2]
    assert values(other, rule) == values(engine, rule)


def values(engine: EngineStream, rule: LabelRule) -> dict[Any, Any]:
    """Rows without revisions, which late events may cut differently."""
    return {key: row for key, (_, row) in engine.tables(rule).items() if row is not None}


# ---- law 2: live equals replay ----------------------------------------------------------------


@given(ruled(), st.booleans())
@examples(8)
def test_replay_publishes_what_the_stream_did(
    ruled_case: tuple[LabelRule, Case],
    twice: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    """In bound, changes of one evaluate over all points are those of the stream; again, none."""
    rule, case = ruled_case
    _, log = drive(rule, case)
    events = frame([e for e, _ in case.arrived]).unique(
        ["user_id", "event_ts", "event_id"], keep="first", maintain_order=True
    )
    rows = evaluate(rule, events, points(rule, events)).with_columns(reason=pl.lit("point"))
    made = changes(empty_table(rule), rows)
    assert sorted(dicts(made), key=lambda c: (*in_order(c), c["revision"])) == log
    if twice:
        last = rows.sort("point_ts").unique(ROW_KEY, keep="last")
        assert changes(apply(empty_table(rule), made), last).is_empty()


# ---- law 3: locality --------------------------------------------------------------------------


@each_rule
def test_other_groups_change_nothing(rule: LabelRule) -> None:
    """Each group by itself, and an anchor with a null in it, give the rows of the whole."""
    by_user = worlds(Random(21), 15, sorted(rule.event_types))
    events = [e for mine in by_user.values() for e in mine]
    groups: dict[Any, list[Fact]] = {}
    for n, e in enumerate(events):
        groups.setdefault(cells(e, rule.group) or n, []).append(e)
    alone = [r for mine in groups.values() for r in engine_rows(rule, mine)]
    assert sorted(alone, key=in_order) == engine_rows(rule, events)


@each_rule
def test_events_out_of_reach_change_nothing(rule: LabelRule) -> None:
    """Anchors of an instant need events from ``repeat_within`` before it to their last point."""
    by_user = worlds(Random(22), 15, sorted(rule.event_types))
    events = [e for mine in by_user.values() for e in mine]
    whole = engine_rows(rule, events)
    for at in range(T0, T0 + INSTANTS, 4):
        reach = range(at - rule.repeat_ms, at + rule.bound.longest_ms + 1)
        near = [e for e in events if e["event_ts"] in reach]
        got = engine_rows(rule, near, anchored(at))
        assert got == [r for r in whole if r["anchor_ts"] == at]


def anchored(at: int) -> Asked:
    """Ask for the anchors of an instant."""
    return lambda e, _: e["event_ts"] == at


def pointed(at: int) -> Asked:
    """Ask for the points of an instant."""
    return lambda _, p: p == at


@each_rule
def test_the_future_changes_nothing(rule: LabelRule) -> None:
    """Clause 5: rows up to a point are those of the events up to it."""
    by_user = worlds(Random(23), 15, sorted(rule.event_types))
    events = [e for mine in by_user.values() for e in mine]
    whole = engine_rows(rule, events)
    for at in range(T0, T0 + INSTANTS, 4):
        past = [e for e in events if e["event_ts"] <= at]
        got = engine_rows(rule, past, pointed(at))
        assert got == [r for r in whole if r["point_ts"] == at]


@given(facts(), st.randoms(use_true_random=False))
@examples(10)
def test_the_order_of_events_and_questions_does_not_matter(events: list[Fact], rng: Random) -> None:
    """``evaluate`` is a function of sets."""
    shuffled = rng.sample(events, len(events))
    for rule in RULES:
        given_events = frame(shuffled)
        asked = points(rule, given_events)
        asked = asked[rng.sample(range(asked.height), asked.height)]
        got = dicts(evaluate(rule, given_events, asked))
        assert got == engine_rows(rule, events), table(events)


# ---- law 4: changes compose -------------------------------------------------------------------

VALUES = {"n": pl.Int64(), "s": pl.String(), "f": pl.Float64(), "l": pl.List(pl.String())}
KEY_TYPES = {"user_id": pl.String(), "anchor_ts": TS, "anchor_id": pl.String()}
META = {"point_ts": TS, "reason": pl.String(), "present": pl.Boolean()}


def one_row(key: int, point: int, present: int, n: int, other: int) -> dict[str, Any]:
    """A row of plain numbers; an absent one has null values."""
    said = {
        "n": (None, 0, 1)[n],
        "s": (None, "", "x")[other],
        "f": (None, 0.5, -0.0)[other],
        "l": (None, [], ["x"])[n],
    }
    return {
        "point_ts": point,
        "reason": "point",
        "present": present > 0,
        "user_id": f"u{key % 2}",
        "anchor_ts": key // 2,
        "anchor_id": "a",
        **(said if present else dict.fromkeys(said)),
    }


SIZES = (4, 4, 4, 3, 3)
ROWS = st.lists(
    st.tuples(*(st.integers(0, n - 1) for n in SIZES)), max_size=10, unique_by=lambda t: t[:2]
).map(lambda drawn: [one_row(*t) for t in drawn])
STORED = pl.DataFrame(
    schema={**KEY_TYPES, **VALUES, "revision": pl.Int32(), "present": pl.Boolean()}
)


def framed(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as ``changes`` takes them."""
    schema = {**META, **KEY_TYPES, **VALUES}
    times = {"point_ts": pl.Int64(), "anchor_ts": pl.Int64()}
    return pl.DataFrame(rows, schema={**schema, **times}).cast({"point_ts": TS, "anchor_ts": TS})


def stored_as(found: pl.DataFrame) -> dict[Any, Any]:
    """A stored frame as the model's table: revision, presence, values."""
    table_of = {}
    for r in dicts(found):
        key = tuple(r.pop(k) for k in ROW_KEY)
        revision, present = r.pop("revision"), r.pop("present")
        table_of[key] = (revision, present, r if present else None)
    return table_of


@given(st.lists(ROWS, max_size=4))
@examples(50)
def test_changes_are_the_models(batches: list[list[dict[str, Any]]]) -> None:
    """Batch after batch, several points of a key in one: the same changes, the same table."""
    stored, model = STORED, Table()
    for rows in batches:
        expected = publish(model, sorted(rows, key=in_order))
        made = changes(stored, framed(rows))
        assert sorted(dicts(made), key=in_order) == sorted(expected, key=in_order)
        stored = apply(stored, made)
        assert stored_as(stored) == {k: (s.revision, s.present, s.values) for k, s in model.items()}


@given(ROWS, ROWS)
@examples(50)
def test_changes_compose(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    """``apply(old, changes(old, new))`` is new; applied twice is once; the same again is silent."""
    stored = apply(STORED, changes(STORED, framed(old)))
    made = changes(stored, framed(new))
    after = apply(stored, made)
    assert stored_as(apply(after, made)) == stored_as(after)
    last = framed(new).sort("point_ts").unique(ROW_KEY, keep="last")
    assert changes(after, last).is_empty()
    held = stored_as(after)
    for r in dicts(last):
        key = tuple(r[k] for k in ROW_KEY)
        said = {c: r[c] for c in VALUES} if r["present"] else None
        assert held.get(key, (0, False, None))[2] == said
    named = {tuple(r[k] for k in ROW_KEY) for r in new}
    before = stored_as(stored)
    assert {k: v for k, v in held.items() if k not in named} == {
        k: v for k, v in before.items() if k not in named
    }


# ---- law 5: nothing is lost silently ------------------------------------------------------------


@given(ruled(late=True, idle=True, conflicts=True), st.integers(1, 3))
@examples(10)
def test_every_event_has_one_outcome(ruled_case: tuple[LabelRule, Case], shards: int) -> None:
    """Too late, duplicate and accepted add up to what was read, whatever the number of shards."""
    rule, case = ruled_case
    engine, _ = drive(rule, case, shards)
    assert sum(engine.counts) == len(case.arrived)


def test_rules_here_have_groups_of_several_kinds() -> None:
    """Locality is tried on groups of a user alone and of more."""
    assert {len(r.group) for r in RULES} >= {1, 2}
