"""Rows of cold rules, made from the archive for just the users who need it.

Always holds: every point between a rule's committed watermark and the new one is evaluated, in
order, of the events archived up to one commit; before that, what came late is set right. Rows, the
new watermark and the commit that was read are one transaction, so that a repair which is killed at
any instant has done a step whole or not at all, and the next one goes on there. Where nothing came
late, the changes of a row do not depend on when repairs ran.

Not promised: a change for each late event. Those that came between two repairs make one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final

import numpy as np
import polars as pl

from backfill.due import Trigger, instant, reasons, triggers
from backfill.groups import Ask, groups
from backfill.late import late_asks
from backfill.record import Published, Record
from backfill.standing import Standing
from labeling.engine.watermark import NEVER
from labeling.io.archive import Archive, ArchiveFile
from labeling.io.pruned import Pruned, Tally
from labeling.io.store import Store
from labeling.model.kinds import Rule

_HOUR_MS: Final = 3_600_000
#: Memory for the key of an event that may bring a point about.
_KEY_BYTES: Final = 100
#: A transaction covers at most so many hours of points.
_MOST_HOURS: Final = 24


@dataclass(frozen=True)
class Repair:
    """One repair of a cold rule, from where the last one ended. Times are epoch ms.

    Args:
        store: open; for writing, unless ``dry``.
        archive: where the files lie.
        rule: the rule.
        standing: how far it is published.
        mark_ms: its ``F``, read before ``through``.
        through: events archived up to this commit are read.
        memory_bytes: what one part may need.
        dry: evaluate, and write nothing.
    """

    store: Store
    archive: Archive
    rule: Rule
    standing: Standing
    mark_ms: int
    through: int
    memory_bytes: int
    dry: bool = False
    tally: Tally = field(default_factory=Tally)

    def steps(self) -> Iterator[Published]:
        """Publish, one transaction after the other; each is told once it is committed.

        Raises:
            DataError: a file is missing or damaged; steps told before stay.
            StoreError: the store cannot be written; likewise.
        """
        if not self._files:
            return
        record = Record(self.store, self.rule, self.through, self.tally, dry=self.dry)
        known = self.standing
        if asks := list(late_asks(self.rule, known, self._late())):
            found = groups(self.rule, self._reader, asks, self.memory_bytes)
            yield record.publish(found, pl.lit("late"), known.f_ms, known, known.f_ms)
        for low, high in self._ranges():
            passed = self.mark_ms if high == self._last_ms else high
            asks = list(self._due(low, high))
            yield record.publish(
                groups(self.rule, self._reader, asks, self.memory_bytes),
                reasons(self.rule),
                passed,
                known,
                passed,
                self._closed(known.f_ms if low == self._first_due_ms else low, passed),
            )

    # ---- what is read ---------------------------------------------------------------------------

    @cached_property
    def _files(self) -> Sequence[ArchiveFile]:
        return self.store.files()

    @cached_property
    def _reader(self) -> Pruned:
        return Pruned(self.archive, self._files, self.through, self.tally)

    @cached_property
    def _first_ms(self) -> int:
        return int(min(f.min_ts for f in self._files).timestamp() * 1000)

    @cached_property
    def _newest_ms(self) -> int:
        return int(max(f.max_ts for f in self._files).timestamp() * 1000)

    def _late(self) -> pl.DataFrame:
        """Where the events are that were archived since the last repair, and may reach a row."""
        known = self.standing
        ahead = known.end_ms + self.rule.looks_ahead_ms if known.further else known.f_ms
        end = min(max(known.f_ms, ahead), self._newest_ms + 1)
        end = max(self._first_ms, end)
        return self._reader.places(
            self.rule.event_types,
            instant(self._first_ms),
            instant(end),
            after=known.archive_commit,
        )

    def _due(self, low: int, high: int) -> Iterator[Ask]:
        """The points of ``[low, high)``."""
        for trigger in triggers(self.rule, low, high):
            places = self._reader.places(
                trigger.types, instant(trigger.from_ms), instant(trigger.to_ms)
            )
            yield Ask(
                users=places["user_key"].unique().sort().to_numpy(),
                from_ms=trigger.anchors_from_ms - self.rule.looks_back_ms,
                to_ms=high,
                chosen=partial(due, self.standing, trigger, low, high),
            )

    # ---- in which steps -------------------------------------------------------------------------

    @cached_property
    def _first_due_ms(self) -> int:
        return max(self._first_ms, self.standing.f_ms)

    @cached_property
    def _last_ms(self) -> int:
        """No event that there is has a point from here on that is passed."""
        return min(self.mark_ms, self._newest_ms + self.rule.looks_ahead_ms + 1)

    def _ranges(self) -> Iterator[tuple[int, int]]:
        """The points to be published, in ranges of hours that can be looked for at once."""
        limit = self.memory_bytes // _KEY_BYTES
        low, last = self._first_due_ms, self._last_ms
        if self._newest_ms < self.standing.all_before_ms:
            return
        while low < last:
            high = min(last, (low // _HOUR_MS + 1) * _HOUR_MS)
            while high < min(last, low + _MOST_HOURS * _HOUR_MS):
                more = min(last, high + _HOUR_MS)
                if self._estimated(low, more) > limit:
                    break
                high = more
            yield low, high
            low = high

    @cached_property
    def _spread(self) -> Spread:
        return Spread(self._files)

    def _estimated(self, low: int, high: int) -> int:
        """About how many events there are where points of a range are looked for."""
        meant = triggers(self.rule, low, high)
        return sum(self._spread.between(t.from_ms, t.to_ms) for t in meant)

    def _closed(self, before: int, passed: int) -> list[int]:
        """The hours that a step makes complete."""
        done = self.rule.window_ms + _HOUR_MS
        first = max(self._first_ms // _HOUR_MS * _HOUR_MS, self.standing.all_before_ms)
        if before > NEVER:
            first = max(first, -(-(before - done) // _HOUR_MS) * _HOUR_MS)
        last = min(self._newest_ms, passed - done - 1)
        return [h for h in range(first, last + 1, _HOUR_MS) if h not in self.standing.further]


def due(
    standing: Standing, trigger: Trigger, low_ms: int, high_ms: int, points: pl.DataFrame
) -> pl.DataFrame:
    """Of the points of a trigger's anchors those of a range that are not published."""
    at, point = (pl.col(c).dt.epoch("ms") for c in ("event_ts", "point_ts"))
    meant = points.filter(
        at.is_between(trigger.anchors_from_ms, trigger.anchors_to_ms, closed="left"),
        point.is_between(low_ms, high_ms, closed="left"),
    )
    if trigger.point is not None:
        meant = meant.filter(pl.col("point") == trigger.point)
    return standing.through(meant).filter(point >= pl.col("through")).drop("through")


class Spread:
    """About how many events files have in a range of time; asked for each hour there is.

    Args:
        files: whose events are taken to be spread evenly from their first to their last.
    """

    def __init__(self, files: Sequence[ArchiveFile]) -> None:
        spans = [(f.min_ts.timestamp(), f.max_ts.timestamp(), f.rows) for f in files]
        low, high, rows = np.array(spans, dtype=np.float64).reshape(-1, 3).T
        self._low, self._end, self._rows = low * 1000, high * 1000 + 1, rows

    def between(self, from_ms: int, to_ms: int) -> int:
        """Of ``[from_ms, to_ms)``."""
        inside = np.minimum(self._end, to_ms) - np.maximum(self._low, from_ms)
        return int((self._rows * np.maximum(inside, 0) / (self._end - self._low)).sum())
