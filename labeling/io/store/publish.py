"""Taking changes into a rule's table.

Always holds: after ``publish`` the table holds the latest revision of every changed key, and
``label_changes`` every update and retraction in between; a retracted key is in ``retracted``
until its row returns, with the commit of its first publication.

Not promised: that ``changes`` follow from what is stored. They are the output of
``labeling.engine.changes``, computed from ``lookup.current`` of the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import polars as pl

from labeling.engine.keys import string_key
from labeling.io.store.database import Database
from labeling.io.store.schema import conform
from labeling.io.store.tables import BOOK_SCHEMA, LABEL_CHANGES, RETRACTED
from labeling.model.table import RuleTable

#: Keys further apart than this are looked for apart, in up to so many parts.
_APART_MS: Final = 60_000
_MOST_SPANS: Final = 8


@dataclass(frozen=True, slots=True)
class Published:
    """How many changes of each kind were taken in."""

    inserted: int
    updated: int
    retracted: int

    @property
    def changes(self) -> int:
        """All of them."""
        return self.inserted + self.updated + self.retracted


def publish(db: Database, table: RuleTable, changes: pl.DataFrame, commit: int) -> Published:
    """Apply changes of one rule's version; see the module's law.

    Args:
        db: the store's file, inside a transaction.
        table: the rule's version; its table exists.
        changes: key, ``revision`` (Int32), ``kind``, ``reason``, ``point_ts``, ``old`` and ``new``
            (Struct of ``table.values``); a key may change several times, in any row order.
        commit: the number of the transaction.
    """
    keys = table.keys
    inserts = changes["kind"] == "insert"
    others = changes.filter(~inserts)
    plain = changes
    if others.height:
        _append_changes(db, table, others, commit)
        # By hash of the id, so that of millions of inserts few are compared by their keys.
        ids = others.select(string_key("anchor_id").unique()).to_series()
        near = changes.select(string_key("anchor_id").is_in(ids.implode())).to_series()
        plain, maybe = changes.filter(~near), changes.filter(near)
        touched = others.select(keys).unique(maintain_order=True)
        several = maybe.join(touched, on=keys, how="semi", maintain_order="left")
        alone = maybe.join(touched, on=keys, how="anti", maintain_order="left")
        plain = pl.concat([plain, alone])
        _settle(db, table, several.sort(*keys, "revision"), commit)
    returned = plain["revision"] > 1
    if returned.any():
        _settle(db, table, plain.filter(returned).sort(*keys, "revision"), commit)
        plain = plain.filter(~returned)
    _append_rows(db, table, plain.with_columns(first_commit=pl.lit(commit, pl.Int64)), commit)
    updated = others.filter(pl.col("kind") == "update").height
    return Published(int(inserts.sum()), updated, others.height - updated)


def publish_first(
    db: Database, table: RuleTable, rows: pl.DataFrame, updates: pl.DataFrame, commit: int
) -> None:
    """Take in rows whose keys the store has never had, as they end.

    The same as ``publish`` of all their changes, without a struct for each of millions of inserts.

    Args:
        db: in a transaction.
        table: the rule's version, whose table exists.
        rows: key, values and ``revision``, one row for each key that is there in the end.
        updates: their changes but the inserts, as for ``publish``, and those of keys that went.
        commit: the number of the transaction.
    """
    if updates.height:
        _append_changes(db, table, updates, commit)
        retracted = updates.filter(pl.col("kind") == "retract").sort(*table.keys, "revision")
        ends = retracted.unique(table.keys, keep="last", maintain_order=True)
        gone = ends.join(rows, on=table.keys, how="anti", maintain_order="left")
        _append_retracted(db, table, gone.with_columns(first_commit=pl.lit(commit)), commit)
    _append(db, table, rows.with_columns(first_commit=pl.lit(commit, pl.Int64)), commit)


def _append_rows(db: Database, table: RuleTable, changes: pl.DataFrame, commit: int) -> None:
    """Rows of the ``new`` values; ``changes`` has one row per key and ``first_commit``."""
    if changes.is_empty():
        return
    new = changes["new"].struct.unnest()
    rows = changes.select(*table.keys, "revision", "first_commit")
    _append(db, table, rows.with_columns(new[name] for name in table.values), commit)


def _append(db: Database, table: RuleTable, rows: pl.DataFrame, commit: int) -> None:
    """Rows of key, values, ``revision`` and ``first_commit``."""
    if rows.is_empty():
        return
    rows = rows.with_columns(
        rule_version=pl.lit(table.version, pl.Int32),
        rule_digest=pl.lit(table.digest),
        commit=pl.lit(commit, pl.Int64),
    )
    db.append(table.table, conform(rows, {**table.schema, **BOOK_SCHEMA}))


def _append_changes(db: Database, table: RuleTable, others: pl.DataFrame, commit: int) -> None:
    old, new = _texts(others, list(table.values))
    rows = others.with_columns(
        rule=pl.lit(table.name),
        version=pl.lit(table.version, pl.Int32),
        old=old,
        new=new,
        commit=pl.lit(commit, pl.Int64),
    )
    db.append(LABEL_CHANGES.name, LABEL_CHANGES.conform(rows))


def _texts(others: pl.DataFrame, names: list[str]) -> tuple[pl.Expr, pl.Expr]:
    """``old`` and ``new`` as JSON of the columns that differ; of a retraction all of ``old``."""
    update = pl.col("kind") == "update"
    differ = {c: ~update | _field("old", c).ne_missing(_field("new", c)) for c in names}
    # Carried columns never differ between updates: do not look at them again.
    some = others.select(differs.any().alias(c) for c, differs in differ.items())
    used = {c: differs for c, differs in differ.items() if some.item(0, c)}
    old, new = (_object(side, used) for side in ("old", "new"))
    return old, pl.when(update).then(new)


def _field(side: str, name: str) -> pl.Expr:
    return pl.col(side).struct.field(name)


def _object(side: str, columns: Mapping[str, pl.Expr]) -> pl.Expr:
    """One JSON object per row, of each column where its condition holds."""
    parts = [
        pl.when(holds).then(
            # {"name":value} without its braces
            pl.struct(_field(side, name)).struct.json_encode().str.slice(1).str.strip_suffix("}")
        )
        for name, holds in columns.items()
    ]
    inside = pl.concat_str(parts, separator=",", ignore_nulls=True) if parts else pl.lit("")
    return pl.concat_str(pl.lit("{"), inside, pl.lit("}"))


def _settle(db: Database, table: RuleTable, changes: pl.DataFrame, commit: int) -> None:
    """Bring keys that the store may know to their last state; sorted by key and revision."""
    keys = table.keys
    starts = changes.unique(keys, keep="first", maintain_order=True)
    ends = changes.unique(keys, keep="last", maintain_order=True)
    # A key whose first change here has revision 1 is new; one that is inserted had been retracted.
    inserted = pl.col("kind") == "insert"
    stored = starts.filter(~inserted).select(keys)
    returned = starts.filter(inserted & (pl.col("revision") > 1)).select(keys)
    born = _first_commits(db, table, stored, returned)
    ends = ends.join(born, on=keys, how="left", maintain_order="left").with_columns(
        pl.col("first_commit").fill_null(commit)
    )
    _delete(db, table.table, stored, "")
    _delete(db, RETRACTED.name, returned, _mine(table))
    gone = ends["kind"] == "retract"
    _append_rows(db, table, ends.filter(~gone), commit)
    _append_retracted(db, table, ends.filter(gone), commit)


def _append_retracted(db: Database, table: RuleTable, gone: pl.DataFrame, commit: int) -> None:
    """Retractions that are the last of their keys, with ``first_commit``."""
    if gone.is_empty():
        return
    rows = gone.with_columns(
        rule=pl.lit(table.name),
        version=pl.lit(table.version, pl.Int32),
        commit=pl.lit(commit, pl.Int64),
    )
    db.append(RETRACTED.name, RETRACTED.conform(rows))


def _mine(table: RuleTable) -> str:
    return f"AND t.rule = '{table.name}' AND t.version = {table.version}"


def _first_commits(
    db: Database, table: RuleTable, stored: pl.DataFrame, returned: pl.DataFrame
) -> pl.DataFrame:
    """Key and ``first_commit`` of keys that have a row, and of those that had one."""
    found = [pl.DataFrame(schema={**table.key, "first_commit": pl.Int64()})]
    columns = ", ".join(table.keys)
    for name, keys, more in (
        (table.table, stored, ""),
        (RETRACTED.name, returned, _mine(table)),
    ):
        for part in spans(keys) if keys.height else ():
            with db.given("given_keys", part):
                found.append(
                    db.frame(
                        f'SELECT {columns}, first_commit FROM "{name}" t SEMI JOIN given_keys k '
                        f"ON {on_key(table.keys)} WHERE {between(part)} {more}"
                    )
                )
    return pl.concat(found)


def _delete(db: Database, name: str, keys: pl.DataFrame, condition: str) -> None:
    for part in spans(keys) if keys.height else ():
        with db.given("given_keys", part):
            db.run(
                f'DELETE FROM "{name}" t USING given_keys k '
                f"WHERE {on_key(part.columns)} AND {between(part)} {condition}"
            )


def on_key(keys: Sequence[str]) -> str:
    """That row ``t`` has the key ``k``."""
    return " AND ".join(f't."{c}" = k."{c}"' for c in keys)


def spans(keys: pl.DataFrame) -> list[pl.DataFrame]:
    """Keys in parts that lie together in time: between two parts nothing need be looked at.

    Rows of several points come at once, anchors of a minute and of half an hour ago.
    """
    ordered = keys.sort("anchor_ts")
    apart = ordered["anchor_ts"].diff().dt.total_milliseconds().fill_null(0)
    cuts = ordered.select(gap=apart).with_row_index("at").filter(pl.col("gap") > _APART_MS)
    places = sorted(cuts.top_k(_MOST_SPANS - 1, by="gap")["at"].to_list())
    edges = [0, *places, ordered.height]
    return [ordered[low:high] for low, high in pairwise(edges)]


def between(keys: pl.DataFrame) -> str:
    """The range of event time that the keys lie in: it lets DuckDB skip blocks of rows."""
    ts = pl.col("anchor_ts")
    edges = keys.select(low=ts.min(), high=ts.max())
    low, high = edges.select(pl.all().dt.strftime("%Y-%m-%dT%H:%M:%S%.3f+00:00")).row(0)
    return f"t.anchor_ts BETWEEN TIMESTAMPTZ '{low}' AND TIMESTAMPTZ '{high}'"
