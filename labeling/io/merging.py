"""Few files per hour: small ones of one hour become one.

Always holds: the events of an hour are the same before and after; the swap of names is one
commit; the old files are deleted after it, when no reader holds them (``labeling.io.swapping``).

Not promised: one file per hour. Files of at least ``SMALL`` events are left as they are, so that
an hour of any size merges in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from labeling.io import leases, shelf
from labeling.io.archive import Archive, ArchiveFile
from labeling.io.store import Store
from labeling.io.swapping import Swept, swap

#: A file of fewer events is worth merging.
SMALL: Final = 1_000_000
#: A merged file has at most about this many.
MERGED: Final = 4_000_000


def merge_small(
    store: Store, archive: Archive, hours: Sequence[datetime], stem: Callable[[], str]
) -> int:
    """Merge small files of these hours; how many files were replaced: none while another swaps.

    Raises:
        DataError: a file is missing or damaged, or the disk refuses; nothing is swapped.
    """
    if not hours:
        return 0
    with leases.alone(store.path) as mine:
        return merge_alone(store, archive, hours, stem, 2, MERGED)[0] if mine else 0


def merge_alone(
    store: Store,
    archive: Archive,
    hours: Sequence[datetime],
    stem: Callable[[], str],
    fewest: int,
    most: int,
) -> tuple[int, Swept]:
    """``merge_small``, for the one who is ``leases.alone`` already.

    Args:
        store: open for writing, or another process's.
        archive: where the files lie.
        hours: starts of hours, UTC.
        stem: names for the files, a new one each time.
        fewest: so many small files of an hour are merged, fewer are left.
        most: about so many events of an hour are merged at a time, in memory.

    Returns:
        How many files were replaced, and what became of them.
    """
    small: dict[datetime, list[ArchiveFile]] = {hour: [] for hour in hours}
    if hours:
        for file in shelf.named(store, archive, min(hours), max(hours) + timedelta(hours=1)):
            if file.hour in small and file.rows < SMALL:
                small[file.hour].append(file)
    groups = [g for files in small.values() for g in batches(files, most) if len(g) >= fewest]
    replaced, swept = 0, Swept()
    for batch in _shared(groups):
        old = [file.name for group in batch for file in group]
        new = [archive.merge(group, stem()) for group in batch]
        swept += swap(store, archive, f"merge of {len(old)} archive files", new, old)
        replaced += len(old)
    return replaced, swept


def batches(files: Sequence[ArchiveFile], rows: int) -> Iterator[list[ArchiveFile]]:
    """Files in order, in batches of at most so many events, or of one file."""
    batch: list[ArchiveFile] = []
    held = 0
    for file in files:
        if batch and held + file.rows > rows:
            yield batch
            batch, held = [], 0
        batch.append(file)
        held += file.rows
    if batch:
        yield batch


def _shared(groups: Sequence[list[ArchiveFile]]) -> Iterator[list[list[ArchiveFile]]]:
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
