"""What of a rule is published, hour by hour, as a repair finds it.

Always holds: points before ``through`` of their anchor's hour are published, from all events
archived up to ``archive_commit``; no later point is. An hour that somebody else published may be
further than the others.

Not promised: hours that retention has dropped. Their anchors are left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from labeling.config.features import carries
from labeling.config.source import SourceConfig
from labeling.engine.watermark import FOREVER, NEVER
from labeling.io.store import Store
from labeling.io.store.ownership import REPLAY, streams_of
from labeling.io.store.repairs import repaired_of
from labeling.io.store.retention import first_day
from labeling.model.kinds import Rule
from labeling.model.table import table_of

_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True)
class Standing:
    """How far a rule is published. Times are epoch ms.

    ``f_ms``: points before it; ``further``: start of an hour to what is published of it, where
    that is more; ``all_before_ms``: of hours before it everything is, since imports declared to be
    all there is; ``kept_ms``: anchors before it are retention's.
    """

    f_ms: int
    archive_commit: int
    further: Mapping[int, int]
    kept_ms: int = NEVER
    all_before_ms: int = NEVER

    def through(self, points: pl.DataFrame) -> pl.DataFrame:
        """The points of anchors that are kept, with ``through`` (Int64) of their hours."""
        hours = pl.DataFrame(
            {"hour": list(self.further), "through": list(self.further.values())},
            schema={"hour": pl.Int64(), "through": pl.Int64()},
        )
        at = pl.col("event_ts").dt.epoch("ms")
        kept = points.filter(at >= self.kept_ms).with_columns(hour=at // _HOUR_MS * _HOUR_MS)
        found = kept.join(hours, on="hour", how="left", maintain_order="left")
        whole = pl.when(pl.col("hour") < self.all_before_ms).then(FOREVER).otherwise(self.f_ms)
        return found.with_columns(pl.col("through").fill_null(whole)).drop("hour")

    def through_of(self, hour: int) -> int:
        """What is published of an hour."""
        whole = FOREVER if hour < self.all_before_ms else self.f_ms
        return self.further.get(hour, whole)

    @property
    def end_ms(self) -> int:
        """No anchor from here on has more published than points before ``f_ms``."""
        return max([self.all_before_ms, *(hour + _HOUR_MS for hour in self.further)], default=NEVER)


def standing_of(store: Store, rule: Rule, mark_ms: int, keep_ms: int | None) -> Standing:
    """How far a cold rule is published.

    Args:
        store: open.
        rule: a cold one; what a stream published of it once counts.
        mark_ms: ``F`` of the rule now, epoch ms. Where more was declared complete before a stream
            began, it is ``F`` that counts.
        keep_ms: how long its rows are kept; None: all.
    """
    repaired = repaired_of(store.query).get(rule.key)
    stream = streams_of(store.query).by_rule.get(rule.key)
    hours = store.hours(table_of(rule))
    if repaired is not None and repaired.f_ms is not None:
        f_ms, commit = repaired.f_ms, repaired.archive_commit
    else:
        f_ms = NEVER if stream is None else stream.f_ms
        commit = _read_by_all(hours, streamed=stream is not None)
    done = hours.filter("complete")["hour"].max()
    all_before = NEVER
    if f_ms >= FOREVER and isinstance(done, datetime):
        all_before = f_ms = _ms(done) + _HOUR_MS
    f_ms = min(f_ms, mark_ms)
    further = {}
    for hour, complete, through in hours.select("hour", "complete", "through_ts").iter_rows():
        told = _ms(through) if through is not None else FOREVER if complete else NEVER
        if told > f_ms:
            further[_ms(hour)] = told
    return Standing(f_ms, commit, further, kept_from_ms(store, keep_ms), all_before)


def _read_by_all(hours: pl.DataFrame, *, streamed: bool) -> int:
    """Events archived up to here are in all hours that somebody published before any repair."""
    if streamed or hours.filter(pl.col("published_by") != REPLAY).height:
        return 0
    lowest = hours["archive_commit"].min()
    return int(lowest) if isinstance(lowest, int) else 0


def kept_from_ms(store: Store, keep_ms: int | None) -> int:
    """The first anchor time that retention keeps, epoch ms."""
    newest = store.query("SELECT max(newest_ts) FROM commits").item()
    return NEVER if keep_ms is None or newest is None else _ms(first_day(newest, keep_ms))


def cold_mark(
    store: Store,
    rule: Rule,
    sources: Sequence[SourceConfig],
    waits: Mapping[str, frozenset[str]] | None = None,
) -> int:
    """``F`` of a rule that no stream publishes, epoch ms: of the sources that can feed it.

    That is the lowest that streams have read of them, in all shards; or, where that is more, what
    imports have declared. What was imported as all there is ends where a stream begins.

    Args:
        store: open.
        rule: whose.
        sources: those of the configuration.
        waits: rule key to what it waits for beside what it reads
            (``labeling.config.features.waits_of``).
    """
    read_of = rule.event_types | (waits or {}).get(rule.key, frozenset())
    feeding = [s for s in sources if _feeds(s, read_of)]
    streams = streams_of(store.query)
    marks = dict(
        store.query(
            "SELECT name, CAST(min(f_ms) AS BIGINT) FROM watermarks WHERE kind = 'source' "
            "GROUP BY name ORDER BY name"
        ).iter_rows()
    )
    ends = store.source_ends()
    if not marks:
        return min((_declared(ends, s.name, FOREVER) for s in feeding), default=NEVER)
    read = min((marks.get(s.name, NEVER) for s in feeding if s.topics), default=NEVER)
    since = NEVER if streams.since_ms is None else streams.since_ms
    waited = [s for s in feeding if s.files or not s.topics]
    return max(read, min((_declared(ends, s.name, since) for s in waited), default=NEVER))


def _declared(ends: Mapping[str, datetime | None], source: str, all_ms: int) -> int:
    """Up to where imports of a source are complete."""
    if source not in ends:
        return NEVER
    end = ends[source]
    return all_ms if end is None else _ms(end)


def _feeds(source: SourceConfig, read: Collection[str]) -> bool:
    """Whether a source can carry any of what a rule reads."""
    types = carries(source)
    return types is None or not types.isdisjoint(read)


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
