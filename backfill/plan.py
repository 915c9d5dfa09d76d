"""What a replay will read and publish, decided before it starts.

Always holds: a plan is a function of what the store says and of the range; every hour of the range
is in exactly one of its lists.

Not promised: that it stays so while a stream runs beside it. What is the stream's when the plan
is made is left out, what has become so since is refused by the writer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backfill.blocks import HOUR, Block, FilesByTime, blocks_of, reach
from labeling.engine.watermark import FOREVER, NEVER
from labeling.errors import DataError
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
    ``owned_text`` explains.
    """

    rule: Rule
    table: RuleTable
    mark: int
    blocks: tuple[Block, ...]
    done: tuple[datetime, ...]
    waiting: tuple[datetime, ...]
    owned: tuple[datetime, ...] = ()
    owned_text: str = ""

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
    store: Store, rule: Rule, streams: Streams, sources: Sequence[str], live: Collection[str]
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
    """
    since = streams.since_ms
    if since is None:
        return mark_of(store.source_ends(), sources)
    fed = [s for s in sources if s not in live]
    return max(streams.mark_of(rule.key), mark_of(store.source_ends(), fed, since))


def plan(  # noqa: PLR0913 - the options of a command
    store: Store,
    rule: Rule,
    from_ts: datetime,
    to_ts: datetime,
    *,
    sources: Sequence[str],
    memory_bytes: int,
    live: Collection[str] = (),
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
        immature: also hours that are not complete, as far as their points have passed.
        force: also hours that are published from all that is archived.

    Raises:
        DataError: the range is empty or not of full hours.
    """
    streams = streams_of(store.query)
    stream = streams.by_rule.get(rule.key)
    mark = rule_mark(store, rule, streams, sources, live)
    back, ahead = reach(rule)
    files = FilesByTime(store.files(from_ts - back, to_ts + ahead))
    table = table_of(rule)
    known = {row["hour"]: row for row in store.hours(table).iter_rows(named=True)}
    todo, done, waiting, owned = [], [], [], []
    for hour in hours_of(from_ts, to_ts):
        newest = max(
            (f.max_archived for f in files.near(hour - back, hour + HOUR + ahead)), default=0
        )
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
    return Plan(rule, table, mark, blocks, tuple(done), tuple(waiting), tuple(owned), text)


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
