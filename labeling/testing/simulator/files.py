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

from labeling.testing.simulator.chunks import simulate, traffic
from labeling.testing.simulator.disturb import disturb
from labeling.testing.simulator.features import FeatureLog
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
    features: bool | FeatureLog = False,
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
        features: also write ``features_path(out)``, by served_ts; or in the order of arrival, with
            what the ``FeatureLog`` says.
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
    span: dict[str, Any] = {"events": events, "hours": hours, "seed": seed, "start": start}
    with ExitStack() as stack:
        log = stack.enter_context(_file(out, form, way.bad, seed))
        pool = stack.enter_context(ThreadPoolExecutor(1))

        def happened(frame: pl.DataFrame) -> pl.DataFrame:
            advance(frame.height)
            return frame

        made = map(happened, simulate(world, **span))
        for rows, bad in _written(pool, log, way.arrivals(made, seed)):
            done.rows, done.bad = done.rows + rows, done.bad + bad
        if features:
            kind = FeatureLog() if features is True else features
            beside = stack.enter_context(_file(features_path(out), form, 0.0, seed))
            # The traffic once more: what waits to arrive is features then, and no events.
            chunks = traffic(world, **span, features=True)
            served = (c.features for c in chunks if c.features is not None)
            arriving = kind.arrivals(world, served, seed)
            done.features = sum(rows for rows, _ in _written(pool, beside, arriving))
    return done


def _written(
    pool: ThreadPoolExecutor, file: _File, frames: Iterator[pl.DataFrame]
) -> Iterator[tuple[int, int]]:
    """Write frames in the pool's thread; of each its rows, and how many lines beside them."""
    pending: deque[tuple[int, Future[int]]] = deque()
    for frame in frames:
        pending.append((frame.height, pool.submit(file.write, frame)))
        while len(pending) > AHEAD:
            rows, future = pending.popleft()
            yield rows, future.result()
    for rows, future in pending:
        yield rows, future.result()


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
        # Strings stay as they lie in memory; the file does not say so to its readers. Arrow does
        # not write them so within the items of a request.
        plain = "items" not in frame.columns
        level = pl.CompatLevel.newest() if plain else pl.CompatLevel.oldest()
        table = frame.to_arrow(compat_level=level)
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
