"""What came too late for a stream, brought into the hours that it has left.

Always holds: of a settled hour the users with an event that its publication did not count are
evaluated again, from all that is archived up to a commit; the hour then says what a replay of it
would, and is noted as one: ``labeling verify`` counts those events in. An hour is healed once for
the same events.

Not promised: hours that the stream may still correct. They are healed once they are settled. Nor
hours before a rule's ``since``: those are replay's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from backfill.due import instant
from backfill.groups import groups
from backfill.late import late_asks
from backfill.record import Published, Record
from backfill.standing import Standing, kept_from_ms
from labeling.engine.keys import user_key
from labeling.engine.watermark import FOREVER, NEVER
from labeling.io.archive import Archive
from labeling.io.pruned import Pruned, Tally
from labeling.io.store import Store
from labeling.io.store.ownership import REPLAY, Stream, streams_of
from labeling.model.kinds import Rule
from labeling.model.table import table_of

_HOUR_MS: Final = 3_600_000
#: Hours of one transaction, if they follow one another.
_TOGETHER: Final = 24


@dataclass(frozen=True)
class Heal:
    """One repair of what a stream published. Times are epoch ms.

    Args:
        store: open; for writing, unless ``dry``.
        archive: where the files lie.
        rule: one that a stream publishes.
        through: events archived up to this commit are read.
        memory_bytes: what one part may need.
        keep_ms: how long the rule's rows are kept; None: all.
        dry: evaluate, and write nothing.
    """

    store: Store
    archive: Archive
    rule: Rule
    through: int
    memory_bytes: int
    keep_ms: int | None = None
    dry: bool = False

    def steps(self) -> Iterator[Published]:
        """Publish, one transaction after the other; each is told once it is committed.

        Raises:
            DataError: a file is missing or damaged; steps told before stay.
            StoreError: the store cannot be written; likewise.
        """
        hours = self._pending()
        if not hours:
            return
        tally = Tally()
        record = Record(self.store, self.rule, self.through, tally, dry=self.dry)
        reader = Pruned(self.archive, self.store.files(), self.through, tally)
        for some in _runs(hours):
            standing = Standing(NEVER, self.through, dict.fromkeys(some, FOREVER))
            asks = list(late_asks(self.rule, standing, self._places(some)))
            found = groups(self.rule, reader, asks, self.memory_bytes)
            yield record.publish(found, pl.lit("replay"), None, standing, NEVER, some)

    def _pending(self) -> list[int]:
        """Settled hours that an event reaches which their publication did not count."""
        stream = streams_of(self.store.query).by_rule.get(self.rule.key)
        if stream is None:
            return []
        healed = self._healed()
        kept = kept_from_ms(self.store, self.keep_ms)
        found: set[int] = set()
        for low, high, commit in self._too_late():
            first = (low - self.rule.looks_ahead_ms) // _HOUR_MS
            last = (high + self.rule.looks_back_ms) // _HOUR_MS
            hours = (h * _HOUR_MS for h in range(first, last + 1))
            found.update(h for h in hours if h >= kept and healed.get(h, 0) < commit)
        return sorted(h for h in found if _is_settled(stream, h))

    def _healed(self) -> Mapping[int, int]:
        """The start of an hour that was published with what came too late, to the commit read."""
        noted = self.store.hours(table_of(self.rule)).filter(
            pl.col("published_by") == REPLAY, "complete"
        )
        return dict(noted.select(pl.col("hour").dt.epoch("ms"), "archive_commit").iter_rows())

    def _too_late(self) -> Iterator[tuple[int, int, int]]:
        """For each hour the first and last event that came too late, and the latest commit."""
        return self.store.query(
            "SELECT min(epoch_ms(event_ts)), max(epoch_ms(event_ts)), max(commit) "
            f"FROM late_events WHERE {self._condition()} "
            f"GROUP BY epoch_ms(event_ts) // {_HOUR_MS} ORDER BY ALL"
        ).iter_rows()

    def _places(self, hours: Sequence[int]) -> pl.DataFrame:
        """Where the events are that came too late for some hours."""
        low = hours[0] - self.rule.looks_back_ms
        high = hours[-1] + _HOUR_MS + self.rule.looks_ahead_ms
        found = self.store.query(
            f"SELECT DISTINCT user_id, event_ts FROM late_events WHERE {self._condition()} "
            f"AND epoch_ms(event_ts) BETWEEN {low} AND {high} ORDER BY ALL"
        )
        return found.select(user_key(), "event_ts")

    def _condition(self) -> str:
        types = ", ".join("'" + t.replace("'", "''") + "'" for t in sorted(self.rule.event_types))
        return f"arrival = 'too_late' AND event_type IN ({types}) AND commit <= {self.through}"


def _is_settled(stream: Stream, hour_ms: int) -> bool:
    hour: datetime = instant(hour_ms)
    return stream.began(hour) and stream.settled(hour)


def _runs(hours: Sequence[int]) -> Iterator[list[int]]:
    """Neighbouring hours together, up to so many."""
    some: list[int] = []
    for hour in hours:
        if some and (hour != some[-1] + _HOUR_MS or len(some) == _TOGETHER):
            yield some
            some = []
        some.append(hour)
    yield some
