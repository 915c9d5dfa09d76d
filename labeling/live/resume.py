"""Where a run begins: what the store says, and the memory that the archive's tail gives back.

Always holds: a run goes on exactly where the last commit stands, whatever ended the run before; an
archive without its store, a rule that changed under its version, and another number of shards
after a crash are refused with the way out.

Not promised: that a file written and not named by a commit still exists after the start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import polars as pl

from labeling.config.settings import Config
from labeling.engine.step import restore
from labeling.engine.watermark import NEVER, Source, Watermarks
from labeling.errors import StoreError
from labeling.io.archive import Archive, ArchiveFile
from labeling.io.store import Store
from labeling.io.swapping import lying
from labeling.live.items import Place, Position
from labeling.live.shard import Shard
from labeling.live.split import of_shard
from labeling.model.event import event_schema
from labeling.model.rule import LabelRule
from labeling.model.table import table_of

_HOUR_MS: Final = 3_600_000
#: Events read back at a time.
_GROUP_ROWS: Final = 1_000_000
Passed = Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Resume:
    """What a run starts from.

    ``since_ms``: by rule key, the first anchor time that the stream owns. ``positions`` and
    ``passed`` (``F`` by (kind, name)): by shard. ``compared_ms``: by rule key; rows of points
    before it may be published although they come as new, after a change of shards. ``files``:
    those of the archive that can hold an event that still matters.
    """

    run: int
    store_id: str
    shards: int
    since_ms: Mapping[str, int]
    positions: Mapping[int, Mapping[Place, Position]]
    passed: Mapping[int, Passed]
    compared_ms: Mapping[str, int]
    files: tuple[ArchiveFile, ...]


def resume(store: Store, config: Config, rules: Sequence[LabelRule]) -> Resume:
    """Read where the last run ended, and note what this one owns.

    Raises:
        StoreError: a rule changed under its version, the number of shards after a crash, or an
            archive whose store is not this one.
    """
    _refuse_lost(store, config)
    for rule in rules:
        store.hours(table_of(rule))  # refuses a changed digest
    shards = config.live.shards
    positions = _positions(store)
    passed: dict[int, Passed] = dict(_passed(store))
    compared = {r.key: NEVER for r in rules}
    if not passed:
        passed = dict.fromkeys(range(shards), _imported(store, config, rules))
    if set(passed) != set(range(shards)):
        _refuse_uneven(positions, len(passed), shards)
        highest = {name: max(p.get(name, NEVER) for p in passed.values()) for name in passed[0]}
        compared |= {r.key: highest.get(("rule", r.key), NEVER) for r in rules}
        lowest = {name: min(p.get(name, NEVER) for p in passed.values()) for name in passed[0]}
        positions = dict.fromkeys(range(shards), positions.get(0, {}))
        passed = dict.fromkeys(range(shards), lowest)
    marks = {n: _watermarks(config, rules, positions.get(n, {}), p) for n, p in passed.items()}
    since = _since(store, rules, marks.values())
    with store.commit(f"start of run {store.run}") as commit:
        commit.forget_positions()
        commit.set_positions(position_rows(positions))
        commit.set_watermarks(watermark_rows(passed))
        commit.set_streams(_stream_rows(rules, since, config.lateness_ms))
    files = _files(store, rules, config.lateness_ms, marks.values())
    return Resume(store.run, store.store_id, shards, since, positions, passed, compared, files)


def follow(store: Store, config: Config, rules: Sequence[LabelRule], run: int) -> Resume:
    """What ``resume`` gave the process that holds the store, as read by another process.

    Args:
        store: spoken to over its endpoint.
        config: the same as there.
        rules: likewise.
        run: the number of the run, as the live file tells it.
    """
    positions = _positions(store)
    passed: dict[int, Passed] = dict(_passed(store))
    marks = {n: _watermarks(config, rules, positions.get(n, {}), p) for n, p in passed.items()}
    return Resume(
        run=run,
        store_id=store.store_id,
        shards=len(passed),
        since_ms=_since(store, rules, marks.values()),
        positions=positions,
        passed=passed,
        compared_ms={},
        files=_files(store, rules, config.lateness_ms, marks.values()),
    )


def open_shard(
    number: int, begin: Resume, archive: Archive, config: Config, rules: Sequence[LabelRule]
) -> Shard:
    """A shard as of the last commit, its memory read back from the archive.

    Raises:
        DataError: a file of the archive is missing or damaged.
    """
    positions = begin.positions.get(number, {})
    marks = _watermarks(config, rules, positions, begin.passed[number])
    reader = _TailReader(archive, begin, number)
    reached = _oldest(rules, config.lateness_ms, marks)
    recent = _instant(marks.lowest_source - config.lateness_ms)
    read = sorted(set().union(*(rule.event_columns for rule in rules)))
    types = sorted(set().union(*(rule.event_types for rule in rules)))
    with archive.damage_explained(begin.files):
        state = restore(
            rules,
            reader.frames(list(event_schema(config.columns)), recent, None),
            marks,
            lateness_ms=config.lateness_ms,
            since_ms=begin.since_ms,
            older=() if recent is None else reader.frames(read, reached, recent, types),
        )
    return Shard(
        number, begin.run, rules, config.columns, config.lateness_ms, state, marks, dict(positions)
    )


@dataclass(frozen=True)
class _TailReader:
    """Reads what a shard had accepted, some files at a time."""

    archive: Archive
    begin: Resume
    shard: int

    def frames(
        self,
        columns: Sequence[str],
        from_ts: datetime | None,
        to_ts: datetime | None,
        types: Sequence[str] | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Events of ``[from_ts, to_ts)``, of the types only where they are given."""
        wanted = [pl.col("arrival") != "too_late", of_shard(self.shard, self.begin.shards)]
        if types is not None:
            wanted.append(pl.col("event_type").is_in(types))
        needed = list(dict.fromkeys((*columns, "arrival", "user_id", "event_type")))
        for files in self._groups(from_ts, to_ts):
            lazy = self.archive.scan(files, needed, from_ts=from_ts, to_ts=to_ts)
            yield lazy.filter(*wanted).select(columns).collect()

    def _groups(
        self, from_ts: datetime | None, to_ts: datetime | None
    ) -> Iterator[list[ArchiveFile]]:
        """The files that hold such events, in groups of bounded size."""
        group: list[ArchiveFile] = []
        for file in sorted(self.begin.files, key=lambda f: (f.min_ts, f.name)):
            if not file.touches(from_ts, to_ts, None):
                continue
            if group and sum(f.rows for f in group) + file.rows > _GROUP_ROWS:
                yield group
                group = []
            group.append(file)
        if group:
            yield group


def live_sources(config: Config) -> list[Source]:
    """The sources that a flow reads, as watermarks know them; partitions come with the items."""
    return [
        Source(
            s.name,
            s.max_disorder_ms,
            (),
            None if s.event_types is None else frozenset(s.event_types),
        )
        for s in config.sources
        if s.topics
    ]


def position_rows(positions: Mapping[int, Mapping[Place, Position]]) -> pl.DataFrame:
    """Rows of the store's ``positions`` but ``commit``."""
    rows = [
        (*place, shard, at.next_offset, at.mark_ms, at.idle, at.topic_id)
        for shard, places in positions.items()
        for place, at in places.items()
    ]
    names = ("source", "cluster", "topic", "partition", "shard")
    schema = [*names, "next_offset", "mark_ms", "idle", "topic_id"]
    return pl.DataFrame(rows, schema=schema, orient="row", infer_schema_length=None)


def watermark_rows(passed: Mapping[int, Passed]) -> pl.DataFrame:
    """Rows of the store's ``watermarks`` but ``commit``."""
    rows = [(shard, *name, f) for shard, marks in passed.items() for name, f in marks.items()]
    schema = ["shard", "kind", "name", "f_ms"]
    return pl.DataFrame(rows, schema=schema, orient="row", infer_schema_length=None)


def _positions(store: Store) -> dict[int, dict[Place, Position]]:
    found: dict[int, dict[Place, Position]] = {}
    for row in store.query("FROM positions ORDER BY ALL").iter_rows(named=True):
        place = Place(row["source"], row["cluster"], row["topic"], row["partition"])
        at = Position(row["next_offset"], row["mark_ms"], row["idle"], row["topic_id"])
        found.setdefault(row["shard"], {})[place] = at
    return found


def _passed(store: Store) -> dict[int, dict[tuple[str, str], int]]:
    found: dict[int, dict[tuple[str, str], int]] = {}
    for row in store.query("FROM watermarks ORDER BY ALL").iter_rows(named=True):
        found.setdefault(row["shard"], {})[row["kind"], row["name"]] = row["f_ms"]
    return found


def _imported(store: Store, config: Config, rules: Sequence[LabelRule]) -> Passed:
    """``F`` before the first batch of a store: what was imported has been read."""
    newest = [int(f.max_ts.timestamp() * 1000) + 1 for f in store.files()]
    ends = [int(e.timestamp() * 1000) for e in store.source_ends().values() if e is not None]
    mark = max([*newest, *ends], default=NEVER) if newest else NEVER
    names = [("source", s.name) for s in live_sources(config)]
    return dict.fromkeys([*names, *(("rule", r.key) for r in rules)], mark)


def _refuse_lost(store: Store, config: Config) -> None:
    """A store that names no file beside an archive of another: that one was lost.

    Raises:
        StoreError: says so, and what to do.
    """
    if store.files():
        return
    foreign = sum(file.store_id != store.store_id for file in lying(config.archive))
    if foreign:
        raise StoreError(
            f"the store {store.path} names no archive file, but {config.archive} holds {foreign} "
            "of another store: restore that store; or name another folder in `archive =`; or move "
            "the folder away and read the topics again from their start"
        )


def _refuse_uneven(
    positions: Mapping[int, Mapping[Place, Position]], before: int, now: int
) -> None:
    """Another number of shards needs all of them at the same positions, as a clean stop leaves.

    Raises:
        StoreError: they are not.
    """
    stands = {
        frozenset((place, at.next_offset) for place, at in shard.items())
        for shard in positions.values()
    }
    if len(stands) > 1:
        raise StoreError(
            f"the flow was running with {before} shards and did not stop cleanly: start it once "
            f"with shards = {before}, stop it with SIGTERM, then start it with {now}"
        )


def _watermarks(
    config: Config,
    rules: Sequence[LabelRule],
    positions: Mapping[Place, Position],
    passed: Passed,
) -> Watermarks:
    sources = live_sources(config)
    names = {s.name for s in sources}
    mine = {p: at for p, at in positions.items() if p.source in names}
    return Watermarks.resume(
        sources,
        rules,
        {(place.source, place.name): at.mark_ms for place, at in mine.items()},
        [(place.source, place.name) for place, at in mine.items() if at.idle],
        {name: f for (_, name), f in passed.items()},
    )


def _since(
    store: Store, rules: Sequence[LabelRule], marks: Collection[Watermarks]
) -> dict[str, int]:
    """From when on the stream owns each rule: as noted, or the first whole hour from here."""
    noted = {
        f"{row['rule']}@{row['version']}": row["since_ts"]
        for row in store.query("FROM streams").iter_rows(named=True)
    }
    since = {}
    for rule in rules:
        if rule.key in noted:
            at = noted[rule.key]
            since[rule.key] = NEVER if at is None else int(at.timestamp() * 1000)
        else:
            mark = max(m.of_rule(rule) for m in marks)
            since[rule.key] = NEVER if mark == NEVER else -(-mark // _HOUR_MS) * _HOUR_MS
    return since


def _stream_rows(
    rules: Sequence[LabelRule], since_ms: Mapping[str, int], lateness_ms: int
) -> pl.DataFrame:
    at = [None if since_ms[r.key] == NEVER else since_ms[r.key] for r in rules]
    return pl.DataFrame(
        {
            "rule": [r.name for r in rules],
            "version": [r.version for r in rules],
            "since_ts": pl.Series(at, dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")),
            "settle_ms": [r.bound.longest_ms + lateness_ms for r in rules],
        }
    )


def _files(
    store: Store, rules: Sequence[LabelRule], lateness_ms: int, marks: Collection[Watermarks]
) -> tuple[ArchiveFile, ...]:
    oldest = [_oldest(rules, lateness_ms, m) for m in marks]
    return tuple(store.files(None if None in oldest else min(t for t in oldest if t is not None)))


def _oldest(rules: Sequence[LabelRule], lateness_ms: int, marks: Watermarks) -> datetime | None:
    """No event before this can matter; None: every one can."""
    reached = [marks.of_rule(r) - r.reach_ms for r in rules]
    return _instant(min([*reached, marks.lowest_source]) - lateness_ms)


def _instant(ms: int) -> datetime | None:
    """Epoch ms as an instant; None where it is before all events."""
    return datetime.fromtimestamp(ms / 1000, UTC) if ms > 0 else None
