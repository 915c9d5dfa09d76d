"""A simulated log as a file.

Always holds: a file appears whole under its name, or not at all; its rows are those of the
arguments. Frames are made in one thread and written in another.

Not promised: the same bytes from other versions of the libraries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import polars as pl
import pyarrow.parquet as pq

from labeling.testing.simulator.chunks import Chunk, traffic
from labeling.testing.simulator.disturb import disturb
from labeling.testing.simulator.jsonl import to_jsonl
from labeling.testing.simulator.world import World

FORMATS: Final = ("parquet", "jsonl")
AHEAD: Final = 2  # frames made while one is written
#: Columns worth a Parquet dictionary; ids are nearly all different.
REPEATING: Final = (
    "event_type", "user_id", "item_id", "author_id", "scene", "platform", "position", "props",
    "is_ad", "campaign_id", "experiments.list.element", "slot",
)  # fmt: skip
#: Columns whose range by row group a reader can use.
RANGED: Final = ("event_ts", "served_ts", "user_id")


@dataclass(frozen=True)
class Disturbance:
    """What happens to events on their way; see :func:`disturb` and :func:`to_jsonl`."""

    disorder_ms: int = 0
    duplicates: float = 0.0
    late: float = 0.0
    late_by_ms: int = 3_600_000
    bad: float = 0.0

    def arrivals(self, frames: Iterator[pl.DataFrame], seed: int) -> Iterator[pl.DataFrame]:
        """The frames in the order of arrival."""
        if not (self.disorder_ms or self.duplicates or self.late):
            return frames
        return disturb(
            frames,
            seed=seed,
            disorder_ms=self.disorder_ms,
            duplicates=self.duplicates,
            late=self.late,
            late_by_ms=self.late_by_ms,
        )


@dataclass
class Written:
    """What a file got: rows of events (repeats among them), bad lines, rows of features."""

    rows: int = 0
    bad: int = 0
    features: int = 0


def features_path(out: Path) -> Path:
    """Where the features of a log go: ``log.parquet`` beside ``log.features.parquet``."""
    return out.with_name(f"{out.stem}.features{out.suffix}")


def write_log(  # noqa: PLR0913 - the traffic, the way and the file: all named
    world: World,
    out: Path,
    *,
    events: int,
    hours: float,
    seed: int,
    start: datetime,
    form: str = "parquet",
    disturbance: Disturbance | None = None,
    features: bool = False,
    advance: Callable[[int], object] = lambda _: None,
) -> Written:
    """Simulate traffic into ``out``, in the order of arrival.

    Args:
        world: sizes, rates and coefficients.
        events: how many, exactly; repeats and bad lines come on top.
        hours: how long, of event time.
        seed: of the traffic and of what happens to it.
        start: of the log, with a timezone.
        out: the file, in a folder that exists; replaced if it is there.
        form: one of ``FORMATS``.
        disturbance: none unless given; bad lines need ``jsonl``.
        features: also write ``features_path(out)``, by served_ts.
        advance: called with the number of events of each chunk made.

    Raises:
        ValueError: arguments that make no sense.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> from datetime import UTC
    >>> noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = Path(folder) / "log.parquet"
    ...     write_log(World(), log, events=99, hours=1, seed=1, start=noon).rows
    99
    """
    way = disturbance or Disturbance()
    if form not in FORMATS:
        raise ValueError(f"write_log(form={form!r}): one of {', '.join(FORMATS)}")
    if way.bad and form != "jsonl":
        raise ValueError("bad lines need the format jsonl: Parquet holds no line that is no event")
    done = Written()
    chunks = traffic(world, events=events, hours=hours, seed=seed, start=start, features=features)
    with ExitStack() as stack:
        log = stack.enter_context(_file(out, form, way.bad, seed))
        beside = _file(features_path(out), form, 0.0, seed)
        served = stack.enter_context(beside) if features else None
        pool = stack.enter_context(ThreadPoolExecutor(1))
        pending: deque[Future[int]] = deque()

        def happened(chunk: Chunk) -> pl.DataFrame:
            if served is not None and chunk.features is not None:
                done.features += chunk.features.height
                pending.append(pool.submit(served.write, chunk.features))
            advance(chunk.events.height)
            return chunk.events

        for frame in way.arrivals(map(happened, chunks), seed):
            done.rows += frame.height
            pending.append(pool.submit(log.write, frame))
            while len(pending) > AHEAD:
                done.bad += pending.popleft().result()
        done.bad += sum(future.result() for future in pending)
    return done


class _File(Protocol):
    def write(self, frame: pl.DataFrame) -> int:
        """Append rows; how many lines were written beside them."""

    def close(self) -> None:
        """Finish the file."""


class _Parquet:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None

    def write(self, frame: pl.DataFrame) -> int:
        # Strings stay as they lie in memory; the file does not say so to its readers.
        table = frame.to_arrow(compat_level=pl.CompatLevel.newest())
        if self._writer is None:
            names = set(frame.columns)
            self._writer = pq.ParquetWriter(
                self._path,
                table.schema,
                store_schema=False,
                compression="snappy",  # zstd halves the file and doubles the time
                write_statistics=[name for name in RANGED if name in names],
                use_dictionary=[name for name in REPEATING if name.split(".")[0] in names],
            )
        self._writer.write_table(table)
        return 0

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Jsonl:
    def __init__(self, path: Path, bad: float, seed: int) -> None:
        self._file = path.open("wb")
        self._bad, self._seed, self._frames = bad, seed, 0

    def write(self, frame: pl.DataFrame) -> int:
        time = next(name for name in RANGED if name in frame.columns)
        seed = self._seed * 1_000_003 + self._frames  # each frame its own bad lines
        text = to_jsonl(frame, self._bad, seed, time=time)
        self._frames += 1
        self._file.write(text)
        return text.count(b"\n") - frame.height

    def close(self) -> None:
        self._file.close()


@contextmanager
def _file(path: Path, form: str, bad: float, seed: int) -> Iterator[_File]:
    """A file under another name until everything is in it."""
    part = path.with_name(f".{path.name}.part")
    try:
        file: _File = _Parquet(part) if form == "parquet" else _Jsonl(part, bad, seed)
        try:
            yield file
        finally:
            file.close()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
