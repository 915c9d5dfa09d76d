"""Random events as a stream archives them, for the tests of compaction."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from labeling.io.archive import Archive, ArchiveFile
from labeling.io.compaction import Compacted, compact, stems
from labeling.io.store import Store
from tests.store_shapes import at, events

HOUR_MS = 3_600_000
LATER = at(hours=1000)


class Tail:
    """A store and an archive in a folder, with a stream that writes tail files."""

    def __init__(self, folder: Path, extra: dict[str, str] | None = None) -> None:
        self.path = folder / "store.duckdb"
        self.archive = Archive(folder / "archive", extra or {})
        self._events = 0

    def batch(self, rng: random.Random, count: int, hours: Sequence[int]) -> pl.DataFrame:
        """Events of random users somewhere in these hours, out of order, ``archived`` null."""
        ids = [f"e{self._events + n:05d}" for n in range(count)]
        self._events += count
        frame = events(
            [rng.choice("abcdefgh") for _ in range(count)],
            event_id=ids,
            event_ts=[at(rng.randrange(HOUR_MS), hours=rng.choice(hours)) for _ in range(count)],
            source=[rng.choice(["app", "web"]) for _ in range(count)],
            arrival=[rng.choice(["on_time", "late", "too_late"]) for _ in range(count)],
            offset=list(range(count)),
        )
        frame = frame.with_columns(
            archived=pl.lit(None, pl.Int64),
            **{name: pl.lit("x") for name in self.archive.extra},
        )
        return frame.select(list(self.archive.schema)).sample(
            fraction=1, shuffle=True, seed=rng.randrange(2**32)
        )

    def write(self, store: Store, frame: pl.DataFrame) -> ArchiveFile:
        """What a stream does for one commit."""
        number = sum(1 for _ in self.archive.root.rglob("tail-*")) + 1
        stem = f"tail-{store.store_id}-{store.run:06d}-000-{store.last_commit:06d}{number:04d}"
        file = self.archive.write_tail(frame, stem)
        with store.commit("stream") as commit:
            commit.add_files([file])
        return file

    def fill(self, store: Store, seed: int, files: int = 6, hours: int = 3) -> pl.DataFrame:
        """Several tail files over the first hours; everything archived."""
        rng = random.Random(seed)
        for _ in range(files):
            self.write(store, self.batch(rng, rng.randrange(1, 40), range(hours)))
        return self.all(store)

    def compact(self, store: Store, before_ts: datetime = LATER, **more: int) -> Compacted:
        """Compact what lies before a time; default: all."""
        return compact(store, self.archive, before_ts, stems(store).__next__, **more)

    def all(self, store: Store) -> pl.DataFrame:
        """Every archived event with all declared columns, in a fixed order."""
        return self.archive.read(store.files()).sort("event_id")

    def lying(self) -> list[str]:
        """Names of the files that lie in the archive's folder, temporary ones too."""
        root = self.archive.root
        return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
