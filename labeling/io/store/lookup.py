"""What the store holds of rules, hours, files and sources.

Always holds: frames have their fixed columns and types, also when empty; rows come sorted by
key, files by hour and name.

Not promised: that what is read outside a commit is still so in a later one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

import polars as pl

from labeling.errors import StoreError
from labeling.io.archive import ArchiveFile
from labeling.io.store.database import Database
from labeling.io.store.publish import between, on_key, spans
from labeling.io.store.schema import conform
from labeling.io.store.tables import BOOK_SCHEMA, HOURS
from labeling.model.table import ROW_KEY, RuleTable

_FILE: Final = tuple(f.name for f in fields(ArchiveFile))


def known(db: Database, table: RuleTable) -> bool:
    """Whether the rule's version has a table.

    Raises:
        StoreError: it has, with another digest.
    """
    digests = dict(
        db.frame("SELECT version, digest FROM rules WHERE rule = ?", [table.name]).iter_rows()
    )
    if table.version not in digests:
        return False
    if digests[table.version] != table.digest:
        raise StoreError(
            f"rule {table.name} version {table.version} has changed since its rows were "
            f"published (digest {digests[table.version]}, now {table.digest}); give the "
            f"changed rule version {max(digests) + 1}"
        )
    return True


def current(db: Database, table: RuleTable, keys: pl.DataFrame) -> pl.DataFrame:
    """Stored state of the given keys, as ``labeling.engine.changes`` takes it.

    Args:
        db: the store's file.
        table: the rule's version.
        keys: ``user_id``, ``anchor_ts``, ``anchor_id``; further columns are not looked at: of an
            attribution the whole set of an action is returned.

    Returns:
        The table's key, value columns, ``revision`` (Int32), ``present``; of a retracted key the
        values are null and ``present`` is false. Keys never published are left out. Sorted by key.
    """
    schema = {**table.schema, "revision": pl.Int32(), "present": pl.Boolean()}
    if keys.is_empty() or not known(db, table):
        return pl.DataFrame(schema=schema)
    columns = ", ".join(f't."{c}"' for c in table.schema)
    key_columns = ", ".join(f't."{c}"' for c in table.keys)
    same = on_key(ROW_KEY)
    wanted = keys.select(ROW_KEY).unique()
    found = []
    for part in spans(wanted):
        with db.given("given_keys", part):
            found.append(
                db.frame(
                    f'SELECT {columns}, t.revision, TRUE AS present FROM "{table.table}" t '
                    f"SEMI JOIN given_keys k ON {same} WHERE {between(part)}"
                )
            )
    # Few rows are ever retracted: one look for all.
    with db.given("given_keys", wanted):
        gone = db.frame(
            f"SELECT {key_columns}, t.revision, FALSE AS present FROM retracted t "
            f"SEMI JOIN given_keys k ON {same} WHERE {between(wanted)} "
            "AND t.rule = ? AND t.version = ?",
            [table.name, table.version],
        )
    found.append(gone)
    both = pl.concat(found, how="diagonal")
    return conform(both, schema).sort(table.keys)


def rows_between(
    db: Database, table: RuleTable, from_ts: datetime, to_ts: datetime
) -> pl.DataFrame:
    """Current rows of anchors of ``[from_ts, to_ts)``.

    Returns:
        Key, value columns, then ``rule_version``, ``rule_digest``, ``revision``,
        ``first_commit``, ``commit``; sorted by key. Money in micro-units.
    """
    schema = {**table.schema, **BOOK_SCHEMA}
    if not known(db, table):
        return pl.DataFrame(schema=schema)
    columns = ", ".join(f'"{c}"' for c in schema)
    rows = db.frame(
        f'SELECT {columns} FROM "{table.table}" WHERE anchor_ts >= ? AND anchor_ts < ?',
        [from_ts, to_ts],
    )
    return conform(rows, schema).sort(table.keys)


def stored_between(
    db: Database, table: RuleTable, from_ts: datetime, to_ts: datetime
) -> pl.DataFrame:
    """Like ``current`` for every key of ``[from_ts, to_ts)`` that has, or had, a row."""
    schema = {**table.schema, "revision": pl.Int32(), "present": pl.Boolean()}
    rows = rows_between(db, table, from_ts, to_ts).with_columns(present=pl.lit(value=True))
    gone = db.frame(
        f"SELECT {', '.join(table.keys)}, revision, FALSE AS present FROM retracted "
        "WHERE rule = ? AND version = ? AND anchor_ts >= ? AND anchor_ts < ?",
        [table.name, table.version, from_ts, to_ts],
    )
    both = pl.concat([rows, gone], how="diagonal")
    return conform(both, schema).sort(table.keys)


def hours(db: Database, table: RuleTable) -> pl.DataFrame:
    """Rows of ``hours`` for the rule's version, sorted by hour.

    Raises:
        StoreError: the version is known with another digest.
    """
    known(db, table)
    found = db.frame(
        "SELECT * FROM hours WHERE rule = ? AND version = ? ORDER BY hour",
        [table.name, table.version],
    )
    return HOURS.conform(found)


def replayed(db: Database, table: RuleTable) -> frozenset[datetime]:
    """The complete hours of the rule's version that a replay published last."""
    noted = hours(db, table).filter("complete", pl.col("published_by") == "replay")
    return frozenset(noted["hour"])


def files(
    db: Database, from_ts: datetime | None = None, to_ts: datetime | None = None
) -> list[ArchiveFile]:
    """Archive files that can hold an event of ``[from_ts, to_ts)``, by hour and name."""
    return _files(db, "archive_files WHERE TRUE", [], from_ts, to_ts)


def feature_files(
    db: Database, source: str, from_ts: datetime | None = None, to_ts: datetime | None = None
) -> list[ArchiveFile]:
    """A source's feature files that can hold a record of ``[from_ts, to_ts)``, likewise."""
    return _files(db, "feature_files WHERE source = ?", [source], from_ts, to_ts)


def _files(
    db: Database,
    where: str,
    given: Sequence[Any],
    from_ts: datetime | None,
    to_ts: datetime | None,
) -> list[ArchiveFile]:
    """Files of a table and condition that overlap a time."""
    conditions, params = [where], list(given)
    if from_ts is not None:
        conditions.append("max_ts >= ?")
        params.append(from_ts)
    if to_ts is not None:
        conditions.append("min_ts < ?")
        params.append(to_ts)
    found = db.frame(
        f"SELECT {', '.join(_FILE)} FROM {' AND '.join(conditions)} ORDER BY hour, name",
        params,
    )
    return [ArchiveFile(**row) for row in found.iter_rows(named=True)]


def source_ends(db: Database) -> Mapping[str, datetime | None]:
    """Source to the end up to which it was imported (exclusive); None: all there is."""
    return dict(db.frame("SELECT source, end_ts FROM source_ends ORDER BY source").iter_rows())
