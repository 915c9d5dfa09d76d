"""Hypothesis strategies for dense streams that know nothing of any rule, and how to read one.

Always holds: 32 instants, 2 users, 3 items (one null), 3 authors (one null), 6 ids, so that
ties, repeats and references to everything are common; facts have different identities; streams
shrink towards few events at time 0, of type 0, by user 0.

Not promised: likely behaviour. A view may end before it starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from labeling.model.event import EVENT_SCHEMA
from tests.model.assign import Fact, identity, standing
from tests.model.clock import Item, Source
from tests.model.sample_rules import T0

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"


def examples(n: int) -> settings:
    """Settings for ``n`` examples, 20 times as many with ``HYPOTHESIS_PROFILE=thorough``."""
    return settings(
        max_examples=n * 20 if THOROUGH else n,
        deadline=None,
        database=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


TYPES = (
    "impression",
    "click",
    "view_start",
    "view_heartbeat",
    "view_end",
    "like",
    "unlike",
    "follow",
    "other",
)
IDS = ("a", "b", "c", "d", "e", "f")
# What stands often here is drawn often: dense streams need most events to be about one thing.
USERS = ("u1", "u1", "u1", "u2")
ITEMS = ("i1", "i1", "i1", "i1", "i2", None)
AUTHORS = ("A1", "A1", "A1", "A2", None)
VIEWS = (None, None, None, "v1", "v2")
#: Every id, a tracking id that anchors may carry too, one that nothing has.
REFERENCES = (*[None] * 9, *IDS[:4], "r1", "zz")
VALUES = (None, 0, 1, 2, 3, 5, -1)
SCENES = ("feed", "feed", "feed", "search", None)
POSITIONS = (None, 1, 2, 3)
EXPERIMENTS: tuple[list[str] | None, ...] = (None, ["x"], ["x", "y"], [])
INSTANTS = 32
_SIZES = tuple(len(c) for c in (IDS, USERS, ITEMS, AUTHORS, VIEWS, REFERENCES, VALUES, SCENES))


def fact(event_type: str, t: int, event_id: str = "a", **columns: Any) -> Fact:
    """An event ``t`` ms after ``T0``, all columns of the contract there, null unless given."""
    given = {"event_type": event_type, "event_ts": T0 + t, "event_id": event_id, "user_id": "u1"}
    e = dict.fromkeys(EVENT_SCHEMA) | given | {"item_id": "i1", "author_id": "A1"} | columns
    unknown = e.keys() - EVENT_SCHEMA.keys()
    if unknown:
        raise ValueError(f"fact: no such columns {sorted(unknown)}")
    return e


def _drawn(numbers: Sequence[int], types: Sequence[str], unit_ms: int) -> Fact:
    """A fact of plain numbers: what shrinks well."""
    t, kind, pos, name, user, item, author, view, ref, val, scene = numbers
    return fact(
        types[kind],
        20 + (t - 20) * unit_ms,
        IDS[name],
        user_id=USERS[user],
        item_id=ITEMS[item],
        author_id=AUTHORS[author],
        view_id=VIEWS[view],
        impression_id=REFERENCES[ref],
        value=VALUES[val],
        scene=SCENES[scene],
        position=POSITIONS[pos],
        experiments=EXPERIMENTS[pos],
    )


def _one_each(found: Iterable[Fact]) -> list[Fact]:
    """The first of each identity."""
    kept: dict[Any, Fact] = {}
    for e in found:
        kept.setdefault(identity(e), e)
    return list(kept.values())


def _bounds(types: Sequence[str]) -> tuple[int, ...]:
    return (INSTANTS, len(types), len(POSITIONS), *_SIZES)


def facts(
    max_size: int = 16, *, types: Sequence[str] = TYPES, unit_ms: int = 1
) -> st.SearchStrategy[list[Fact]]:
    """Sets of events with different identities, in no order that means anything."""
    # Lists of any size come out short. Long ones whose members may be dropped do not, and shrink
    # as well: the first number of a dropped one is 0.
    numbers = st.tuples(st.integers(0, 5), *(st.integers(0, n - 1) for n in _bounds(types)))
    return st.lists(numbers, min_size=max_size // 2, max_size=max_size).map(
        lambda drawn: _one_each(_drawn(n[1:], types, unit_ms) for n in drawn if n[0])
    )


def seeded(
    rng: Random, size: int, *, types: Sequence[str] = TYPES, unit_ms: int = 1, user: str = ""
) -> list[Fact]:
    """The same kind of events from a seed; ``user`` goes before user ids, to tell worlds apart."""
    drawn = ([rng.randrange(n) for n in _bounds(types)] for _ in range(size))
    found = _one_each(_drawn(n, types, unit_ms) for n in drawn)
    return [e | {"user_id": user + e["user_id"]} for e in found]


_ADS = frozenset({"click", "like", "unlike", "follow"})
#: From one partition to two sources of two, where one source cannot carry everything.
SETUPS = (
    (Source("app", 2, ("0",)),),
    (Source("app", 3, ("0",)),),
    (Source("app", 3, ("0", "1")),),
    (Source("app", 3, ("0",)), Source("ads", 5, ("0",), _ADS)),
    (Source("app", 3, ("0", "1")), Source("ads", 5, ("0", "1"), _ADS)),
)
LATENESS_MS = 14
Lane = tuple[str, str]


@dataclass
class Case:
    """Events in arrival order, each with its (source, partition), and the steps they come in."""

    sources: tuple[Source, ...]
    arrived: list[tuple[Fact, Lane]]
    steps: list[list[Item]]

    @property
    def lanes(self) -> list[Lane]:
        """Every partition."""
        return [(s.name, p) for s in self.sources for p in s.partitions]

    def _repr_pretty_(self, printer: Any, _cycle: Any) -> None:
        """How hypothesis prints a failing case."""
        printer.text(repr(self))

    def __repr__(self) -> str:
        """What a person reads when a case fails."""
        lines = [f"sources: {[(s.name, s.max_disorder_ms, s.partitions) for s in self.sources]}"]
        for n, items in enumerate(self.steps):
            for i in items:
                flags = " idle" * i.idle + " ended" * i.ended
                lines.append(
                    f"step {n} {i.source}/{i.partition}{flags}{table(i.events, in_order=False)}"
                )
        return "\n".join(lines)


def lanes_for(e: Fact, sources: Sequence[Source]) -> list[tuple[Source, str]]:
    """The partitions that can bring an event."""
    kind = e["event_type"]
    able = [s for s in sources if s.event_types is None or kind in s.event_types]
    return [(s, p) for s in able for p in s.partitions]


@st.composite
def _arrived(
    draw: st.DrawFn,
    *,
    sources: tuple[Source, ...],
    found_in: st.SearchStrategy[list[Fact]],
    late: bool,
    conflicts: bool,
) -> list[tuple[Fact, Lane]]:
    found: list[tuple[int, int, Fact, Lane]] = []

    def arrive(e: Fact, source: Source, partition: str) -> None:
        stray = late and draw(st.integers(0, 2)) > 0
        delay = draw(st.integers(4, 22) if stray else st.integers(0, source.max_disorder_ms))
        found.append((e["event_ts"] + delay, len(found), e, (source.name, partition)))

    for e in draw(found_in):
        lane = draw(st.sampled_from(lanes_for(e, sources)))
        arrive(e, *lane)
        again = draw(st.integers(0, 4))
        if again == 1:
            arrive(dict(e), *lane)
        elif again == 2 and conflicts:
            arrive(e | {"page_id": "other"}, *lane)
    return [(e, lane) for _, _, e, lane in sorted(found, key=lambda f: f[:2])]


def itemize(arrived: Sequence[tuple[Fact, Lane]], *, idle: bool = False) -> list[Item]:
    """Items of neighbours in arrival order that share a partition."""
    items: list[Item] = []
    run: list[Fact] = []
    for at, (e, lane) in enumerate(arrived):
        run.append(e)
        if at + 1 == len(arrived) or arrived[at + 1][1] != lane:
            top = max(e["event_ts"] for e in run)
            items.append(Item(*lane, events=tuple(run), max_ts_ms=top, idle=idle))
            run = []
    return items


def opening(case: Case) -> list[Item]:
    """Partitions that never bring anything are idle from the start."""
    used = {lane for _, lane in case.arrived}
    quiet = [lane for lane in case.lanes if lane not in used]
    return [Item(*lane, events=(), max_ts_ms=None, idle=True) for lane in quiet]


def the_end(case: Case) -> list[Item]:
    """Every partition at its end: all points pass."""
    return [Item(*lane, events=(), max_ts_ms=None, ended=True) for lane in case.lanes]


def cut(case: Case, sizes: Iterable[int], idle: Iterable[bool] = ()) -> Case:
    """The same arrivals in steps of these sizes, one of all that is left, and the end."""
    steps, rest, flags = [opening(case)], list(case.arrived), iter(idle)
    for n in (*sizes, len(rest)):
        if rest[:n]:
            steps.append(itemize(rest[:n], idle=next(flags, False)))
        rest = rest[n:]
    return replace(case, steps=[*steps, the_end(case)])


@st.composite
def cases(
    draw: st.DrawFn,
    max_size: int = 18,
    *,
    types: Iterable[str] = TYPES,
    late: bool = False,
    idle: bool = False,
    conflicts: bool = False,
) -> Case:
    """Streams of any setup, with repeats, in steps of random sizes.

    Each event arrives after at most its source's disorder, so that none is late, unless ``late``:
    then some are, and some of them too late. With ``idle`` partitions fall idle and wake up, which
    makes events late as well. With
    ``conflicts`` some events come again with other content.
    """
    sources = SETUPS[draw(st.integers(0, len(SETUPS) - 1))]
    some = facts(max_size, types=sorted(types))
    case = Case(
        sources, draw(_arrived(sources=sources, found_in=some, late=late, conflicts=conflicts)), []
    )
    sizes = draw(cuts(len(case.arrived)))
    flags = [idle and draw(st.integers(0, 5)) == 1 for _ in sizes]
    return cut(case, sizes, flags)


def cuts(n: int) -> st.SearchStrategy[list[int]]:
    """Sizes of steps for ``n`` arrivals, from all in one to one by one."""

    def sizes(after: list[bool]) -> list[int]:
        ends = [at + 1 for at, here in enumerate(after) if here]
        return [end - start for start, end in zip([0, *ends], ends, strict=False)]

    return st.lists(st.booleans(), min_size=n, max_size=n).map(sizes)


def crowd(
    rng: Random, n: int, sources: tuple[Source, ...], types: Sequence[str], *, late: bool
) -> Case:
    """Many small worlds, told apart by their users, that arrive together: from a seed."""
    found = []
    for world in range(n):
        for e in seeded(rng, rng.choice((8, 16, 24)), types=types, user=f"{world}."):
            source, partition = rng.choice(lanes_for(e, sources))
            stray = late and rng.random() < 0.3
            delay = rng.randint(4, 22) if stray else rng.randint(0, source.max_disorder_ms)
            arrival = (e["event_ts"] + delay, rng.random(), dict(e), (source.name, partition))
            found += [arrival] * rng.choice((1, 1, 1, 2))
    arrived = [(e, lane) for _, _, e, lane in sorted(found, key=lambda f: f[:2])]
    sizes = [rng.randint(1, len(arrived) // 8) for _ in range(12)]
    return cut(Case(sources, arrived, []), sizes)


def of_user(case: Case, user: str) -> Case:
    """The same items with one user's events: what a shard sees."""
    steps = [
        [replace(i, events=tuple(e for e in i.events if e["user_id"] == user)) for i in items]
        for items in case.steps
    ]
    return replace(case, steps=steps)


def table(events: Iterable[Fact], *, in_order: bool = True) -> str:
    """Events as a small table, times as ms after ``T0``, empty columns left out."""
    lines = [""]
    for e in sorted(events, key=standing) if in_order else events:
        rest = {k: v for k, v in e.items() if v is not None}
        ts, name, kind, user = (
            rest.pop(k) for k in ("event_ts", "event_id", "event_type", "user_id")
        )
        said = " ".join(f"{k}={v}" for k, v in rest.items())
        lines.append(f"{ts - T0:>4} {name} {kind:<14} {user} {said}")
    return "\n".join(lines)
