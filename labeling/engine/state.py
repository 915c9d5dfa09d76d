"""What a shard remembers: the tail of the archive that can still matter.

Always holds: a state is a value; ``step`` returns another and leaves the old one as it was. It
holds the columns that rules read, of the event types that they read, and the identities of all
events. Only events that can be anchors have the columns that rows carry.

Not promised: that only what matters is held. Older events go when a whole chunk of them can go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from labeling.engine.evaluate import label_columns
from labeling.engine.identity import Identities
from labeling.engine.keys import match_key, user_key, with_hashes
from labeling.engine.log import Log, Numbers
from labeling.engine.runs import Entries, Keys, Runs, distinct
from labeling.engine.watermark import NEVER, Watermarks
from labeling.model.rule import LabelRule

#: A lane: match columns.
Lane = tuple[str, ...]
#: Where an entry's row stands: numbers of anchors are even, those of other events odd.
ANCHOR: Final = 0
OTHER: Final = 1


@dataclass(frozen=True)
class LaneIndex:
    """Where the events of equal lane columns stand, by ``match_key``, for all rules.

    ``labels`` has the events of the types that labels read in this lane, ``anchors`` those of
    the types that anchors have; one event may stand in both.
    """

    label_types: frozenset[str]
    anchor_types: frozenset[str]
    labels: Runs = field(default_factory=Runs)
    anchors: Runs = field(default_factory=Runs)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.labels.nbytes + self.anchors.nbytes

    def drop_before(self, low_ms: int) -> LaneIndex:
        """Without what is older altogether."""
        return replace(
            self, labels=self.labels.drop_before(low_ms), anchors=self.anchors.drop_before(low_ms)
        )

    def places(
        self, keys: Keys, low_ms: int, high_ms: int, *, alone: bool = False
    ) -> tuple[Numbers, Numbers]:
        """Where the events of the keys (sorted, distinct) of a span stand, ends inclusive.

        Anchors only of those keys that have events for labels, unless asked for ``alone``.
        """
        labels = self.labels.find(keys, low_ms, high_ms)
        wanted = keys if alone else distinct(labels.keys)
        return labels.rows, self.anchors.find(wanted, low_ms, high_ms).rows


@dataclass(frozen=True)
class State:
    """Held events, where to find them, and identities, as of the watermarks of the last step.

    ``anchors`` holds the events of types that anchors have, ``others`` the rest; ``marks`` the
    rules' ``F`` and ``lowest`` the lowest ``F`` of all sources, epoch ms.
    """

    lateness_ms: int
    since_ms: Mapping[str, int]
    anchors: Log
    others: Log
    lanes: Mapping[Lane, LaneIndex]
    seen: Identities
    marks: Mapping[str, int]
    lowest: int = NEVER

    @property
    def height(self) -> int:
        """How many events are held."""
        return self.anchors.height + self.others.height

    @property
    def nbytes(self) -> int:
        """Bytes of memory held: events, their index and identities."""
        index = sum(lane.nbytes for lane in self.lanes.values())
        return self.anchors.nbytes + self.others.nbytes + self.seen.nbytes + index

    def events(self, places: Numbers, columns: Sequence[str]) -> tuple[Numbers, pl.DataFrame]:
        """Events by place, each once, those of ``anchors`` first.

        Returns:
            The numbers of the first so many rows in ``anchors``, sorted; and the rows.
        """
        once = distinct(places)
        kinds = once % 2
        numbers = self.anchors.held(once[kinds == ANCHOR] // 2)
        anchors = self.anchors.take(numbers, columns)
        others = self.others.take(self.others.held(once[kinds == OTHER] // 2), columns)
        return numbers, pl.concat([anchors, others], rechunk=True)


def start(rules: Sequence[LabelRule], *, lateness_ms: int, since_ms: Mapping[str, int]) -> State:
    """The state before the first event.

    Args:
        rules: what will be evaluated.
        lateness_ms: how far below ``F`` an event still corrects.
        since_ms: rule key to the first anchor time that the stream owns; all where a rule is not
            named.
    """
    anchors, others = _schemas(rules)
    return State(
        lateness_ms=lateness_ms,
        since_ms=dict(since_ms),
        anchors=Log(anchors),
        others=Log(others),
        lanes={lane: _index(rules, lane) for rule in rules for lane in rule.lanes},
        seen=Identities(),
        marks={r.key: NEVER for r in rules},
    )


def restore(
    rules: Sequence[LabelRule],
    archived: Iterable[pl.DataFrame],
    watermarks: Watermarks,
    *,
    lateness_ms: int,
    since_ms: Mapping[str, int],
    older: Iterable[pl.DataFrame] = (),
) -> State:
    """The state as of a commit, from the archive's tail.

    Args:
        rules: as for ``start``.
        archived: accepted events, each once, in frames of any size: those no older than any rule's
            ``F - lateness - reach`` and than the lowest source's ``F - lateness``, none marked too
            late; older ones do no harm.
        watermarks: as committed with them.
        lateness_ms: as for ``start``.
        since_ms: as for ``start``.
        older: of these the ones below the lowest source's ``F - lateness``, where they are given
            apart: repeats of them are too late, so that ``event_columns`` of the rules suffice.
    """
    state = start(rules, lateness_ms=lateness_ms, since_ms=since_ms)
    for frame in older:
        state = held(state, frame, state.seen)
    for frame in archived:
        seen, _ = state.seen.add(frame.with_columns(user_key()))
        state = held(state, frame, seen)
    return settled(state, rules, watermarks)


def held(state: State, accepted: pl.DataFrame, seen: Identities) -> State:
    """The state with more events."""
    anchor_types = frozenset[str]().union(*(i.anchor_types for i in state.lanes.values()))
    kind = state.anchors.schema["event_type"]
    types = kind.categories.to_list() if isinstance(kind, pl.Enum) else []
    of_anchors = _read(accepted, sorted(anchor_types), state.anchors.schema)
    of_others = _read(accepted, sorted({*types} - anchor_types), state.others.schema)
    columns = list(dict.fromkeys(c for lane in state.lanes for c in lane))
    slim = pl.concat(
        [
            rows.select(
                "event_type",
                *columns,
                at=pl.col("event_ts").dt.epoch("ms"),
                place=(pl.int_range(pl.len(), dtype=pl.Int64) + log.end) * 2 + kind_of,
            )
            for kind_of, log, rows in (
                (ANCHOR, state.anchors, of_anchors),
                (OTHER, state.others, of_others),
            )
        ]
    )
    hashed = with_hashes(slim, columns)
    return replace(
        state,
        anchors=state.anchors.add(of_anchors),
        others=state.others.add(of_others),
        lanes={lane: _indexed(index, hashed, lane) for lane, index in state.lanes.items()},
        seen=seen,
    )


def _read(events: pl.DataFrame, types: Sequence[str], schema: pl.Schema) -> pl.DataFrame:
    """The events of some types, as a log holds them."""
    found = events.filter(pl.col("event_type").is_in(types))
    return found.select(pl.col(c).cast(t) for c, t in schema.items())


def _indexed(index: LaneIndex, hashed: pl.DataFrame, lane: Lane) -> LaneIndex:
    """With the events of a batch whose columns are all there."""
    kind = pl.col("event_type")
    keyed = hashed.select(
        "at",
        "place",
        key=match_key(lane, hashed=True),
        label=kind.is_in(sorted(index.label_types)),
        anchor=kind.is_in(sorted(index.anchor_types)),
    ).drop_nulls("key")
    places, at, key = (keyed[c].to_numpy() for c in ("place", "at", "key"))
    whole = Entries(key, at, places)
    return replace(
        index,
        labels=index.labels.add(whole.at(keyed["label"].to_numpy())),
        anchors=index.anchors.add(whole.at(keyed["anchor"].to_numpy())),
    )


def settled(state: State, rules: Sequence[LabelRule], watermarks: Watermarks) -> State:
    """The state after a step: what was too old before it is dropped, the marks move."""
    horizon = min(state.marks[r.key] - r.reach_ms for r in rules) - state.lateness_ms
    return replace(
        state,
        anchors=state.anchors.drop_before(horizon),
        others=state.others.drop_before(horizon),
        lanes={lane: index.drop_before(horizon) for lane, index in state.lanes.items()},
        seen=state.seen.drop_before(state.lowest - state.lateness_ms),
        marks={r.key: watermarks.of_rule(r) for r in rules},
        lowest=watermarks.lowest_source,
    )


def label_types(rule: LabelRule, lane: Lane) -> frozenset[str]:
    """The event types that the rule's labels read in a lane."""
    read = (e for m in rule.measures for e in m.events() if rule.lane(e) == lane)
    return frozenset(t for e in read for t in e.types)


def _index(rules: Sequence[LabelRule], lane: Lane) -> LaneIndex:
    within = [r for r in rules if lane in r.lanes]
    return LaneIndex(
        label_types=frozenset().union(*(label_types(r, lane) for r in within)),
        anchor_types=frozenset().union(*(r.anchor.types for r in within)),
    )


def _schemas(rules: Sequence[LabelRule]) -> tuple[pl.Schema, pl.Schema]:
    """What is held of anchors, and of other events; types as an Enum that says which are held."""
    types = set().union(*(r.event_types for r in rules))
    kind = pl.Enum(sorted(types))
    anchors: dict[str, pl.DataType] = {}
    others: dict[str, pl.DataType] = {}
    for rule in rules:
        anchors |= {c: rule.event_schema[c] for c in sorted(rule.event_columns)}
        others |= {c: rule.event_schema[c] for c in label_columns(rule)}
    return pl.Schema(anchors | {"event_type": kind}), pl.Schema(others | {"event_type": kind})
