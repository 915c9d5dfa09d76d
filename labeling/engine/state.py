"""What a shard remembers: the tail of the archive that can still matter.

Always holds: a state is a value; ``step`` returns another and leaves the old one as it was. It
holds the columns that rules read, of the event types that they read, and the identities of all
events.

Not promised: that only what matters is held. Older events go when a whole run of them can go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from labeling.engine.compile import selects
from labeling.engine.identity import Identities
from labeling.engine.keys import user_key
from labeling.engine.runs import Runs
from labeling.engine.watermark import NEVER, Watermarks
from labeling.model.event import TS
from labeling.model.rule import LabelRule


@dataclass(frozen=True)
class State:
    """Held events, pending anchors and identities, as of the watermarks of the last step.

    ``anchors`` has, by rule key, ``event_ts`` and ``user_key`` of candidates whose points may be
    ahead; ``marks`` the rules' ``F`` and ``lowest`` the lowest ``F`` of all sources, epoch ms.
    """

    lateness_ms: int
    since_ms: Mapping[str, int]
    events: Runs
    anchors: Mapping[str, Runs]
    seen: Identities
    marks: Mapping[str, int]
    lowest: int = NEVER

    @property
    def height(self) -> int:
        """How many events are held."""
        return self.events.height

    @property
    def nbytes(self) -> int:
        """Estimated bytes held: events, anchors and identities."""
        return self.events.nbytes + self.seen.nbytes + sum(a.nbytes for a in self.anchors.values())


def read_columns(rules: Sequence[LabelRule]) -> dict[str, pl.DataType]:
    """The columns that the rules read, with ``user_key`` first; the type as an Enum."""
    types = sorted(set().union(*(r.event_types for r in rules)))
    schema: dict[str, pl.DataType] = {"user_key": pl.UInt64()}
    for rule in rules:
        schema |= {c: rule.event_schema[c] for c in sorted(rule.event_columns)}
    return schema | {"event_type": pl.Enum(types)}


def start(rules: Sequence[LabelRule], *, lateness_ms: int, since_ms: Mapping[str, int]) -> State:
    """The state before the first event.

    Args:
        rules: what will be evaluated.
        lateness_ms: how far below ``F`` an event still corrects.
        since_ms: rule key to the first anchor time that the stream owns; all where a rule is not
            named.
    """
    schema = pl.Schema(read_columns(rules))
    pending = pl.Schema({"user_key": pl.UInt64(), "event_ts": TS})
    return State(
        lateness_ms=lateness_ms,
        since_ms=dict(since_ms),
        events=Runs(schema),
        anchors={r.key: Runs(pending) for r in rules},
        seen=Identities(),
        marks={r.key: NEVER for r in rules},
    )


def restore(
    rules: Sequence[LabelRule],
    archived: pl.DataFrame,
    watermarks: Watermarks,
    *,
    lateness_ms: int,
    since_ms: Mapping[str, int],
) -> State:
    """The state as of a commit, from the archive's tail.

    Args:
        rules: as for ``start``.
        archived: accepted events no older than any rule's ``F - lateness - reach`` and than the
            lowest source's ``F - lateness``, none marked too late; older ones do no harm.
        watermarks: as committed with them.
        lateness_ms: as for ``start``.
        since_ms: as for ``start``.
    """
    state = start(rules, lateness_ms=lateness_ms, since_ms=since_ms)
    keyed = archived.with_columns(user_key())
    seen, _ = state.seen.add(keyed)
    return settled(held(rules, state, keyed, seen), rules, watermarks)


def held(
    rules: Sequence[LabelRule], state: State, accepted: pl.DataFrame, seen: Identities
) -> State:
    """The state with more events, which carry ``user_key``."""
    schema = state.events.schema
    types = schema["event_type"]
    known = types.categories if isinstance(types, pl.Enum) else pl.Series([], dtype=pl.String)
    read = accepted.filter(pl.col("event_type").is_in(known.implode()))
    rows = read.select(pl.col(c).cast(t) for c, t in schema.items())
    anchors = {
        r.key: state.anchors[r.key].add(
            rows.filter(selects(r.anchor)).select("user_key", "event_ts")
        )
        for r in rules
    }
    return State(
        state.lateness_ms,
        state.since_ms,
        state.events.add(rows),
        anchors,
        seen,
        state.marks,
        state.lowest,
    )


def settled(state: State, rules: Sequence[LabelRule], watermarks: Watermarks) -> State:
    """The state after a step: what was too old before it is dropped, the marks move."""
    horizon = min(state.marks[r.key] - r.reach_ms for r in rules) - state.lateness_ms
    anchors = {
        r.key: state.anchors[r.key].drop_before(state.marks[r.key] - r.bound.longest_ms)
        for r in rules
    }
    return State(
        state.lateness_ms,
        state.since_ms,
        state.events.drop_before(horizon),
        anchors,
        state.seen.drop_before(state.lowest - state.lateness_ms),
        {r.key: watermarks.of_rule(r) for r in rules},
        watermarks.lowest_source,
    )
