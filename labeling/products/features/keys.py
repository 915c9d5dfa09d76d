"""The key columns of one source's feature files, as far as memory holds them.

Always holds: what is told of a request is all that the files given have of it, whatever is in
memory. A file's keys are read once as long as there is room; those used least lately go first.

Not promised: memory for an archive of any size. What does not fit is read again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from labeling.engine.keys import string_key
from labeling.io.archive import ArchiveFile
from labeling.io.feature_archive import FeatureArchive
from labeling.io.pruned import Groups, Tally, open_groups
from labeling.products.features.index import RequestIndex, Requests, places

_COLUMNS: Final = ("user_key", "event_id", "event_ts", "features_key", "arrival")
#: What is told of a record: its keys, and where it lies: file (its place among those given), row
#: group and row in that.
RECORD: Final = (
    *("user_key", "item_key", "served_ts", "features_key", "too_late"),
    *("file", "group", "at"),
)


@dataclass(frozen=True)
class _Unit:
    """The keys of a row group: ``requests``, sorted, and the records in that order."""

    requests: Requests
    records: pl.DataFrame

    @property
    def nbytes(self) -> int:
        return int(self.records.estimated_size()) + self.requests.nbytes


@dataclass
class FeatureKeys:
    """Keys of the files of one source.

    Args:
        archive: the source's.
        memory_bytes: about so much is held of keys, and as much of which file has which request.
    """

    archive: FeatureArchive
    memory_bytes: int
    tally: Tally = field(default_factory=Tally)
    _index: RequestIndex = field(default_factory=RequestIndex)
    #: By file the lowest and highest request of each row group.
    _spans: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    _units: OrderedDict[tuple[str, int], _Unit] = field(default_factory=OrderedDict)
    _held: int = 0

    def records(
        self, files: Sequence[ArchiveFile], requests: Requests, *, remember: bool
    ) -> Iterator[pl.DataFrame]:
        """All records of requests in frames of ``RECORD``, in the order of the files.

        Args:
            files: of the source.
            requests: sorted and distinct.
            remember: these are asked for again and again; else nothing is kept of them.

        Raises:
            DataError: a file is missing or damaged.
        """
        if not len(requests):
            return
        ends = (int(requests[0]), int(requests[-1]))
        touched = [(n, f) for n, f in enumerate(files) if f.touches(None, None, ends)]
        wanted = dict.fromkeys((f.name for _, f in touched), requests)
        if remember:
            self._learn([file for _, file in touched])
            wanted = self._index.holders(requests)
        for number, file in touched:
            mine = wanted.get(file.name)
            if mine is not None:
                for group, unit in self._overlapping(file, mine, remember=remember):
                    found = unit.records[places(unit.requests, mine)]
                    if found.height:
                        marks = {
                            "file": pl.lit(number, pl.UInt32),
                            "group": pl.lit(group, pl.UInt32),
                        }
                        yield found.with_columns(**marks).select(RECORD)

    def _learn(self, files: Sequence[ArchiveFile]) -> None:
        """Index the files that are not yet."""
        new = [file for file in files if not self._index.has(file.name)]
        if new and self._index.nbytes > self.memory_bytes:
            # Mostly of files that nobody asks for any more.
            self._index.clear()
            self._spans.clear()
            new = list(files)
        for file in new:
            with open_groups(self.archive, file, self.tally) as opened:
                self._spans[file.name] = [opened.users(g) for g in range(opened.groups)]
                keys = [
                    opened.read(group, ("user_key",))["user_key"].unique().to_numpy()
                    for group in range(opened.groups)
                ]
            self._index.add(file.name, np.unique(np.concatenate(keys)))

    def _overlapping(
        self, file: ArchiveFile, requests: Requests, *, remember: bool
    ) -> Iterator[tuple[int, _Unit]]:
        """The row groups that may hold some of the requests."""
        spans = self._spans.get(file.name) if remember else None
        if spans is not None:
            hit = [g for g, span in enumerate(spans) if _any_in(requests, *span)]
            if all((file.name, group) in self._units for group in hit):
                yield from ((group, self._units[file.name, group]) for group in hit)
                self._use(file.name, hit)
                return
        with open_groups(self.archive, file, self.tally) as opened:
            for group in range(opened.groups):
                if _any_in(requests, *opened.users(group)):
                    unit = self._units.get((file.name, group)) or _unit(opened, group)
                    if remember:
                        self._keep(file.name, group, unit)
                    yield group, unit

    def _use(self, name: str, groups: Sequence[int]) -> None:
        for group in groups:
            if (name, group) in self._units:
                self._units.move_to_end((name, group))

    def _keep(self, name: str, group: int, unit: _Unit) -> None:
        if (name, group) not in self._units:
            self._units[name, group] = unit
            self._held += unit.nbytes
        self._units.move_to_end((name, group))
        while self._held > self.memory_bytes and len(self._units) > 1:
            _, gone = self._units.popitem(last=False)
            self._held -= gone.nbytes


def _unit(opened: Groups, group: int) -> _Unit:
    records = opened.read(group, _COLUMNS).select(
        "user_key",
        string_key("event_id").alias("item_key"),
        pl.col("event_ts").alias("served_ts"),
        "features_key",
        too_late=pl.col("arrival") == "too_late",
        at=pl.int_range(pl.len(), dtype=pl.UInt32),
    )
    # Files that others wrote may lie in another order.
    ordered = records.sort("user_key", maintain_order=True).rechunk()
    return _Unit(ordered["user_key"].to_numpy(), ordered)


def _any_in(requests: Requests, low: int, high: int) -> bool:
    """Whether one of the requests lies in a range, both ends inclusive."""
    at = int(np.searchsorted(requests, np.uint64(low)))
    return at < len(requests) and int(requests[at]) <= high
