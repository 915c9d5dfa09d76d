"""The store: one DuckDB file with the rows of rules and the books about them.

Always holds: one process writes; every write is part of a numbered commit, one at a time in the
order in which its threads asked; a store of another schema version is migrated or refused, never
guessed at.

Not promised: anything about the archive's files themselves. The store names them; see
``labeling.io.archive``.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import polars as pl

from labeling.errors import StoreError
from labeling.io.archive import ArchiveFile
from labeling.io.store import lookup, retention, views
from labeling.io.store.commit import Commit
from labeling.io.store.database import MEMORY_BYTES, Database
from labeling.io.store.listener import DEAF, Listener
from labeling.io.store.migration import settle_version
from labeling.io.store.snapshot import hand_over, stage
from labeling.io.store.tables import SCHEMA_VERSION
from labeling.io.store.turns import Turns
from labeling.model.table import RuleTable


class Store:
    """An open store. Use as a context manager; ``Store.open`` makes one.

    One thread uses it; for another thread there is ``beside``.

    Attributes:
        store_id: 8 hex digits, made when the file was; part of the names of archive files.
        run: how many times a writer has opened the file; part of those names too.
        listener: hears what commits publish; nobody unless set.
    """

    def __init__(self, db: Database, turns: Turns | None = None) -> None:
        self._db = db
        self._turns = turns or Turns()
        self.listener: Listener = DEAF
        self.store_id = str(db.value("SELECT value FROM meta WHERE key = 'store_id'"))
        self.run = int(db.value("SELECT value FROM meta WHERE key = 'run'"))

    @classmethod
    def open(
        cls, path: Path | str, *, read_only: bool = False, memory_bytes: int = MEMORY_BYTES
    ) -> Self:
        """Open a store; a writer makes the file if it is missing.

        Args:
            path: the DuckDB file.
            read_only: for questions only; several processes may, while none writes.
            memory_bytes: what a writer's DuckDB may use.

        Raises:
            StoreError: locked by another process (the message says which), missing when
                ``read_only``, of another schema version, or not a store.

        Example:
            ``with Store.open("store.duckdb") as store: print(store.query("FROM commits"))``
        """
        db = Database(Path(path), read_only=read_only, memory_bytes=memory_bytes)
        try:
            with db.explained():
                _prepare(db, read_only=read_only)
                return cls(db)
        except BaseException:
            db.close()
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

    def close(self) -> None:
        """Close the file; of a store from ``beside``, only that session."""
        self._db.close()

    def beside(self) -> Store:
        """The same open store for another thread: commits take turns, reads see what is committed.

        Example:
            ``with store.beside() as mine: mine.query("FROM commits")``
        """
        other = Store(self._db.beside(), self._turns)
        other.run, other.listener = self.run, self.listener
        return other

    @property
    def database(self) -> Database:
        """The session, for those who answer questions beside the flow."""
        return self._db

    @property
    def path(self) -> Path:
        """The file."""
        return self._db.path

    # ---- writing ------------------------------------------------------------------------------

    @contextmanager
    def commit(self, what: str, *, run: int | None = None) -> Iterator[Commit]:
        """One transaction: all of the block's writes, or none if it raises.

        A thread that finds another's commit under way waits for its turn.

        Args:
            what: what it is for, in words; kept in ``commits``.
            run: whose commit it is, where it is not this process's own.

        Raises:
            StoreError: opened inside another, the disk is full, the store is read-only.
        """
        with self._turns.turn(what):
            self.listener.begin()
            with self._transaction():
                number = self.last_commit + 1
                commit = Commit(self._db, number, run or self.run, what, self.listener)
                yield commit
                commit.finish()
            self.listener.committed()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._db.explained():
            self._db.run("BEGIN TRANSACTION")
            try:
                yield
                self._db.run("COMMIT")
            except BaseException:
                # A failed COMMIT has rolled back by itself, and its error is the one to see.
                with suppress(duckdb.Error):
                    self._db.run("ROLLBACK")
                raise

    def new_run(self) -> int:
        """Count another writer: the number by which its commits and files are told from others'."""
        with self._turns.turn("run"), self._transaction():
            count_run(self._db)
            return int(self._db.value("SELECT value FROM meta WHERE key = 'run'"))

    def retain(self, keep_ms: Mapping[str, int | None]) -> dict[str, int]:
        """Drop old days in one commit and let DuckDB use their space again.

        See ``labeling.io.store.retention.retain`` for arguments, result and errors. Nothing to
        drop makes no commit.
        """
        if not keep_ms:
            return {}
        with self._turns.turn("retention"), self._transaction():
            dropped = retention.retain(self._db, keep_ms)
            if dropped:
                what = ", ".join(f"{rows} of {name}" for name, rows in dropped.items())
                Commit(self._db, self.last_commit + 1, self.run, f"retention: {what}").finish()
        if dropped:
            self.checkpoint()
        return dropped

    def checkpoint(self) -> None:
        """Write the log into the file, so that the file alone is the store."""
        with self._turns.turn("checkpoint"), self._db.explained():
            self._db.run("CHECKPOINT store")

    def snapshot(self, path: Path, *, force: bool = False) -> int:
        """Copy the store, as of now, into a file for other tools; the last commit that is in it.

        Args:
            path: the copy.
            force: also over a file that is there.

        Raises:
            StoreError: the file exists, or the disk refuses.
        """
        if path.exists() and not force:
            raise StoreError(f"{path} exists; name another file, or replace it with --force")
        staged, commit = stage(self._db)
        hand_over(staged, path, force=force)
        return commit

    # ---- reading ------------------------------------------------------------------------------

    @property
    def last_commit(self) -> int:
        """The number of the latest commit; 0 in a new store."""
        number = self._db.value("SELECT max(commit) FROM commits")
        return 0 if number is None else int(number)

    def query(self, sql: str) -> pl.DataFrame:
        """Answer one read-only question.

        Returns:
            The result; times with a zone as Datetime[ms, UTC].

        Raises:
            StoreError: not a single SELECT (or FROM, WITH, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN), see
                ``labeling.io.store.question``; or DuckDB refuses it, in its own words.
        """
        self._db.check(sql)
        try:
            with self._db.explained():
                return self._db.frame(sql)
        except duckdb.Error as error:
            raise StoreError(str(error)) from error
        except pl.exceptions.PolarsError as error:
            raise StoreError(f"a column's type has no place here, cast it: {error}") from error

    def current(self, table: RuleTable, keys: pl.DataFrame) -> pl.DataFrame:
        """See ``labeling.io.store.lookup.current``."""
        return lookup.current(self._db, table, keys)

    def rows_between(self, table: RuleTable, from_ts: datetime, to_ts: datetime) -> pl.DataFrame:
        """See ``labeling.io.store.lookup.rows_between``."""
        return lookup.rows_between(self._db, table, from_ts, to_ts)

    def stored_between(self, table: RuleTable, from_ts: datetime, to_ts: datetime) -> pl.DataFrame:
        """See ``labeling.io.store.lookup.stored_between``."""
        return lookup.stored_between(self._db, table, from_ts, to_ts)

    def hours(self, table: RuleTable) -> pl.DataFrame:
        """Rows of ``hours`` for the rule's version, sorted by hour."""
        return lookup.hours(self._db, table)

    def files(
        self, from_ts: datetime | None = None, to_ts: datetime | None = None
    ) -> list[ArchiveFile]:
        """Archive files that can hold an event of ``[from_ts, to_ts)``, by hour and name."""
        return lookup.files(self._db, from_ts, to_ts)

    def feature_files(
        self, source: str, from_ts: datetime | None = None, to_ts: datetime | None = None
    ) -> list[ArchiveFile]:
        """A source's feature files that can hold a record of ``[from_ts, to_ts)``, likewise."""
        return lookup.feature_files(self._db, source, from_ts, to_ts)

    def source_ends(self) -> Mapping[str, datetime | None]:
        """Source to its declared end (exclusive); None: all there is."""
        return lookup.source_ends(self._db)


def _prepare(db: Database, *, read_only: bool) -> None:
    """Check what the file is, make it if it is new, and count this run."""
    tables = db.frame("SELECT table_name FROM duckdb_tables() WHERE database_name = 'store'")
    names = set(tables["table_name"]) if tables.height else set()
    if not names and read_only:
        raise StoreError(f"{db.path} is empty; `labeling import` fills it")
    if names and "meta" not in names:
        raise StoreError(f"{db.path} is a DuckDB file but not a store; name another file")
    db.run("BEGIN TRANSACTION")
    if not names:
        views.create_all(db)
        db.run(
            "INSERT INTO meta VALUES ('schema_version', ?), ('store_id', ?), ('run', '0')",
            [str(SCHEMA_VERSION), secrets.token_hex(4)],
        )
    settle_version(db, read_only=read_only)
    if not read_only:
        count_run(db)
    db.run("COMMIT")


def count_run(db: Database) -> None:
    """Note that another writer has come."""
    more = "CAST(CAST(value AS BIGINT) + 1 AS VARCHAR)"
    db.run(f"UPDATE meta SET value = {more} WHERE key = 'run'")
