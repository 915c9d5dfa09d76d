"""Few files per hour: small ones of one hour become one.

Always holds: the events of an hour are the same before and after; the swap of names is one
commit; the old files are deleted after it, and after a crash in between by the next import.

Not promised: one file per hour. Files of at least ``SMALL`` events are left as they are, so that
an hour of any size merges in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from labeling.io.archive import Archive, ArchiveFile
from labeling.io.store import Store

#: A file of fewer events is worth merging.
SMALL: Final = 1_000_000
#: A merged file has at most about this many.
MERGED: Final = 4_000_000


def merge_small(
    store: Store, archive: Archive, hours: Sequence[datetime], stem: Callable[[], str]
) -> int:
    """Merge small files of these hours; how many files were replaced.

    Raises:
        DataError: a file is missing or damaged, or the disk refuses; nothing is swapped.
    """
    if not hours:
        return 0
    small: dict[datetime, list[ArchiveFile]] = {hour: [] for hour in hours}
    for file in store.files(min(hours), max(hours) + timedelta(hours=1)):
        if file.hour in small and file.rows < SMALL:
            small[file.hour].append(file)
    groups = [group for files in small.values() for group in _groups(files)]
    replaced = 0
    for batch in _batches(groups):
        old = [file.name for group in batch for file in group]
        with store.commit(f"merge of {len(old)} archive files") as commit:
            commit.add_files([archive.merge(group, stem()) for group in batch])
            commit.remove_files(old)
        archive.remove(old)
        replaced += len(old)
    return replaced


def _groups(files: Sequence[ArchiveFile]) -> Iterator[list[ArchiveFile]]:
    """Small files of one hour, in groups to be merged."""
    group: list[ArchiveFile] = []
    for file in files:
        if sum(f.rows for f in group) + file.rows > MERGED:
            if len(group) > 1:
                yield group
            group = []
        group.append(file)
    if len(group) > 1:
        yield group


def _batches(groups: Sequence[list[ArchiveFile]]) -> Iterator[list[list[ArchiveFile]]]:
    """Groups for one commit each: about ``MERGED`` events, and at least one group."""
    batch: list[list[ArchiveFile]] = []
    rows = 0
    for group in groups:
        batch.append(group)
        rows += sum(f.rows for f in group)
        if rows >= MERGED:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch
