"""What a shard remembers: the tail of the archive that can still matter.

Always holds: a state is a value; ``step`` returns another and leaves the old one as it was. It
holds the columns that rules read, of the event types that they read, and the identities of all
events. Only events that can be anchors have the columns that rows carry.

Not promised: that only what matters is held. Older events go when a whole chunk of them can go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from labeling.engine.holding import ANCHOR, by_lane, holdings, numbers_of, place_of, row_types
from labeling.engine.identity import Identities
from labeling.engine.index import GroupIndex, Lane, LaneIndex
from labeling.engine.keys import user_key, with_hashes
from labeling.engine.log import Log, Numbers
from labeling.engine.runs import distinct
from labeling.engine.watermark import NEVER, Watermarks
from labeling.model.kinds import Rule
from labeling.model.rule import LabelRule


@dataclass(frozen=True)
class State:
    """Held events, where to find them, and identities, as of the watermarks of the last step.

    ``logs`` are those of ``holding``, by their number in places, and ``types`` what each holds;
    ``marks`` are the rules' ``F`` and ``lowest`` the lowest ``F`` of all sources, epoch ms.
    """

    lateness_ms: int
    since_ms: Mapping[str, int]
    logs: tuple[Log, ...]
    types: tuple[frozenset[str], ...]
    lanes: Mapping[Lane, LaneIndex]
    groups: Mapping[Lane, GroupIndex]
    seen: Identities
    marks: Mapping[str, int]
    lowest: int = NEVER

    @property
    def anchors(self) -> Log:
        """The log of the types that anchors have."""
        return self.logs[ANCHOR]

    @property
    def height(self) -> int:
        """How many events are held."""
        return sum(log.height for log in self.logs)

    @property
    def nbytes(self) -> int:
        """Bytes of memory held: events, their index and identities."""
        lanes = sum(index.nbytes for index in self.lanes.values())
        groups = sum(index.nbytes for index in self.groups.values())
        return sum(log.nbytes for log in self.logs) + self.seen.nbytes + lanes + groups

    def events(self, places: Numbers, columns: Sequence[str]) -> tuple[Numbers, pl.DataFrame]:
        """Events by place, each once, those of ``anchors`` first.

        Returns:
            The numbers of the first so many rows in ``anchors``, sorted; and the rows. A column
            that is not held of an event is null.
        """
        once = distinct(places)
        numbers = self.anchors.held(numbers_of(once, ANCHOR))
        found = [self.anchors.take(numbers, columns)]
        for kind, log in enumerate(self.logs):
            mine = log.held(numbers_of(once, kind))
            if kind != ANCHOR and len(mine):
                found.append(log.take(mine, [c for c in columns if c in log.schema]))
        return numbers, pl.concat(found, how="diagonal", rechunk=True)


def start(rules: Sequence[Rule], *, lateness_ms: int, since_ms: Mapping[str, int]) -> State:
    """The state before the first event.

    Args:
        rules: what will be evaluated.
        lateness_ms: how far below ``F`` an event still corrects.
        since_ms: rule key to the first anchor time that the stream owns; all where a rule is not
            named.
    """
    holds = holdings(rules)
    in_lanes = [r for r in rules if by_lane(r)]
    grouped = [r for r in rules if not by_lane(r)]
    return State(
        lateness_ms=lateness_ms,
        since_ms=dict(since_ms),
        logs=tuple(Log(h.schema) for h in holds),
        types=tuple(h.types for h in holds),
        lanes={lane: _lane(in_lanes, lane) for rule in in_lanes for lane in rule.lanes},
        groups={rule.group: _group(grouped, rule.group) for rule in grouped},
        seen=Identities(),
        marks={r.key: NEVER for r in rules},
    )


def restore(
    rules: Sequence[Rule],
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
    columns = list(dict.fromkeys(c for by in (*state.lanes, *state.groups) for c in by))
    logs, slim = list(state.logs), []
    for kind, (types, log) in enumerate(zip(state.types, state.logs, strict=True)):
        if types:
            rows = _read(accepted, types, log.schema)
            slim.append(_slim(rows, columns, log.end, kind))
            logs[kind] = log.add(rows)
    if not slim:  # no rule is hot: the flow archives, and knows repeats
        return replace(state, seen=seen)
    hashed = with_hashes(pl.concat(slim), columns)
    return replace(
        state,
        logs=tuple(logs),
        lanes={lane: index.add(hashed, lane) for lane, index in state.lanes.items()},
        groups={group: index.add(hashed, group) for group, index in state.groups.items()},
        seen=seen,
    )


def _slim(rows: pl.DataFrame, columns: Sequence[str], first: int, kind: int) -> pl.DataFrame:
    """What an index is made of: type, time, place, and columns, null where they are not held."""
    return rows.select(
        "event_type",
        *(c if c in rows.columns else pl.lit(None, pl.String).alias(c) for c in columns),
        at=pl.col("event_ts").dt.epoch("ms"),
        place=place_of(pl.int_range(pl.len(), dtype=pl.Int64) + first, kind),
    )


def _read(events: pl.DataFrame, types: frozenset[str], schema: pl.Schema) -> pl.DataFrame:
    """The events of some types, as a log holds them."""
    found = events.filter(pl.col("event_type").is_in(sorted(types)))
    return found.select(pl.col(c).cast(t) for c, t in schema.items())


def settled(state: State, rules: Sequence[Rule], watermarks: Watermarks) -> State:
    """The state after a step: what was too old before it is dropped, the marks move."""

    def horizon(read: Iterable[Rule]) -> int:
        """The time before which events cannot matter to those who read them."""
        return (
            min((state.marks[r.key] - r.reach_ms for r in read), default=NEVER) - state.lateness_ms
        )

    return replace(
        state,
        logs=tuple(
            log.drop_before(horizon(r for r in rules if r.event_types & types))
            for types, log in zip(state.types, state.logs, strict=True)
        ),
        lanes={
            lane: index.drop_before(horizon(r for r in rules if by_lane(r) and lane in r.lanes))
            for lane, index in state.lanes.items()
        },
        groups={
            group: index.drop_before(
                horizon(r for r in rules if not by_lane(r) and r.group == group)
            )
            for group, index in state.groups.items()
        },
        seen=state.seen.drop_before(state.lowest - state.lateness_ms),
        marks={r.key: watermarks.of_rule(r) for r in rules},
        lowest=watermarks.lowest_source,
    )


def label_types(rule: LabelRule, lane: Lane) -> frozenset[str]:
    """The event types that the rule's labels read in a lane."""
    read = (e for m in rule.measures for e in m.events() if rule.lane(e) == lane)
    return frozenset(t for e in read for t in e.types)


def _lane(rules: Sequence[LabelRule], lane: Lane) -> LaneIndex:
    within = [r for r in rules if lane in r.lanes]
    return LaneIndex(
        label_types=frozenset().union(*(label_types(r, lane) for r in within)),
        anchor_types=frozenset().union(*(row_types(r) for r in within)),
    )


def _group(rules: Sequence[Rule], group: Lane) -> GroupIndex:
    within = [r for r in rules if r.group == group]
    return GroupIndex(frozenset().union(*(r.event_types for r in within)))
