"""An open transaction of the store: frames into its tables.

Always holds: every row that is written carries the number of the transaction, where its table
has a column for it; nothing is seen outside before the transaction ends.

Not promised: what the tables mean. Those who write them know.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from labeling.io.store.database import Database
from labeling.io.store.schema import Table
from labeling.io.store.sums import add_sums


class Transaction:
    """A numbered transaction; made by ``Store.commit``, as a ``Commit``.

    Args:
        db: the store's file, inside a transaction.
        number: of the commit.
    """

    def __init__(self, db: Database, number: int) -> None:
        self.number = number
        self._db = db

    @property
    def database(self) -> Database:
        """The session of the transaction, for those who listen: reads see what it wrote."""
        return self._db

    def append(self, table: Table, rows: pl.DataFrame) -> None:
        """Add rows to one of the store's tables; a column that is missing is null."""
        if rows.height:
            self._db.append(table.name, self._conform(table, rows))

    def replace(self, table: Table, rows: pl.DataFrame, keys: Sequence[str]) -> None:
        """Put rows in the place of those of the same keys, none of which is null."""
        if rows.is_empty():
            return
        same = " AND ".join(f't."{c}" = k."{c}"' for c in keys)
        with self._db.given("given_keys", rows.select(keys)):
            self._db.run(f"DELETE FROM {table.name} t USING given_keys k WHERE {same}")
        self.append(table, rows)

    def add_sums(self, name: str, differences: pl.DataFrame, keys: Sequence[str]) -> None:
        """Add differences to a table of sums; see ``labeling.io.store.sums.add_sums``."""
        add_sums(self._db, name, differences, keys)

    def _conform(self, table: Table, rows: pl.DataFrame) -> pl.DataFrame:
        """The frame with the table's columns and types, this commit's number in it."""
        return table.conform(rows.with_columns(commit=pl.lit(self.number, pl.Int64)))
