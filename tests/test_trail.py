"""Trails of pages against the plain model of clause A8b, and worked out by hand.

Always holds: a page is written ``name`` or ``name<referrer``, ``-`` being a null name; expected
trails are the names in order.
"""

from __future__ import annotations

import time
from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.engine.attribution.trail import trails
from tests.model.assign import Fact
from tests.model.trail import trail_of
from tests.strategies import examples

COLUMNS = ("page_id", "referrer_page_id", "item_id", "session")
NAMES = (None, "a", "b", "c", "d")
#: Most pages log no referrer, and are of one session: the trail is long then.
PAGES = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from((None, None, *NAMES)),
    st.sampled_from((None, "i", "j")),
    st.sampled_from("sssst"),
)
#: An action, then its pages.
WORLDS = st.lists(st.lists(PAGES, min_size=1, max_size=24), min_size=1, max_size=4)


def page(text: str) -> Fact:
    """A page from its short form; its item is ``n`` for a page named ``note_n``."""
    name, _, referrer = text.partition("<")
    item = name.removeprefix("note_") if name.startswith("note_") else None
    values = (None if name == "-" else name, referrer or None, item, "s")
    return dict(zip(COLUMNS, values, strict=True))


def engine(worlds: list[list[Fact]]) -> list[list[int]]:
    """The places of the pages on the trail of each action, all actions in one frame."""
    rows = [e for world in worlds for e in world]
    heads = [sum(map(len, worlds[:n])) for n in range(len(worlds))]
    pairs = [(n, heads[n] + p) for n, world in enumerate(worlds) for p in range(1, len(world))]
    found = trails(
        pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String)),
        pl.DataFrame({"row": heads}, schema={"row": pl.UInt32}),
        pl.DataFrame(pairs, schema={"action": pl.UInt32, "row": pl.UInt32}, orient="row"),
    )
    return [
        [row - heads[n] for action, row in found.rows() if action == n] for n in range(len(worlds))
    ]


def model(world: list[Fact]) -> list[int]:
    """The same by the plain model."""
    action, *pages = world
    numbered = [e | {"place": n} for n, e in enumerate(pages, start=1)]
    return [
        e["place"]
        for e in trail_of(action, [e for e in numbered if e["session"] == action["session"]])
    ]


HAND = {
    "by time": ("home list note", "note", "home list note"),
    "by referrer, past what lies between": ("home ad note<home", "note", "home note"),
    "the latest with the referrer's name": ("a b<x a<b c<a", "c", "b a c"),
    "a referrer that is not there leads nowhere": ("home note<gone", "note", "note"),
    "its own name is no referrer": ("home list<list list<list", "list", "home list"),
    "staying": ("home home list list list", "list", "home list"),
    "back to the one before": ("home list note list", "list", "home list"),
    "back and on": ("home list note_1 list note_2", "note_2", "home list note_2"),
    "back past several": ("home list note author home tab", "tab", "home tab"),
    "what was left by going back is no longer there": (
        "home note home author note",
        "note",
        "home author note",
    ),
    "back to what is reached by referrer": ("home ad list<home note ad", "ad", "home list note ad"),
    "back to the latest of two on the trail": ("a b<a a<b c a", "a", "a b a"),
    "null is no page gone back to": ("a - b -", "", "a - b -"),
    "null may name what led to it": ("a b -<a c", "c", "a - c"),
    "the action's page, not the latest": ("home note_1 home note_2", "note_1", "home note_1"),
    "its latest visit": ("home note list<home note<list", "note", "home list note"),
    "its item, where it names no page": ("home note_1 home note_2", "!1", "home note_1"),
    "its item, where its page is not there": ("home note_1 tab", "gone!1", "home note_1"),
    "the latest page where nothing is named": ("home note_1 tab", "gone!2", "home note_1 tab"),
}


@pytest.mark.parametrize("name", HAND)
def test_worked_out_by_hand(name: str) -> None:
    """A8b, a sentence each; the action is written ``page!item``."""
    pages, said, expected = HAND[name]
    own, _, item = said.partition("!")
    action = dict(zip(COLUMNS, (own or None, None, item or None, "s"), strict=True))
    world = [action, *map(page, pages.split())]
    for places in (*engine([world]), model(world)):
        assert [world[p]["page_id"] or "-" for p in places] == expected.split()


@examples(150)
@given(WORLDS)
def test_any_pages(drawn: list[list[tuple[str | None, ...]]]) -> None:
    """Engine and model agree on all actions of a frame at once."""
    worlds = [[dict(zip(COLUMNS, e, strict=True)) for e in world] for world in drawn]
    assert engine(worlds) == [model(world) for world in worlds]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0], ids=["by time", "mixed", "by referrer"])
def test_long_sessions(share: float) -> None:
    """Hundreds of pages, over and over, agree too."""
    rng = Random(3)
    worlds = []
    for size in (400, 250, 1, 60):
        names = [f"p{rng.randrange(1 + size // 3)}" for _ in range(size)]
        told = [f"<{rng.choice(names)}" if rng.random() < share else "" for _ in names]
        worlds.append([page(f"{n}{r}") for n, r in zip(names, told, strict=True)])
    assert engine(worlds) == [model(world) for world in worlds]


def test_the_work_grows_with_the_pages() -> None:
    """Two deep trails in turn, each asked for a page that is on neither, thousands of times."""
    steps = [f"{t}{n}<{t}{n - 1} x" for n in range(1_000) for t in "ab"]
    world = [page("x"), *map(page, " ".join(steps).split())]
    began = time.process_time()
    (places,) = engine([world])
    assert time.process_time() - began < 10
    assert [world[p]["page_id"] for p in places] == [*(f"b{n}" for n in range(1_000)), "x"]
