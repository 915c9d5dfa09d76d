"""Which files of an archive the store names: one way for events and for features.

Always holds: files of events are those of ``archive_files``, files of features those of
``feature_files`` with their source; whoever lists, adds or takes out files of an ``Archive`` does
it here, and need not know of which kind it is.

Not promised: anything about the files themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from labeling.io.archive import Archive, ArchiveFile
from labeling.io.feature_archive import FeatureArchive
from labeling.io.store import Commit, Store


def named(
    store: Store, archive: Archive, from_ts: datetime | None = None, to_ts: datetime | None = None
) -> list[ArchiveFile]:
    """The archive's files that can hold something of ``[from_ts, to_ts)``, by hour and name."""
    if isinstance(archive, FeatureArchive):
        return store.feature_files(archive.source, from_ts, to_ts)
    return store.files(from_ts, to_ts)


def add(commit: Commit, archive: Archive, files: Sequence[ArchiveFile]) -> None:
    """Name files, written and synced, as part of the archive."""
    if isinstance(archive, FeatureArchive):
        commit.add_feature_files(archive.source, files)
    else:
        commit.add_files(files)


def remove(commit: Commit, archive: Archive, names: Sequence[str]) -> None:
    """Take files out of the archive.

    Raises:
        StoreError: the archive has not, or no longer, a file of one of the names.
    """
    if isinstance(archive, FeatureArchive):
        commit.remove_feature_files(archive.source, names)
    else:
        commit.remove_files(names)
