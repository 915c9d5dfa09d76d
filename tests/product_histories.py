"""Random histories of rows for the tests of products: publications as a store takes them in.

Always holds: each publication is one that follows from those before it: revisions count up, a row
is updated or retracted only while it is there, and what it said stands in ``old``. The points of a
row never go back.

Not promised: that a rule would make such rows. Products look at rows alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from hypothesis import strategies as st

from labeling import Event, LabelRule, Rollup, count, happened, rows, sum_of, total
from labeling.config import Config, load_config
from labeling.config.rules import Tree
from labeling.io.store import Commit, Store
from labeling.io.store.listener import Listener, Several
from labeling.model.event import TS
from labeling.model.table import table_of
from labeling.products.attach import listeners
from tests.store_shapes import T0

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEN: Final = LabelRule(
    name="seen",
    anchor=Event("impression"),
    match=("user_id", "item_id"),
    window="30m",
    early=("1m", "10m"),
    carry=("scene", "experiments", "position"),
    labels={
        "clicked": happened("click"),
        "liked": happened("like"),
        "clicks": count("click"),
        "paid": sum_of("order", "value"),
    },
    money=("paid",),
)
SEEN_HOURLY: Final = Rollup(
    name="seen_hourly",
    of=SEEN,
    by=("scene", "experiments", "clicked"),
    sums={
        "shown": rows(),
        "liked": total("liked"),
        "clicks": total("clicks"),
        "paid": total("paid"),
        "liked_first": rows(pl.col("liked") & (pl.col("position") == 0)),
    },
)
TREE: Final = Tree((SEEN,), (), (SEEN_HOURLY,))
TABLE: Final = table_of(SEEN)
#: When rows change, after their anchors: at the rule's points, in ms.
POINTS: Final = (60_000, 600_000, 1_800_000)
LABELS: Final = ("clicked", "liked")
Values = dict[str, Any]
Key = tuple[str, datetime, str]

#: Few keys, so that histories grow long; over three hours, two of them on the hour itself.
KEYS: Final[tuple[Key, ...]] = tuple(
    (user, T0 + timedelta(minutes=minutes), f"{user}{minutes}")
    for minutes in (0, 59, 60, 130)
    for user in ("ann", "bob")
)
VALUES: Final = st.fixed_dictionaries(
    {
        "scene": st.sampled_from(["feed", "search", None]),
        "experiments": st.sampled_from([None, [], ["x"], ["x", "y"], ["y", "x", "y"], [None]]),
        "position": st.sampled_from([0, 1, None]),
        "clicked": st.sampled_from([True, False, None]),
        "liked": st.booleans(),
        "clicks": st.integers(0, 3),
        "paid": st.sampled_from([None, 0, -1_500_000, 7]),
    }
)


@dataclass(frozen=True)
class Change:
    """One change of a row; ``place`` is that of its point in ``POINTS``."""

    key: Key
    revision: int
    kind: str
    place: int
    old: Values | None
    new: Values | None
    reason: str = "point"


@dataclass
class Past:
    """What was published so far, each key's changes in order."""

    changes: dict[Key, list[Change]] = field(default_factory=dict)

    def there(self) -> dict[Key, Values]:
        """Current rows."""
        last = {key: changes[-1].new for key, changes in self.changes.items()}
        return {key: new for key, new in last.items() if new is not None}

    def take(self, changes: list[Change]) -> None:
        """Take in changes."""
        for change in changes:
            self.changes.setdefault(change.key, []).append(change)


@st.composite
def next_change(draw: st.DrawFn, key: Key, before: list[Change]) -> Change:
    """What may happen next to a key."""
    last = before[-1] if before else None
    old, new = last.new if last else None, draw(VALUES)
    least = last.place if last else 0
    place = draw(st.integers(least, len(POINTS) - 1))
    revision = len(before) + 1
    if old is None:
        return Change(key, revision, "insert", place, None, new)
    if draw(st.booleans()):
        return Change(key, revision, "update", place, old, new)
    # A replay takes rows back without a word on when.
    reason = draw(st.sampled_from(["late", "replay"]))
    at = len(POINTS) - 1 if reason == "replay" else place
    return Change(key, revision, "retract", at, old, None, reason)


@st.composite
def publication(draw: st.DrawFn, past: Past, *, first: bool) -> list[Change]:
    """Changes of some keys, which are taken into ``past``; ``first``: of keys never published."""
    keys = [key for key in KEYS if not (first and key in past.changes)]
    made: list[Change] = []
    for key in draw(st.lists(st.sampled_from(keys), unique=True)) if keys else []:
        for _ in range(draw(st.integers(1, 3))):
            change = draw(next_change(key, past.changes.get(key, [])))
            past.take([change])
            made.append(change)
    return draw(st.permutations(made))


def frame(changes: list[Change]) -> pl.DataFrame:
    """Changes as ``labeling.engine.changes`` returns them."""
    struct = pl.Struct(dict(TABLE.values))
    return pl.DataFrame(
        [
            (*c.key, c.revision, c.kind, c.reason, _point(c), c.old, c.new) for c in changes
        ],
        schema={
            **TABLE.key,
            "revision": pl.Int32(),
            "kind": pl.String(),
            "reason": pl.String(),
            "point_ts": TS,
            "old": struct,
            "new": struct,
        },
        orient="row",
    )  # fmt: skip


def _point(change: Change) -> datetime:
    # What a replay takes back, it says, was never there.
    back = change.kind == "retract" and change.reason == "replay"
    return change.key[1] + timedelta(milliseconds=0 if back else POINTS[change.place])


def publish(commit: Commit, changes: list[Change]) -> None:
    """Publish changes."""
    commit.publish(TABLE, frame(changes))


def publish_first(commit: Commit, changes: list[Change], *, timed: bool) -> None:
    """The same as a first publication; ``timed``: with the points of rows, as a stream knows."""
    last = {c.key: c for c in sorted(changes, key=lambda c: c.revision)}
    there = [c for c in last.values() if c.new is not None]
    columns = frame(there)
    told = columns.select(*TABLE.keys, "revision", pl.col("new").struct.unnest(), "point_ts")
    commit.publish_first(
        TABLE,
        told if timed else told.drop("point_ts"),
        frame([c for c in changes if c.kind != "insert"]),
    )


class LostError(Exception):
    """What ends a transaction of ``lose``."""


def lose(store: Store, changes: list[Change]) -> None:
    """A transaction that publishes, and fails."""
    with suppress(LostError), store.commit("lost") as commit:
        publish_first(commit, changes, timed=False)
        raise LostError


def config_of(folder: Path) -> Config:
    """The least configuration."""
    path = folder / "labeling.toml"
    path.write_text("rules = 'none:RULES'\n[[source]]\nname = 'app'\nfiles = '*.jsonl'\n")
    return load_config(path)


@contextmanager
def kept(
    path: Path, config: Config, tree: Tree = TREE, only: type[Listener] | None = None
) -> Iterator[Store]:
    """A store that products are made in, and whose file is gone afterwards."""
    try:
        with Store.open(path) as store:
            attach(store, config, tree, only)
            yield store
    finally:
        path.unlink(missing_ok=True)


def attach(
    store: Store, config: Config, tree: Tree = TREE, only: type[Listener] | None = None
) -> None:
    """Make products of what is published from here on: all of them, or those of one listener."""
    each = listeners(config, tree, lambda *_: None)
    store.listener = Several([one for one in each if only is None or isinstance(one, only)])


def hour_of(at: datetime) -> datetime:
    """The start of an hour."""
    return at.replace(minute=0, second=0, microsecond=0)


def summed(there: Mapping[Key, Values]) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """``SEEN_HOURLY`` in plain Python: (hour, scene, experiment, clicked) to its sums."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for (_, at, _), row in there.items():
        adds = (
            1,
            int(row["liked"]),
            row["clicks"],
            row["paid"] or 0,
            int(row["liked"] and row["position"] == 0),
        )
        for experiment in {*(row["experiments"] or [None])}:
            group = (hour_of(at), row["scene"], experiment, row["clicked"])
            mine = sums.setdefault(group, [0] * len(adds))
            for place, more in enumerate(adds):
                mine[place] += more
    return {group: tuple(mine) for group, mine in sums.items() if any(mine)}


def known_at(past: Past) -> dict[tuple[Any, ...], tuple[int, int]]:
    """``health_counts`` by looking up what each row said at each delay: (rows, positives)."""
    counts: dict[tuple[Any, ...], list[int]] = {}
    for (_, at, _), changes in past.changes.items():
        for place, delay in enumerate((*POINTS, None)):
            said = [c.new for c in changes if c.place <= place]
            if not said or said[-1] is None:
                continue
            for label in LABELS:
                mine = counts.setdefault((hour_of(at), label, delay), [0, 0])
                mine[0] += 1
                mine[1] += bool(said[-1][label])
    return {group: (mine[0], mine[1]) for group, mine in counts.items()}
