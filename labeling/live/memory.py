"""A shard's memory, read back from the archive.

Always holds: it holds what the shard held when it committed last: every event that can still
matter, none that was too late; a few files are in memory at a time.

Not promised: less than what memory needs. The same events were held before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from labeling.config.settings import Config
from labeling.engine.step import restore
from labeling.io.archive import Archive, ArchiveFile
from labeling.live.books import watermarks_of
from labeling.live.features import open_lanes
from labeling.live.reach import instant, oldest
from labeling.live.resume import Resume
from labeling.live.shard import Shard
from labeling.live.split import of_shard
from labeling.model.event import event_schema
from labeling.model.kinds import Rule

#: Events read back at a time.
_GROUP_ROWS: Final = 1_000_000


def open_shard(
    number: int, begin: Resume, archive: Archive, config: Config, rules: Sequence[Rule]
) -> Shard:
    """A shard as of the last commit, its memory read back from the archive.

    Raises:
        DataError: a file of the archive is missing or damaged.
    """
    positions = begin.positions.get(number, {})
    marks = watermarks_of(config, rules, positions, begin.passed[number], begin.waits)
    reader = _TailReader(archive, begin, number)
    reached = oldest(rules, config.lateness_ms, marks)
    recent = instant(marks.lowest_source - config.lateness_ms)
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
    lanes = open_lanes(number, begin.shards, begin.features, config, marks)
    return Shard(
        number,
        begin.run,
        rules,
        config.columns,
        config.lateness_ms,
        state,
        marks,
        dict(positions),
        lanes,
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
