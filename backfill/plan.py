"""What a replay will read and publish, decided before it starts.

Always holds: a plan is a function of what the store says and of the range; every hour of the range
is in exactly one of its lists.

Not promised: that it stays so while a stream runs beside it. What is the stream's when the plan
is made is left out, what has become so since is refused by the writer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from backfill.blocks import HOUR, Block, FilesByTime, blocks_of, reach
from labeling.engine.watermark import FOREVER, NEVER
from labeling.errors import DataError
from labeling.io.archive import ArchiveFile
from labeling.io.store import Store
from labeling.io.store.ownership import REPLAY, Streams, owned_text, streams_of
from labeling.model.kinds import Rule
from labeling.model.table import RuleTable, table_of

__all__ = [
    "HOUR",
    "Plan",
    "hours_of",
    "is_complete",
    "is_over",
    "mark_of",
    "plan",
    "rule_mark",
]


@dataclass(frozen=True)
class Plan:
    """What will be done for one rule.

    ``done``: hours published already from all that is archived. ``waiting``: hours that are not
    complete, which only ``immature`` publishes. ``owned``: hours that are the stream's, which
    ``owned_text`` explains. ``served``: features archived up to this commit are seen by samples;
    all events up to it are in the blocks' files.
    """

    rule: Rule
    table: RuleTable
    mark: int
    blocks: tuple[Block, ...]
    done: tuple[datetime, ...]
    waiting: tuple[datetime, ...]
    owned: tuple[datetime, ...] = ()
    owned_text: str = ""
    served: int = 0

    @property
    def files(self) -> int:
        """How many files will be opened, each counted once."""
        return len({f.name for b in self.blocks for f in b.files})

    @property
    def file_bytes(self) -> int:
        """The size of those files."""
        return sum(size for _, size in {(f.name, f.bytes) for b in self.blocks for f in b.files})

    @property
    def hours(self) -> int:
        """How many hours will be published."""
        return sum(len(b.hours) for b in self.blocks)

    @property
    def events(self) -> int:
        """Estimated events to be read, those around the blocks counted with each."""
        return sum(b.events for b in self.blocks)


def hours_of(from_ts: datetime, to_ts: datetime) -> tuple[datetime, ...]:
    """The hours of ``[from_ts, to_ts)``; both at full hours, UTC.

    Raises:
        DataError: not full hours, or nothing between them.
    """
    for at in (from_ts, to_ts):
        if at != at.replace(minute=0, second=0, microsecond=0):
            raise DataError(f"{at:%Y-%m-%dT%H:%M}: hours are published whole; name a full hour")
    count = (to_ts - from_ts) // HOUR
    if count <= 0:
        raise DataError(
            f"nothing lies from {from_ts:%Y-%m-%dT%H} to {to_ts:%Y-%m-%dT%H}: --to is exclusive"
        )
    return tuple(from_ts + i * HOUR for i in range(count))


def mark_of(
    ends: Mapping[str, datetime | None], sources: Iterable[str], all_ms: int = FOREVER
) -> int:
    """``F`` of every rule as far as imports declare it: the lowest declared end, epoch ms.

    Every source counts as one that can feed a rule.

    Args:
        ends: source to its declared end, None for all there is.
        sources: those that the configuration names: one without an end has not been read.
        all_ms: what "all there is" reaches to, epoch ms.
    """
    marks = [all_ms if end is None else _ms(end) for end in ends.values()]
    marks += [NEVER for source in sources if source not in ends]
    return min(marks, default=NEVER)


def rule_mark(
    store: Store,
    rule: Rule,
    streams: Streams,
    sources: Sequence[str],
    live: Collection[str],
    apart: Collection[str] = (),
) -> int:
    """``F`` of a rule: what the stream has passed, or imports have declared, epoch ms.

    Where a stream began, an import that declared to be all there is ends there: more was to come.

    Args:
        store: open.
        rule: whose.
        streams: of the store.
        sources: names of the configured sources.
        live: those of them that have topics and no files: no import is to be waited for once a
            stream has read them.
        apart: sources of features that no sample of the rule reads: they hold nothing back.
    """
    ends = {name: end for name, end in store.source_ends().items() if name not in apart}
    waited = [s for s in sources if s not in apart]
    since = streams.since_ms
    if since is None:
        return mark_of(ends, waited)
    fed = [s for s in waited if s not in live]
    return max(streams.mark_of(rule.key, apart), mark_of(ends, fed, since))


def plan(  # noqa: PLR0913 - the options of a command
    store: Store,
    rule: Rule,
    from_ts: datetime,
    to_ts: datetime,
    *,
    sources: Sequence[str],
    memory_bytes: int,
    live: Collection[str] = (),
    apart: Collection[str] = (),
    features: Mapping[str, int] | None = None,
    immature: bool = False,
    force: bool = False,
) -> Plan:
    """Lay out a replay.

    Args:
        store: open.
        rule: what to evaluate.
        from_ts: first hour.
        to_ts: end, exclusive.
        sources: names of the configured sources: all must have been imported to their end, or
            read by a stream.
        memory_bytes: what one part of a block may need.
        live: those sources that only a stream can read.
        apart: sources that the rule does not wait for (``labeling.config.features.apart_from``).
        features: sources of features that its samples read, and how long before a row they are
            asked, ms: an hour is published again when there are more of them.
        immature: also hours that are not complete, as far as their points have passed.
        force: also hours that are published from all that is archived.

    Raises:
        DataError: the range is empty or not of full hours.
    """
    streams = streams_of(store.query)
    stream = streams.by_rule.get(rule.key)
    mark = rule_mark(store, rule, streams, sources, live, apart)
    back, ahead = reach(rule)
    # In this order: what has been archived when features are listed is among the files then.
    served = _Served.of(store, features or {}, from_ts)
    files = FilesByTime(store.files(from_ts - back, to_ts + ahead))
    table = table_of(rule)
    known = {row["hour"]: row for row in store.hours(table).iter_rows(named=True)}
    todo, done, waiting, owned = [], [], [], []
    for hour in hours_of(from_ts, to_ts):
        newest = max(
            (f.max_archived for f in files.near(hour - back, hour + HOUR + ahead)), default=0
        )
        newest = max(newest, served.newest_of(hour, rule.window_ms))
        if _is_fresh(known.get(hour), newest, mark) and not force:
            done.append(hour)
        elif stream is not None and stream.owns(hour):
            owned.append(hour)
        elif is_complete(rule, hour, mark) or immature:
            todo.append(hour)
        else:
            waiting.append(hour)
    blocks = tuple(blocks_of(rule, todo, files, memory_bytes))
    text = "" if stream is None or not owned else owned_text(rule.key, stream, owned)
    return Plan(
        rule, table, mark, blocks, tuple(done), tuple(waiting), tuple(owned), text, served.newest
    )


@dataclass(frozen=True)
class _Served:
    """Files of features by how long before a row they are asked; ``newest``: of all."""

    files: Mapping[timedelta, FilesByTime]
    newest: int

    @staticmethod
    def of(store: Store, features: Mapping[str, int], from_ts: datetime) -> _Served:
        found: dict[timedelta, list[ArchiveFile]] = {}
        for source, within_ms in sorted(features.items()):
            within = timedelta(milliseconds=within_ms)
            found.setdefault(within, []).extend(store.feature_files(source, from_ts - within))
        every = [file.max_archived for files in found.values() for file in files]
        by_time = {within: FilesByTime(files) for within, files in found.items()}
        return _Served(by_time, max(every, default=0))

    def newest_of(self, hour: datetime, after_ms: int) -> int:
        """The latest commit that archived what can count for a row of an hour; 0: none did."""
        to_ts = hour + HOUR + timedelta(milliseconds=after_ms)
        near = (f for w, files in self.files.items() for f in files.near(hour - w, to_ts))
        return max((f.max_archived for f in near), default=0)


def is_complete(rule: Rule, hour: datetime, mark: int) -> bool:
    """Whether every row of the hour's anchors is there: ``F > end + window``."""
    return mark > _ms(hour + HOUR) + rule.window_ms


def is_over(rule: Rule, hour: datetime, mark: int) -> bool:
    """Whether every point of the hour's anchors has passed, those that undo actions too."""
    return mark > _ms(hour + HOUR) + max(rule.window_ms, rule.looks_ahead_ms)


def _is_fresh(before: Mapping[str, Any] | None, newest: int, mark: int) -> bool:
    """Whether a replay would make the same of an hour as the last one did.

    It was replayed from all that is archived (the stream left out what was late), up to its last
    point or to this mark.
    """
    if before is None or before["published_by"] != REPLAY or not before["complete"]:
        return False
    through = before["through_ts"]
    passed = through is None or _ms(through) >= mark
    return passed and before["archive_commit"] >= newest


def _ms(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp() * 1000)
