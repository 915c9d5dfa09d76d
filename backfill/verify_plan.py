"""Which hours can be compared, and which events count for each.

Always holds: every hour of the range is in exactly one place: compared, or left out with a reason.

Not promised: that a later plan is the same. Hours settle, and replays publish.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from backfill.blocks import HOUR, Block, FilesByTime, blocks_of, reach
from backfill.plan import hours_of
from labeling.engine.watermark import FOREVER
from labeling.io.store import Store
from labeling.io.store.ownership import REPLAY, STREAM, Stream, streams_of
from labeling.io.store.retention import first_day
from labeling.model.kinds import Rule
from labeling.model.table import RuleTable, table_of

#: Rows as stored, and the events with their arrival, are held beside what evaluating needs.
_SHARE = 2


@dataclass(frozen=True)
class Checked:
    """A block whose hours were published by one, from the same events.

    ``archive_commit``: what the replay had read; None for the stream. ``mark``: points before it
    were published, epoch ms.
    """

    block: Block
    archive_commit: int | None
    mark: int = FOREVER

    @property
    def published_by(self) -> str:
        """``stream`` or ``replay``."""
        return STREAM if self.archive_commit is None else REPLAY

    @property
    def counts(self) -> pl.Expr:
        """Which archived events its rows were made of."""
        if self.archive_commit is None:
            return pl.col("arrival") != "too_late"
        return pl.col("archived") <= self.archive_commit


@dataclass(frozen=True)
class Gap:
    """Records that had expired before they were read, and the hours whose rows may miss them."""

    place: str
    from_offset: int
    to_offset: int
    hours: tuple[datetime, ...]


@dataclass(frozen=True)
class VerifyPlan:
    """What will be compared of one rule.

    ``unsettled``: hours that the stream may still correct; ``unpublished``: hours that are neither
    the stream's nor published whole by a replay; ``dropped``: what retention has dropped.
    """

    rule: Rule
    table: RuleTable
    checked: tuple[Checked, ...]
    unsettled: tuple[datetime, ...]
    unpublished: tuple[datetime, ...]
    dropped: tuple[datetime, ...]
    gaps: tuple[Gap, ...]

    @property
    def events(self) -> int:
        """Estimated events to be read."""
        return sum(c.block.events for c in self.checked)

    @property
    def left_out(self) -> int:
        """How many hours are not compared."""
        return len(self.unsettled) + len(self.unpublished) + len(self.dropped)


def plan_verify(
    store: Store,
    rule: Rule,
    from_ts: datetime,
    to_ts: datetime,
    *,
    memory_bytes: int,
    keep_ms: int | None = None,
) -> VerifyPlan:
    """Lay out a verification.

    Args:
        store: open.
        rule: whose rows are compared.
        from_ts: first hour.
        to_ts: end, exclusive.
        memory_bytes: what one part of a block may need.
        keep_ms: how long the rule's rows are kept; None: all.

    Raises:
        DataError: the range is empty or not of full hours.
        StoreError: the rule has changed under its version.
    """
    table = table_of(rule)
    hours = hours_of(from_ts, to_ts)
    known = {row["hour"]: row for row in store.hours(table).iter_rows(named=True)}
    stream = streams_of(store.query).by_rule.get(rule.key)
    kept_from = _kept_from(store, keep_ms)
    found: dict[str | tuple[int, int], list[datetime]] = {}
    for hour in hours:
        what = _standing(stream, known.get(hour), hour)
        gone = hour not in known and kept_from is not None and hour < kept_from
        found.setdefault("dropped" if gone else what, []).append(hour)
    back, ahead = reach(rule)
    files = FilesByTime(store.files(from_ts - back, to_ts + ahead))
    checked = [
        Checked(block, None) if what == STREAM else Checked(block, *what)
        for what, these in found.items()
        if what == STREAM or isinstance(what, tuple)
        for block in blocks_of(rule, these, files, memory_bytes // _SHARE)
    ]
    checked.sort(key=lambda c: c.block.from_ts)
    compared = [hour for c in checked for hour in c.block.hours]
    return VerifyPlan(
        rule=rule,
        table=table,
        checked=tuple(checked),
        unsettled=tuple(found.get("unsettled", ())),
        unpublished=tuple(found.get("unpublished", ())),
        dropped=tuple(found.get("dropped", ())),
        gaps=tuple(_gaps(store, rule, compared)),
    )


def _standing(
    stream: Stream | None, noted: Mapping[str, Any] | None, hour: datetime
) -> str | tuple[int, int]:
    """Whose rows an hour has: the stream's, or a replay's, with its archive commit and mark."""
    if noted is not None and noted["complete"] and noted["published_by"] == REPLAY:
        through = noted["through_ts"]
        mark = FOREVER if through is None else int(through.timestamp() * 1000)
        return int(noted["archive_commit"]), mark
    if stream is None or not stream.began(hour):
        return "unpublished"
    return STREAM if stream.settled(hour) else "unsettled"


def _kept_from(store: Store, keep_ms: int | None) -> datetime | None:
    if keep_ms is None:
        return None
    newest = store.query("SELECT max(newest_ts) FROM commits").item()
    return None if newest is None else first_day(newest, keep_ms)


def _gaps(store: Store, rule: Rule, hours: Sequence[datetime]) -> Iterator[Gap]:
    """Gaps that the rows of some of the hours may feel."""
    back, ahead = reach(rule)
    low, high = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for row in store.query("FROM gaps ORDER BY ALL").iter_rows(named=True):
        first, last = row["from_ts"] or low, row["to_ts"] or high
        touched = tuple(h for h in hours if h - back <= last and h + HOUR + ahead > first)
        if touched:
            place = f"{row['source']} {row['cluster']}/{row['topic']}[{row['partition']}]"
            yield Gap(place, row["from_offset"], row["to_offset"], touched)
