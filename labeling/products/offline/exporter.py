"""The offline table: hours of rules and samples as Parquet, for whoever trains or reports.

Always holds: the file of an hour holds the rows that its table had at the commit that its marker
file names, which is not before the markers that it names; an hour whose rows have not changed since
keeps its file. What was exported is told by the marker files alone.

Not promised: that corrections of an hour are there before its next marker; that the tables of an
attribution, or two rules, are of one commit; that hours which retention took from the store are
exported again, or ever taken away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow.parquet as pq

from labeling.config.rules import Tree
from labeling.config.settings import Config
from labeling.errors import ConfigError
from labeling.io.store import Store
from labeling.products.features.files import FeatureFiles
from labeling.products.offline.features import SampleFrames
from labeling.products.offline.files import (
    PART,
    PARTITIONS,
    OfflineFolder,
    clear,
    write_parquet,
)
from labeling.products.offline.plan import Due, chosen, due, instant
from labeling.products.offline.reading import Taken, has_changed, is_kept, take

_LOG: Final = logging.getLogger("labeling")
#: Of the marker files; another one's hours are exported again.
_FORMAT: Final = 1
#: Rows that are asked for at once.
PART_ROWS: Final = 200_000
#: A table without news is looked at every so many passes: somebody may have deleted a folder.
_QUIET: Final = 12
_NEWS: Final = (
    "SELECT (SELECT max(commit) FROM markers), (SELECT max(commit) FROM active_versions), "
    "(SELECT max(commit) FROM rules)"
)


class _Stopped(Exception):  # noqa: N818 - no fault
    """An hour is given up half written."""


@dataclass(frozen=True, slots=True)
class Exported:
    """An hour that was written: ``rows`` of its file; ``marker_only``: the rows were the same."""

    table: str
    hour: str
    rows: int
    marker_only: bool


@dataclass
class Exporter:
    """Writes what is due. One is kept for many passes.

    Args:
        config: ``[offline]``, and the zone of its hours.
        tree: the operator's rules and samples.
        part_rows: rows that are asked of the store at once, about; memory follows them.
        stopping: asked between parts; an hour under way is given up when it says so.

    Raises:
        ConfigError: ``[offline] rules`` names one that is not in the tree.
    """

    config: Config
    tree: Tree
    part_rows: int = PART_ROWS
    stopping: Callable[[], bool] = lambda: False
    _rules: tuple[tuple[str, int | None], ...] = field(init=False)
    _folder: OfflineFolder = field(init=False)
    _features: FeatureFiles = field(init=False)
    _dropped: set[tuple[str, str]] = field(init=False, default_factory=set)
    _news: tuple[Any, ...] | None = field(init=False, default=None)
    _quiet: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Hold the names to the tree."""
        self._rules = chosen(self.config, self.tree)
        self._folder = OfflineFolder(self.config.offline.path)
        self._features = FeatureFiles(self.config)

    def run(self, store: Store) -> Generator[Exported]:
        """Export what is due now, rule by rule, each by time.

        Raises:
            StoreError: the store does not answer, or was in the way; what was exported stays.
            ConfigError: another process exports there, the folder is of another zone, or a rule's
                columns have no place in it.
            DataError: the disk refuses, or files of features are missing.
        """
        news = (store.store_id, *store.database.frame(_NEWS).row(0))
        if news == self._news and self._quiet < _QUIET:
            self._quiet += 1
            return
        self._news, self._quiet = None, 0
        with self._folder.alone() as work:
            for rule, version in self._rules:
                for hour in due(store.database, self.config.report_timezone, rule, version):
                    if self.stopping():
                        return
                    done = self._hour(store, work, hour)
                    if done is not None:
                        yield done
        self._news = news

    def _hour(self, store: Store, work: Path, hour: Due) -> Exported | None:
        """Bring one hour up to its markers; None where it is, or cannot be."""
        told = self._folder.marker(hour.table, hour.hour.folder)
        if told is not None:
            self._refuse_zone(hour, told)
        mine = self._origin(store, hour)
        if told is not None and all(told.get(k) == v for k, v in mine.items()):
            if hour.of_same(told):
                return None
            if not has_changed(store.database, hour.extent, told["commit"]):
                told |= self._told_by(hour)
                self._folder.put_marker(work, hour.table, hour.hour.folder, told)
                return Exported(hour.table, hour.hour.folder, told["rows"], marker_only=True)
        if self._is_dropped(store, hour):
            return None
        return self._written(store, work, hour, mine)

    def _refuse_zone(self, hour: Due, told: Mapping[str, Any]) -> None:
        if told.get("timezone") != self.config.report_timezone:
            raise ConfigError(
                f"{self.config.offline.path / hour.table / hour.hour.folder} is an hour of "
                f"{told.get('timezone')}, and report_timezone is {self.config.report_timezone}: "
                "hours of two zones cannot lie in one table; empty the folder, or name another "
                "path under [offline]"
            )

    def _origin(self, store: Store, hour: Due) -> dict[str, Any]:
        """What must be the same for a file to stay."""
        return {
            "format": _FORMAT,
            "store": store.store_id,
            "rule": hour.extent.rule,
            "versions": [{"version": v.version, "digest": v.digest} for v in hour.versions],
            "spans": [
                [p.version, *(instant(at) for at in (p.from_ts, p.to_ts) if at is not None)]
                for p in hour.extent.parts
            ],
        }

    def _is_dropped(self, store: Store, hour: Due) -> bool:
        """Whether retention took the rows, which is said once."""
        at = (hour.table, hour.hour.folder)
        for marker, utc in zip(hour.markers, hour.hour.utc, strict=True):
            if at in self._dropped:
                return True
            if marker["rows"] and not is_kept(
                store.database, hour.extent.rule, marker["version"], utc
            ):
                self._dropped.add(at)
                _LOG.warning(
                    "%s/%s is not exported: the store has no rows of it any more (retention)", *at
                )
        return at in self._dropped

    def _written(
        self, store: Store, work: Path, hour: Due, mine: Mapping[str, Any]
    ) -> Exported | None:
        """Write an hour's rows, then its marker file; None where it was given up."""
        clear(work)
        taken = take(store.database, hour.extent, work, self.part_rows, self.stopping)
        if taken is None:
            return None
        samples = SampleFrames.of(hour, self.tree, self._features, store)
        part = work / PART
        try:
            frames = self._frames(hour, taken, samples)
            rows = write_parquet(frames, part, taken.keys, self.config.offline.row_group)
        except _Stopped:
            return None
        told = {
            **mine,
            **self._told_by(hour),
            "timezone": self.config.report_timezone,
            "commit": taken.commit,
            "rows": rows,
            "bytes": part.stat().st_size,
            **samples.counts,
            "sorted_by": list(taken.keys),
            "schema": {f.name: str(f.type) for f in pq.read_schema(part)},
        }
        self._folder.put_rows(part, hour.table, hour.hour.folder)
        self._folder.put_marker(work, hour.table, hour.hour.folder, told)
        return Exported(hour.table, hour.hour.folder, rows, marker_only=False)

    def _frames(self, hour: Due, taken: Taken, samples: SampleFrames) -> Iterator[pl.DataFrame]:
        for frame in taken.frames():
            if self.stopping():
                raise _Stopped
            whole = samples.whole(frame)
            clash = sorted({*PARTITIONS} & {*whole.columns})
            if clash:
                raise ConfigError(
                    f"rule {hour.extent.rule}: column {', '.join(clash)} is a folder of the "
                    "offline table; rename the label, or leave the rule out under [offline] rules"
                )
            yield whole

    def _told_by(self, hour: Due) -> dict[str, Any]:
        """What the markers say."""
        return {
            "settled": all(m["state"] != "complete" for m in hour.markers),
            "held": any(m["held"] for m in hour.markers),
            "markers": list(hour.markers),
        }
