"""Dwell in the plain-Python model against the page (clauses 11 to 16), on views worked out by hand.

Always holds: expected values were written down from the page before the model was run.
"""

from __future__ import annotations

import pytest

from labeling.model.selector import Event
from labeling.model.vocabulary import dwell
from tests.model.assign import Fact
from tests.model.oracle import rows
from tests.strategies import fact
from tests.test_model_oracle import rule, said


def views(*said_events: tuple[str, int, str | None]) -> list[Fact]:
    """An impression at 0 and events of a view: kind, time, view_id."""
    kinds = {"s": "view_start", "h": "view_heartbeat", "e": "view_end"}
    made = [
        fact(kinds[kind], t, f"{n:02}", view_id=view)
        for n, (kind, t, view) in enumerate(said_events)
    ]
    return [fact("impression", 0, "a"), *made]


FULL = dwell(start="view_start", heartbeat="view_heartbeat", end="view_end", gap="4ms")


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        # nothing, nothing but continuations, a start alone (15)
        (views(), None),
        (views(("h", 1, None), ("e", 2, None)), None),
        (views(("s", 1, None)), 0),
        # closed by the end; unclosed to the last heartbeat (13, 14)
        (views(("s", 1, None), ("e", 9, None)), 8),
        (views(("s", 1, None), ("h", 4, None)), 3),
        (views(("s", 1, None), ("h", 5, None), ("e", 9, None)), 8),
        # a stretch longer than the gap beside a heartbeat is background (14)
        (views(("s", 1, None), ("h", 4, None), ("e", 9, None)), 3),
        (views(("s", 0, None), ("h", 5, None), ("e", 9, None)), 4),
        # the last of two ends closes; heartbeats after the close are not seen (13, 14)
        (views(("s", 1, None), ("e", 3, None), ("e", 6, None), ("h", 8, None)), 5),
        # without a view_id the next start closes, whatever its own (13); with one it does not
        (views(("s", 1, None), ("s", 4, "v")), 3),
        (views(("s", 1, "v"), ("s", 4, None)), 0),
        (views(("s", 1, None), ("s", 4, None), ("e", 6, None)), 5),
        # continuations with a view_id go to it, though a later start stands between (12)
        (views(("s", 1, "v"), ("s", 2, None), ("e", 7, "v")), 6),
        (views(("s", 1, "v"), ("s", 2, "w"), ("e", 7, "x")), 0),
        (views(("s", 1, "v"), ("s", 5, "v"), ("e", 7, "v")), 2),
        # without one to the latest start, whatever its view_id (12)
        (views(("s", 1, "v"), ("s", 5, "w"), ("e", 7, None)), 2),
        (views(("s", 1, "v"), ("e", 7, None)), 6),
        # overlapping views count once, touching ones add up (15)
        (views(("s", 1, "v"), ("e", 5, "v"), ("s", 3, "w"), ("e", 9, "w")), 8),
        (views(("s", 1, "v"), ("e", 3, "v"), ("s", 5, "w"), ("e", 9, "w")), 6),
        # a start at the time of an end: the end belongs to it, and the first is closed by it
        (views(("s", 1, None), ("s", 5, None), ("e", 5, None)), 4),
        # an end after the window is not seen; the start is
        (views(("s", 1, None), ("h", 3, None), ("e", 11, None)), 2),
    ],
)
def test_dwell(stream: list[Fact], expected: int | None) -> None:
    """Clauses 11 to 15, each line worked out by hand."""
    assert said(rule({"ms": FULL}), stream) == {"a": expected}


def test_dwell_follows_the_start() -> None:
    """Clauses 11 and 12: continuations go with their start, whatever anchor comes between."""
    events = [*views(("s", 1, None), ("e", 9, None)), fact("impression", 5, "b")]
    assert said(rule({"ms": FULL}), events) == {"a": 8, "b": None}
    assert said(rule({"ms": FULL}, assign="every"), events) == {"a": 8, "b": None}


def test_dwell_within_is_counted_from_the_anchor() -> None:
    """Clauses 12 and 13: an end beyond its within is not seen, nor is a start; both still pair."""
    ends = dwell(start="view_start", end=Event("view_end", within="5ms"))
    assert said(rule({"ms": ends}), views(("s", 1, None), ("e", 5, None), ("e", 6, None))) == {
        "a": 4
    }
    starts = dwell(start=Event("view_start", within="5ms"), end="view_end")
    stream = views(("s", 1, "v"), ("s", 6, "v"), ("e", 8, "v"))
    assert said(rule({"ms": starts}), stream) == {"a": 0}


def test_dwell_roles_overlap() -> None:
    """Clause 12: start beats the others, end beats heartbeat."""
    d = dwell(
        start="view_start",
        heartbeat=Event("view_start", "view_end", "view_heartbeat"),
        end=Event("view_start", "view_end"),
        gap="1ms",
    )
    assert said(rule({"ms": d}), views(("s", 1, "v"), ("s", 4, "v"), ("e", 9, "v"))) == {"a": 5}


def test_dwell_at_a_point_sees_nothing_after_it() -> None:
    """Clause 13: a view open at the point counts to its last heartbeat by then."""
    stream = views(("s", 1, None), ("h", 2, None), ("e", 5, None), ("s", 6, None))
    found = rows(rule({"ms": FULL}, early=("1ms", "4ms")), stream)
    assert [x["ms"] for x in found] == [0, 1, 4]


def test_reported_dwell() -> None:
    """Clause 16: each report covers what it says, together once; negative and null are none."""
    r = rule({"ms": dwell(end="view_end", duration="value", cap="7ms")})
    assert said(r, [fact("impression", 0)]) == {"a": None}
    told = ((5, 3), (6, 2), (9, 2), (9, -1), (9, None))
    ends = [fact("view_end", t, f"{n}", value=v) for n, (t, v) in enumerate(told)]
    assert said(r, [fact("impression", 0), *ends]) == {"a": 6}
    assert said(r, [fact("impression", 0), *ends, fact("view_end", 10, value=99)]) == {"a": 7}
    assert said(r, [fact("impression", 0), *ends[3:]]) == {"a": None}
    assert said(r, [fact("impression", 0), fact("view_end", 1, "z", value=0)]) == {"a": 0}
