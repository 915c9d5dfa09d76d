"""The store: one DuckDB file with the rows of rules and the books about them.

Always holds: one process writes; every write is part of a numbered commit; a store of another
schema version is refused rather than guessed at.

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
from typing import Final, Self

import duckdb
import polars as pl

from labeling.errors import StoreError
from labeling.io.archive import ArchiveFile
from labeling.io.store import lookup, retention, views
from labeling.io.store.commit import Commit
from labeling.io.store.database import Database
from labeling.io.store.tables import SCHEMA_VERSION
from labeling.model.table import RuleTable

_READS: Final = ("SELECT", "EXPLAIN")


class Store:
    """An open store. Use as a context manager; ``Store.open`` makes one.

    Attributes:
        store_id: 8 hex digits, made when the file was; part of the names of archive files.
        run: how many times a writer has opened the file; part of those names too.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._in_commit = False
        self.store_id = str(db.value("SELECT value FROM meta WHERE key = 'store_id'"))
        self.run = int(db.value("SELECT value FROM meta WHERE key = 'run'"))

    @classmethod
    def open(cls, path: Path | str, *, read_only: bool = False) -> Self:
        """Open a store; a writer makes the file if it is missing.

        Args:
            path: the DuckDB file.
            read_only: for questions only; several processes may, while none writes.

        Raises:
            StoreError: locked by another process (the message says which), missing when
                ``read_only``, of another schema version, or not a store.

        Example:
            ``with Store.open("store.duckdb") as store: print(store.query("FROM commits"))``
        """
        db = Database(Path(path), read_only=read_only)
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
        """Close the file."""
        self._db.close()

    @property
    def path(self) -> Path:
        """The file."""
        return self._db.path

    # ---- writing ------------------------------------------------------------------------------

    @contextmanager
    def commit(self, what: str) -> Iterator[Commit]:
        """One transaction: all of the block's writes, or none if it raises.

        Args:
            what: what it is for, in words; kept in ``commits``.

        Raises:
            StoreError: opened inside another, the disk is full, the store is read-only.
        """
        with self._transaction(what):
            commit = Commit(self._db, self.last_commit + 1, self.run, what)
            yield commit
            commit.finish()

    @contextmanager
    def _transaction(self, what: str) -> Iterator[None]:
        if self._in_commit:
            raise StoreError(f"commit {what!r} was opened inside another; finish that one first")
        with self._db.explained():
            self._db.run("BEGIN TRANSACTION")
            self._in_commit = True
            try:
                yield
                self._db.run("COMMIT")
            except BaseException:
                # A failed COMMIT has rolled back by itself, and its error is the one to see.
                with suppress(duckdb.Error):
                    self._db.run("ROLLBACK")
                raise
            finally:
                self._in_commit = False

    def retain(self, keep_ms: Mapping[str, int | None]) -> dict[str, int]:
        """Drop old days in one commit and let DuckDB use their space again.

        See ``labeling.io.store.retention.retain`` for arguments, result and errors. Nothing to
        drop makes no commit.
        """
        if not keep_ms:
            return {}
        with self._transaction("retention"):
            dropped = retention.retain(self._db, keep_ms)
            if dropped:
                what = ", ".join(f"{rows} of {name}" for name, rows in dropped.items())
                Commit(self._db, self.last_commit + 1, self.run, f"retention: {what}").finish()
        if dropped:
            self.checkpoint()
        return dropped

    def checkpoint(self) -> None:
        """Write the log into the file, so that the file alone is the store."""
        with self._db.explained():
            self._db.run("CHECKPOINT store")

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
            StoreError: not a single SELECT (or FROM, WITH, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN), or
                DuckDB refuses it; the message is DuckDB's own.
        """
        try:
            statements = duckdb.extract_statements(sql)
            if len(statements) != 1:
                raise StoreError(f"one statement is expected, {len(statements)} were given")
            if statements[0].type.name not in _READS:
                raise StoreError(
                    f"{statements[0].type.name} is refused: the store is only read here; "
                    "write a SELECT"
                )
            with self._db.explained():
                return self._db.frame(sql)
        except duckdb.Error as error:
            raise StoreError(str(error)) from error

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
    version = db.value("SELECT value FROM meta WHERE key = 'schema_version'")
    if version != str(SCHEMA_VERSION):
        raise StoreError(
            f"{db.path} has schema version {version}, this program writes {SCHEMA_VERSION}; use "
            "the program that made it, or make a new store from the archive's input"
        )
    if not read_only:
        more = "CAST(CAST(value AS BIGINT) + 1 AS VARCHAR)"
        db.run(f"UPDATE meta SET value = {more} WHERE key = 'run'")
    db.run("COMMIT")
