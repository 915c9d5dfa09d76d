"""A store that an earlier version of this program made.

Always holds: what is migrated is as if made anew: the same tables with the same columns in the same
order, and nothing that was in them is changed. It happens in one transaction, when the store is
opened to write.

Not promised: a way back, the earlier version refuses the file from then on; nor that an older store
can be read before it was opened to write.
"""

from __future__ import annotations

from typing import Final

from labeling.errors import StoreError
from labeling.io.store.database import Database
from labeling.io.store.health_view import HEALTH
from labeling.io.store.schema import sql_type
from labeling.io.store.tables import SCHEMA_VERSION, TABLES

#: The oldest version that lacks nothing but tables, and columns at the end of others that may be
#: null.
_OLDEST: Final = 2


def settle_version(db: Database, *, read_only: bool) -> None:
    """Bring a store to ``SCHEMA_VERSION``, or find that it cannot be.

    Args:
        db: the store's file, inside a transaction.
        read_only: the file is not to be changed.

    Raises:
        StoreError: the file is of a version that this program does not know, or of an older one
            and only to be read.
    """
    version = int(db.value("SELECT value FROM meta WHERE key = 'schema_version'"))
    if not _OLDEST <= version <= SCHEMA_VERSION:
        raise StoreError(
            f"{db.path} has schema version {version}, this program writes {SCHEMA_VERSION}; use "
            "the program that made it, or make a new store from the archive's input"
        )
    if version == SCHEMA_VERSION:
        return
    if read_only:
        raise StoreError(
            f"{db.path} has schema version {version}, made by an earlier version of this program; "
            f"a command that writes, such as `labeling compact`, brings it to {SCHEMA_VERSION}"
        )
    _add_what_is_missing(db)
    db.run(HEALTH)
    db.run(f"UPDATE meta SET value = '{SCHEMA_VERSION}' WHERE key = 'schema_version'")


def _add_what_is_missing(db: Database) -> None:
    known = db.frame(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'store'"
    )
    tables, columns = set(known["table_name"]), set(known.rows())
    for table in TABLES:
        if table.name not in tables:
            db.run(table.ddl)
            continue
        for column in table.columns:
            if (table.name, column.name) not in columns:
                kind = sql_type(column.dtype)
                db.run(f'ALTER TABLE "{table.name}" ADD COLUMN "{column.name}" {kind}')
