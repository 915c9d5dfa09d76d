"""What a process's shards archive: a file for each commit, and one for each source of features.

Always holds: the file is whole and on disk before the bundle that names it moves on; its name holds
the store, the run and the process, so that no other writes it and a start can tell whose it was.

Not promised: that the file belongs to the archive. The commit makes it so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from labeling.io.archive import Archive
from labeling.io.feature_archive import FeatureArchive
from labeling.live.items import Bundle, Result
from labeling.live.resume import Resume


class Archiver:
    """Writes the tail files of one process of a run.

    Args:
        archive: of events.
        begin: names the store and the run.
        process: the number of this one.
        features: the archives of features, by source.
    """

    def __init__(
        self,
        archive: Archive,
        begin: Resume,
        process: int,
        features: Mapping[str, FeatureArchive] | None = None,
    ) -> None:
        self._archive = archive
        self._features = features or {}
        self._stem = f"tail-{begin.store_id}-{begin.run:06d}-{process:03d}"
        self._written = 0

    def bundle(self, results: Sequence[Result]) -> Bundle:
        """The results with the files of their events and features.

        Raises:
            DataError: the disk refuses; the same call may be made again.
        """
        events = pl.concat([r.archived for r in results])
        features = {source: _of_source(source, results) for source in self._features}
        # One number for all: a call that is made again writes over what the failed one left.
        stem = f"{self._stem}-{self._written + 1:08d}"
        file = None if events.is_empty() else self._archive.write_tail(events, stem)
        files = {
            source: self._features[source].write_tail(frame, stem)
            for source, frame in features.items()
            if frame is not None
        }
        if file is not None or files:
            self._written += 1
        return Bundle(tuple(_bare(r) for r in results), file, files)


def _of_source(source: str, results: Sequence[Result]) -> pl.DataFrame | None:
    """The features of a source; None where there are none."""
    found = [r.features[source] for r in results if source in r.features]
    frame = pl.concat(found) if found else None
    return None if frame is None or frame.is_empty() else frame


def _bare(result: Result) -> Result:
    """A result without what is archived, but for late features: samples are corrected by them."""
    late = {s: f.filter(pl.col("arrival") == "late") for s, f in result.features.items()}
    return replace(result, archived=result.archived.clear(), features=late)
