"""One shard of the flow: its users' memory, watermarks and positions.

Always holds: what a step made is one ``Result``, which says which records it covers; records that
the shard has taken in already are passed over, so that a partition read again from the lowest
position of any shard doubles nothing; every event of a part comes out in exactly one count.

Not promised: that anything is kept. A shard forgets; the store and the archive remember.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from labeling.engine.identity import Outcomes
from labeling.engine.keys import user_key
from labeling.engine.step import Out, State, step
from labeling.engine.watermark import NEVER, Item, Watermarks
from labeling.io.archive import archive_schema
from labeling.io.store import Counts
from labeling.io.store.columns import POSITION
from labeling.live.features import Lane
from labeling.live.items import Missed, Part, Place, Position, Result
from labeling.model.event import IDENTITY, TS, event_schema
from labeling.model.kinds import Rule
from labeling.model.reject import DECODED_ORIGIN

#: Stands for all sources of events.
_EVENTS: Final = ""
_OUTCOMES: Final[Mapping[str, Callable[[Out | Outcomes], pl.DataFrame]]] = {
    "too_late": lambda out: out.too_late,
    "duplicate": lambda out: out.duplicates,
    "accepted": lambda out: out.accepted,
}
_LATE: Final = (*IDENTITY, "event_type", *POSITION, "arrival", "watermark_ts")


@dataclass
class Shard:
    """A shard as of its last step.

    Args:
        number: from 0.
        run: the run of the flow.
        rules: what is evaluated.
        columns: the declared columns, as in ``[columns]``.
        lateness_ms: how far below ``F`` an event still corrects.
        state: from ``start`` or ``restore``.
        watermarks: as of ``state``.
        positions: as committed.
        features: the sources of features, by name.
    """

    number: int
    run: int
    rules: Sequence[Rule]
    columns: Mapping[str, str]
    lateness_ms: int
    state: State
    watermarks: Watermarks
    positions: dict[Place, Position]
    features: dict[str, Lane] = field(default_factory=dict)

    def take(self, parts: Sequence[Part]) -> Result:
        """Step over the parts, in their order."""
        counted = [self._beyond(part) for part in parts]
        gaps = list[Missed]()
        judged: dict[str, list[pl.DataFrame]] = {}
        for part in counted:
            gaps += self._missed(part)
            source = part.batch.place.source
            lane = source if source in self.features else _EVENTS
            judged.setdefault(lane, []).append(self._judged(part))
        events = judged.pop(_EVENTS, None) or [_no_events(self.columns)]
        self.state, out = step(self.rules, self.state, pl.concat(events), self.watermarks)
        came = {source: self.features[source].take(frames) for source, frames in judged.items()}
        for one in self.features.values():
            one.forget(self.watermarks, self.lateness_ms)
        return self._result(counted, out, came, gaps)

    def _beyond(self, part: Part) -> Part:
        """The part without the records that are in the store already."""
        known = self.positions.get(part.batch.place)
        batch = part.batch
        if known is None or known.next_offset <= batch.from_offset:
            return part
        fresh = pl.col("offset") >= known.next_offset
        trimmed = replace(
            batch,
            from_offset=known.next_offset,
            next_offset=max(known.next_offset, batch.next_offset),
            rejects=batch.rejects.filter(fresh),
            offsets=batch.offsets.filter(batch.offsets >= known.next_offset),
            gap=None,
        )
        return Part(part.shard, trimmed, part.events.filter(fresh))

    def _judged(self, part: Part) -> pl.DataFrame:
        """The part's events with ``arrival`` and ``watermark_ts``; the watermarks move."""
        batch = part.batch
        source = batch.place.source
        self.watermarks = self.watermarks.with_partitions(source, batch.partitions)
        before = self.watermarks.of_source(source)
        item = Item(source, batch.place.name, part.events, batch.max_ts_ms, idle=batch.idle)
        self.watermarks, judged = self.watermarks.judge(item, self.lateness_ms)
        self.positions[batch.place] = Position(
            batch.next_offset,
            self.watermarks.marks[source, batch.place.name],
            batch.idle,
            batch.topic_id,
        )
        mark = pl.lit(before if before > NEVER else None, dtype=pl.Int64).cast(TS)
        return judged.with_columns(watermark_ts=mark)

    def _missed(self, part: Part) -> list[Missed]:
        """The gap before a part."""
        batch = part.batch
        if batch.gap is None:
            return []
        known = self.positions.get(batch.place)
        mark = None if known is None or known.mark_ms == NEVER else known.mark_ms
        return [Missed(batch.place, batch.gap, mark, batch.min_ts_ms)]

    def _result(
        self,
        parts: Sequence[Part],
        out: Out,
        features: Mapping[str, Outcomes],
        gaps: Sequence[Missed],
    ) -> Result:
        archived = pl.concat([out.accepted, out.too_late])
        every: list[Out | Outcomes] = [out, *features.values()]
        schema = archive_schema(self.columns)
        marks = self.watermarks
        oldest = [p.batch.oldest_ms for p in parts if p.batch.oldest_ms is not None]
        return Result(
            run=self.run,
            shard=self.number,
            rows=out.rows,
            archived=archived.with_columns(user_key(), archived=pl.lit(None, pl.Int64)).select(
                list(schema)
            ),
            late=pl.concat([_late(each) for each in every]),
            conflicts=pl.concat([_conflicts(each.duplicates) for each in every]),
            rejects=pl.concat([p.batch.rejects for p in parts]),
            counts=tuple(_counts(parts, every)),
            positions={p.batch.place: self.positions[p.batch.place] for p in parts},
            passed={
                **{("source", name): f for name, f in marks.sources.items()},
                **{("rule", key): f for key, f in marks.rules.items()},
            },
            features={s: self.features[s].archived(came) for s, came in features.items()},
            gaps=tuple(gaps),
            held=self.state.height,
            held_bytes=self.state.nbytes,
            oldest_ms=min(oldest, default=None),
        )


def _no_events(columns: Mapping[str, str]) -> pl.DataFrame:
    """Judged events where there are none."""
    schema = {**event_schema(columns), **DECODED_ORIGIN, "arrival": pl.String(), "watermark_ts": TS}
    return pl.DataFrame(schema=schema)


def _late(out: Out | Outcomes) -> pl.DataFrame:
    """Rows of ``late_events``."""
    return pl.concat(
        [
            f.filter(pl.col("arrival") != "on_time").select(_LATE)
            for f in (out.accepted, out.too_late)
        ]
    )


def _conflicts(duplicates: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``conflicts``; which event stays is known by its hash alone, not by its position."""
    clashing = duplicates.filter("conflict")
    return clashing.select(*IDENTITY, *(pl.col(c).alias(f"dropped_{c}") for c in POSITION))


def _counts(parts: Sequence[Part], outs: Sequence[Out | Outcomes]) -> list[Counts]:
    """Law 5, by source."""
    outcomes = {name: _by_source([frame(out) for out in outs]) for name, frame in _OUTCOMES.items()}
    counts = []
    for source in sorted({p.batch.place.source for p in parts}):
        mine = [p for p in parts if p.batch.place.source == source]
        records = sum(p.batch.offsets.len() for p in mine)
        rejected = sum(p.batch.rejects.height for p in mine)
        events = rejected + sum(p.events.height for p in mine)
        if records or events:
            numbers = {name: found.get(source, 0) for name, found in outcomes.items()}
            counts.append(Counts(source, records, events, rejected, **numbers))
    return counts


def _by_source(frames: Sequence[pl.DataFrame]) -> dict[str, int]:
    sources = pl.concat([frame.select("source") for frame in frames])
    return dict(sources.group_by("source").len().iter_rows())
