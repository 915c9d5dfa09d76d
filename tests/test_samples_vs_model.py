"""Samples of random commits against the oracle: rows, revisions, and what replay makes of them.

Always holds: whether features are late follows from a watermark that only rises, as in a stream.

Not promised: label rows that follow from events. Any state may follow any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from tests.model.samples import Row, Samples, Served
from tests.sample_drive import HOUR, MINUTE, T0, T0_MS, Drive, State, by_key, check, declared
from tests.strategies import examples

LATENESS_MS: Final = 10 * MINUTE
#: Anchors of an hour and a bit; some without a request, or an item.
KEYS: Final = tuple((f"u{n % 3}", T0_MS + n * 6 * MINUTE, f"a{n % 2}") for n in range(12))


@dataclass(frozen=True)
class Step:
    """What one commit has: how far the watermark goes, features, states of rows, and a replay.

    ``served``: request, item, minutes from the watermark, key. ``states``: place in ``KEYS``,
    clicks; -1: no row; -2: a label that is null.
    """

    advance: int
    served: tuple[tuple[int, int, int, int], ...]
    states: tuple[tuple[int, int], ...]
    replay: bool


STEPS: Final = st.lists(
    st.builds(
        Step,
        st.integers(0, 25),
        st.lists(
            st.tuples(
                st.integers(0, 1), st.integers(0, 1), st.integers(-20, 30), st.integers(-1, 1)
            ),
            max_size=6,
        ).map(tuple),
        st.lists(st.tuples(st.integers(0, len(KEYS) - 1), st.integers(-2, 3)), max_size=10).map(
            tuple
        ),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=7,
)


@examples(8)
@given(STEPS)
def test_samples_are_the_oracle_s(steps: Sequence[Step]) -> None:
    """Whatever comes late, turns or is replayed: rows and changes, revisions without a gap."""
    with TemporaryDirectory() as folder, Drive(Path(folder)) as drive:
        oracle, f_ms = Samples(declared()), T0_MS
        for step in steps:
            before, f_ms = f_ms, f_ms + step.advance * MINUTE
            served = _served(step, before)
            states = _states(step, before, f_ms)
            drive.commit(states, served)
            oracle.commit(states, served)
            if step.replay:
                drive.replay(T0)
                oracle.replay(T0_MS)
            check(drive, oracle)
        found = drive.differences()
        assert found.filter(cause="bug").is_empty()


@examples(8)
@given(STEPS)
def test_replay_makes_what_the_stream_made(steps: Sequence[Step]) -> None:
    """S11: nothing new where nothing came late; into an empty store the same revisions."""
    with (
        TemporaryDirectory() as one,
        TemporaryDirectory() as two,
        Drive(Path(one)) as live,
        Drive(Path(two)) as again,
    ):
        f_ms, all_states, all_served = T0_MS, list[State](), list[Served]()
        for step in steps:
            before, f_ms = f_ms, f_ms + step.advance * MINUTE
            served = [s for s in _served(step, before) if s.arrival == "on_time"]
            states = [(key, row, "point") for key, row, _ in _states(step, before, f_ms)]
            live.commit(states, served)
            all_states += states
            all_served += served
        told, rows = by_key(live.heard.told), live.rows()
        live.replay(T0)
        live.replay(T0 + HOUR)
        assert by_key(live.heard.told) == told
        with again.store.commit("import") as commit:
            again.serve(commit, all_served)
        for hour in (T0, T0 + HOUR):
            low = T0_MS + (hour - T0).seconds * 1000
            mine = [s for s in all_states if low <= s[0][1] < low + HOUR.seconds * 1000]
            again.replay(hour, mine)
        assert again.rows() == rows
        assert by_key(again.heard.told) == told


def _served(step: Step, f_ms: int) -> list[Served]:
    """Features, judged by the watermark before them."""
    found = []
    for request, item, minutes, key in step.served:
        at = f_ms + minutes * MINUTE
        late = "late" if at >= f_ms - LATENESS_MS else "too_late"
        arrival = "on_time" if at >= f_ms else late
        found.append(Served(f"r{request}", f"i{item}", at, key, arrival))
    return found


def _states(step: Step, before_ms: int, f_ms: int) -> list[State]:
    """States of the rows whose first point is passed."""
    found = []
    for place, clicks in step.states:
        key = KEYS[place]
        point = key[1] + MINUTE
        if point < f_ms:
            found.append((key, _row(place, clicks), "late" if point < before_ms else "point"))
    return found


def _row(place: int, clicks: int) -> Row | None:
    """A label row; what is carried follows from its anchor."""
    if clicks == -1:
        return None
    request = None if place == 5 else f"r{place % 2}"
    item = None if place == 7 else f"i{place // 2 % 2}"
    clicked = None if clicks == -2 else clicks > 0
    return {"request_id": request, "item_id": item, "clicked": clicked, "clicks": max(clicks, 0)}
