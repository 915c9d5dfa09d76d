"""The DuckDB file: opening, locking, and moving frames in and out of it.

Always holds: a file made here can be read by DuckDB 1.2 and later; the session's time zone is
UTC; frames come out with times in Datetime[ms, UTC]; an error of DuckDB that a person can do
something about becomes a StoreError that says what. SQL reaches no file but the store, and what
DuckDB spills goes to a folder beside it.

Not promised: that two processes can have the file open while one of them writes. Nothing here
opens the file a second time in one process either: closing such a handle would drop the lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import duckdb
import polars as pl
from polars.interchange import CompatLevel

from labeling.errors import StoreError
from labeling.io.store import question
from labeling.model.event import TS

#: DuckDB's on-disk format: the newest that all DuckDB 1.2+ tools read.
STORAGE_VERSION: Final = "v1.2.0"
#: Appended to the file's name: the folder for what is spilled or handed over.
SPILL: Final = ".tmp"
#: A larger write-ahead log than DuckDB's 16 MB: commits do not stop for a checkpoint.
_CHECKPOINT: Final = "256MB"
#: What a writer's DuckDB may fill with pages of the file and its own work; it would take most of
#: the machine's memory, hour by hour of a replay. What it works on spills to disk before it fails.
MEMORY_BYTES: Final = 1 << 30
#: From so many rows on, an append does not keep their order.
_MANY_ROWS: Final = 100_000
#: DuckDB's errors about the file, the disk or the memory; a failed COMMIT is among them.
_MACHINE: Final = (
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.FatalException,
    duckdb.TransactionException,
)
_HOLDER: Final = re.compile(r"lock is held in (?P<program>.*?) \(PID (?P<pid>\d+)\)")


class Database:
    """One open DuckDB file. Use as a context manager.

    Args:
        path: the file.
        read_only: open without a writer's lock; the file must exist.
        memory_bytes: what DuckDB may use; a reader's is not bounded.

    Raises:
        StoreError: the file is locked, missing (read-only), or not a DuckDB file.
    """

    def __init__(self, path: Path, *, read_only: bool, memory_bytes: int = MEMORY_BYTES) -> None:
        self.path = path
        self.shared = False
        if read_only and not path.exists():
            raise StoreError(f"there is no store at {path}; `labeling import` makes one")
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.session = duckdb.connect(
            ":memory:",
            config={
                "autoload_known_extensions": "false",
                "autoinstall_known_extensions": "false",
                "python_enable_replacements": "false",
            },
        )
        # A file that exists keeps the version it was made with.
        make = "" if path.exists() else f"(STORAGE_VERSION '{STORAGE_VERSION}')"
        mode = "(READ_ONLY)" if read_only else make
        try:
            with self.explained():
                self.run("SET TimeZone = 'UTC'")
                self.run(f"SET checkpoint_threshold = '{_CHECKPOINT}'")
                if not read_only:
                    self.run(f"SET memory_limit = '{memory_bytes}B'")
                self.run(f"SET temp_directory = {quoted(self.spill)}")
                self.run(f"ATTACH {quoted(path)} AS store {mode}")
                self.run("USE store")
                # The attached file and the folder of spills stay open to it, nothing else does.
                self.run("SET enable_external_access = false")
        except BaseException:
            self.session.close()
            raise

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    @property
    def spill(self) -> Path:
        """The folder for what is spilled or handed over; it need not exist."""
        return self.path.with_name(self.path.name + SPILL)

    def beside(self) -> Self:
        """Another session over the same open file, for another thread; closed on its own."""
        other = copy(self)
        other.shared = True
        other.session = self.session.cursor()
        other.run("SET TimeZone = 'UTC'")
        other.run("USE store")
        return other

    def close(self) -> None:
        """Close the file; without an open transaction everything committed is in it."""
        self.session.close()
        if not self.shared:
            # Only when it is empty.
            with suppress(OSError):
                self.spill.rmdir()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn DuckDB's errors about the file or the machine into a StoreError."""
        try:
            yield
        except _MACHINE as error:
            text = str(error)
            passing = _is_full(text) or _HOLDER.search(text) is not None
            raise StoreError(self._advice(text), transient=passing) from error

    def _advice(self, text: str) -> str:
        held = _HOLDER.search(text)
        if held:
            return (
                f"the store {self.path} is in use by process {held['pid']} ({held['program']}); "
                "wait until it ends or stop it, then run this again"
            )
        first = text.splitlines()[0] if text else "unknown error"
        if _is_full(text):
            return f"the disk of {self.path} is full; free some space and run this again ({first})"
        if "not a valid DuckDB database file" in text:
            return f"{self.path} is not a store; name another file, or move this one away"
        return f"the store {self.path} cannot be used: {first}"

    def run(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Execute for effect; nothing is returned and nothing stays open."""
        self.session.execute(sql, list(params)).fetchall()

    def frame(self, sql: str, params: Sequence[Any] = ()) -> pl.DataFrame:
        """The result as a frame; times with a zone in ms, UTC."""
        relation = self.session.sql(sql, params=list(params))
        if relation is None:
            return pl.DataFrame()
        frame: pl.DataFrame = relation.pl()
        return frame.with_columns(pl.col(pl.Datetime("us", "UTC")).cast(TS))

    def check(self, sql: str) -> None:
        """See ``labeling.io.store.question.check``."""
        question.check(self.session, sql)

    def value(self, sql: str, params: Sequence[Any] = ()) -> Any:
        """The first column of the first row; None where there is no row."""
        frame = self.frame(sql, params)
        return frame.item(0, 0) if frame.height else None

    @contextmanager
    def given(self, name: str, frame: pl.DataFrame) -> Iterator[None]:
        """Let SQL read ``frame`` as ``name`` inside the block."""
        self.session.register(name, frame.to_arrow(compat_level=CompatLevel.newest()))
        try:
            yield
        finally:
            self.session.unregister(name)

    def append(self, table: str, frame: pl.DataFrame) -> None:
        """Append the frame's columns, by name, to a table.

        Many rows are written by all threads at once, straight into the file: half the work, for
        which they come to lie out of order by some blocks.
        """
        columns = ", ".join(f'"{c}"' for c in frame.columns)
        many = frame.height >= _MANY_ROWS
        with self.given("given_rows", frame):
            self.run(f"SET preserve_insertion_order = {not many}")
            try:
                self.run(f'INSERT INTO "{table}" ({columns}) SELECT {columns} FROM given_rows')
            finally:
                self.run("SET preserve_insertion_order = true")


def quoted(text: Path | str) -> str:
    """The text as a literal of SQL."""
    return "'" + str(text).replace("'", "''") + "'"


def _is_full(text: str) -> bool:
    """Whether DuckDB's message is about a full disk."""
    return "No space left" in text or "not enough space" in text.lower()
