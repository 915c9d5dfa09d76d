"""Files of features in a commit, and who is told of them.

Always holds: a file is named for one source; what is told of late features is told in the
transaction that names their file.

Not promised: a row of anything made of them. Those who listen make it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import polars as pl

from labeling.errors import StoreError
from labeling.io.archive import ArchiveFile
from labeling.io.store.commit_live import LiveCommit
from labeling.io.store.product_tables import FEATURE_FILES


class FeatureCommit(LiveCommit):
    """A transaction that names files of features."""

    def add_feature_files(self, source: str, files: Sequence[ArchiveFile]) -> None:
        """Name files, written and synced, as part of a source's archive; as ``add_files``."""
        if not files:
            return
        schema = {n: t for n, t in FEATURE_FILES.schema.items() if n != "commit"}
        rows = pl.DataFrame([asdict(f) | {"source": source} for f in files], schema=schema)
        self.append(
            FEATURE_FILES, rows.with_columns(pl.col("max_archived").replace(0, self.number))
        )

    def remove_feature_files(self, source: str, names: Iterable[str]) -> None:
        """Take files out of a source's archive.

        Raises:
            StoreError: it has not, or no longer, a file of one of the names.
        """
        given = sorted(set(names))
        mine = "source = ? AND name IN (SELECT unnest(?))"
        known = self._db.frame(f"SELECT name FROM feature_files WHERE {mine}", [source, given])
        gone = sorted({*given} - {*known["name"]})
        if gone:
            raise StoreError(
                f"{len(gone)} of {len(given)} feature files of {source} are already compacted or "
                f"forgotten by somebody else, {gone[0]} the first; run this again"
            )
        self._db.run(f"DELETE FROM feature_files WHERE {mine}", [source, given])
