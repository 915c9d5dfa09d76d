"""What a process's shards archive, in one file for each commit.

Always holds: the file is whole and on disk before the bundle that names it moves on; its name holds
the store, the run and the process, so that no other writes it and a start can tell whose it was.

Not promised: that the file belongs to the archive. The commit makes it so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from labeling.io.archive import Archive
from labeling.live.items import Bundle, Result
from labeling.live.resume import Resume


class Archiver:
    """Writes the tail files of one process of a run."""

    def __init__(self, archive: Archive, begin: Resume, process: int) -> None:
        self._archive = archive
        self._stem = f"tail-{begin.store_id}-{begin.run:06d}-{process:03d}"
        self._written = 0

    def bundle(self, results: Sequence[Result]) -> Bundle:
        """The results with the file of their events.

        Raises:
            DataError: the disk refuses; the same call may be made again.
        """
        events = pl.concat([r.archived for r in results])
        bare = tuple(replace(r, archived=r.archived.clear()) for r in results)
        if events.is_empty():
            return Bundle(bare, None)
        file = self._archive.write_tail(events, f"{self._stem}-{self._written + 1:08d}")
        self._written += 1
        return Bundle(bare, file)
