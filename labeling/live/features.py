"""Features in one shard of the flow: counted as events are, and remembered by nothing else.

Always holds: a record of features comes out in exactly one count (law 5), by the watermark of its
own source; it is of the shard of its request. Of a record the shard keeps the identity alone, as
long as a repeat can be on time or late; each source has identities of its own.

Not promised: that a label row has been made of anything. Features wait on disk until one asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from labeling.config.settings import Config
from labeling.engine.identity import Identities, Outcomes, told_apart
from labeling.engine.keys import user_key
from labeling.engine.watermark import Watermarks
from labeling.io.archive import ArchiveFile
from labeling.io.feature_archive import FeatureArchive, feature_archives, prepared
from labeling.io.store import Store
from labeling.live.reach import instant
from labeling.live.split import of_shard
from labeling.model.event import event_schema

#: Records read back at a time.
_GROUP_ROWS = 1_000_000


@dataclass
class Lane:
    """One source of features in one shard.

    Args:
        archive: where they go.
        seen: identities, as of the last step.
    """

    archive: FeatureArchive
    seen: Identities

    def take(self, judged: Sequence[pl.DataFrame]) -> Outcomes:
        """Tell new records from too late and repeated ones, and remember them.

        Args:
            judged: with ``arrival`` and ``watermark_ts``, in the order in which they came.
        """
        self.seen, out = told_apart(self.seen, pl.concat(judged))
        return out

    def forget(self, marks: Watermarks, lateness_ms: int) -> None:
        """Let go of identities whose repeats are too late."""
        self.seen = self.seen.drop_before(marks.of_source(self.archive.source) - lateness_ms)

    def archived(self, out: Outcomes) -> pl.DataFrame:
        """What is to be archived, in the archive's columns."""
        rows = pl.concat([out.accepted, out.too_late])
        marked = rows.with_columns(user_key(), archived=pl.lit(None, pl.Int64))
        return prepared(self.archive, marked).select(list(self.archive.schema))


def recent_files(
    store: Store, config: Config, marks: Iterable[Watermarks]
) -> dict[str, tuple[ArchiveFile, ...]]:
    """By source the files that can hold a record whose repeat is not too late in some shard."""
    known = list(marks)
    found = {}
    for source in feature_archives(config):
        if any(source in m.sources for m in known):
            low = min(m.of_source(source) for m in known)
            found[source] = tuple(store.feature_files(source, instant(low - config.lateness_ms)))
    return found


def open_lanes(
    number: int,
    shards: int,
    files: Mapping[str, Sequence[ArchiveFile]],
    config: Config,
    marks: Watermarks,
) -> dict[str, Lane]:
    """The sources of features of a shard, their identities read back.

    Args:
        number: of the shard.
        shards: how many there are.
        files: by source, of ``recent_files``.
        config: the configuration.
        marks: those of the shard.

    Raises:
        DataError: a file is missing or damaged.
    """
    lanes = {}
    for source, archive in feature_archives(config).items():
        if source in marks.sources:
            from_ms = marks.of_source(source) - config.lateness_ms
            lane = Lane(archive, Identities())
            for group in _groups(files.get(source, ())):
                content = list(event_schema(config.source(source).features))
                columns = [*content, "arrival"]
                rows = archive.read(group, columns, from_ts=instant(from_ms))
                mine = rows.filter(pl.col("arrival") != "too_late", of_shard(number, shards))
                lane.seen, _ = lane.seen.add(mine.select(content).with_columns(user_key()))
            lanes[source] = lane
    return lanes


def _groups(files: Sequence[ArchiveFile]) -> Iterable[list[ArchiveFile]]:
    group: list[ArchiveFile] = []
    for file in sorted(files, key=lambda f: (f.min_ts, f.name)):
        if group and sum(f.rows for f in group) + file.rows > _GROUP_ROWS:
            yield group
            group = []
        group.append(file)
    if group:
        yield group
