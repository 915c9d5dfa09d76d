"""Rows as they are stored against rows as they should be.

Always holds: two sets of rows of one digest are taken as equal, others are compared by ``changes``,
the difference engine of stream and replay; every difference names its row, and the columns with
both values. Digests are sums of hashes, not of floats: the order of rows does not matter.

Not promised: exactness beyond 64 bits: different rows of one digest are taken as equal, once in
10^19 comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from labeling.engine.changes import changes
from labeling.engine.keys import text_key
from labeling.model.event import TS
from labeling.model.table import RuleTable

#: What a difference is, by the change that would mend it.
_KINDS: Final = {"insert": "missing", "update": "different", "retract": "extra"}
#: Beside the key; one row per column that differs. ``stored`` and ``replayed`` are JSON, of a whole
#: row where ``column`` is null.
DIFFERENCES: Final[Mapping[str, pl.DataType]] = {
    "kind": pl.String(),
    "column": pl.String(),
    "stored": pl.String(),
    "replayed": pl.String(),
}


def hour() -> pl.Expr:
    """The hour of a row's anchor."""
    return pl.col("anchor_ts").dt.truncate("1h")


def compared(table: RuleTable, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the columns that are compared: all but revision and commits.

    Args:
        table: whose rows they are.
        rows: key and values; where the version and digest of the rule are missing, the table's.
    """
    own = {
        "rule_version": pl.lit(table.version, pl.Int32),
        "rule_digest": pl.lit(table.digest, pl.String),
    }
    added = {name: value for name, value in own.items() if name not in rows.columns}
    return rows.with_columns(**added).select(*table.schema, *own)


def digests(rows: pl.DataFrame) -> dict[object, tuple[int, int]]:
    """Each hour to the number of its rows and the sum of their hashes, modulo 2^64."""
    # JSON has no NaN: floats go in as text.
    columns = [
        pl.col(c).cast(pl.String) if dtype.is_float() else pl.col(c)
        for c, dtype in rows.schema.items()
    ]
    told = rows.select(hour=hour(), key=text_key(pl.struct(columns).struct.json_encode()))
    sums = told.group_by("hour").agg(pl.len(), pl.col("key").sum())
    return {at: (count, total) for at, count, total in sums.iter_rows()}


def differing(stored: pl.DataFrame, made: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Rows that differ, as the ``changes`` that would take stored ones to the others.

    Args:
        stored: columns as ``compared`` gives them; a key that is there twice is one too many.
        made: the same columns, each key once.
        keys: the columns that name a row.

    Returns:
        Key, ``kind`` (``missing``, ``different``, ``extra``), ``old`` and ``new`` (Structs of the
        other columns), by key.
    """
    was, now = digests(stored), digests(made)
    hours = [at for at in was.keys() | now.keys() if was.get(at) != now.get(at)]
    some = hour().is_in(pl.Series(hours, dtype=TS).implode())
    stored, made = stored.filter(some), made.filter(some)
    again = stored.filter(~pl.struct(keys).is_first_distinct())
    known = stored.unique(keys, keep="first", maintain_order=True).with_columns(
        revision=pl.lit(1, pl.Int32), present=pl.lit(value=True)
    )
    gone = known.join(made, on=keys, how="anti").select(*keys, present=pl.lit(value=False))
    wanted = pl.concat([made.with_columns(present=pl.lit(value=True)), gone], how="diagonal")
    wanted = wanted.with_columns(point_ts="anchor_ts", reason=pl.lit("replay"))
    found = changes(known, wanted, keys)
    values = pl.struct(pl.exclude(keys))
    none = pl.lit(None, found.schema["new"])
    twice = again.select(*keys, kind=pl.lit("retract"), old=values, new=none)
    both = pl.concat([found.select(*keys, "kind", "old", "new"), twice])
    return both.with_columns(pl.col("kind").replace(_KINDS)).sort(*keys, maintain_order=True)


def revised(stored: pl.DataFrame, made: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Rows of equal keys whose revisions differ: key, ``old`` and ``new`` (Int32).

    Args:
        stored: key and ``revision``.
        made: likewise.
        keys: the columns that name a row.
    """
    columns = [*keys, "revision"]
    was, now = stored.select(columns).sort(keys), made.select(columns).sort(keys)
    if was.select(keys).equals(now.select(keys)):
        both = was.with_columns(now["revision"].alias("new"))
    else:
        both = was.join(now.rename({"revision": "new"}), on=keys, how="inner")
    return both.rename({"revision": "old"}).filter(pl.col("old") != pl.col("new"))


def told(found: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Differences column by column: key and ``DIFFERENCES``, by key.

    Args:
        found: what ``differing`` returned.
        keys: the columns that name a row.
    """
    fields = found.schema["old"]
    names = [f.name for f in fields.fields] if isinstance(fields, pl.Struct) else []
    changed = found.filter(pl.col("kind") == "different")
    parts = [_whole(found.filter(pl.col("kind") != "different"), keys)]
    for name in names:
        old, new = (pl.col(side).struct.field(name) for side in ("old", "new"))
        differs = changed.filter(old.ne_missing(new))
        parts.append(_columns(differs, keys, name, (old, new)))
    return pl.concat(parts).sort(*keys, maintain_order=True)


def told_revisions(found: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The same of what ``revised`` returned."""
    kind = found.with_columns(kind=pl.lit("revision"))
    return _columns(kind, keys, "revision", (pl.col("old"), pl.col("new")))


def _whole(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    texts = {
        name: pl.when(pl.col(side).is_not_null()).then(pl.col(side).struct.json_encode())
        for side, name in (("old", "stored"), ("new", "replayed"))
    }
    return rows.select(*keys, "kind", column=pl.lit(None, pl.String), **texts)


def _columns(
    rows: pl.DataFrame, keys: Sequence[str], name: str, sides: tuple[pl.Expr, pl.Expr]
) -> pl.DataFrame:
    old, new = map(_json, sides)
    return rows.select(*keys, "kind", column=pl.lit(name, pl.String), stored=old, replayed=new)


def _json(value: pl.Expr) -> pl.Expr:
    """One value as JSON."""
    packed = pl.struct(value.alias("v")).struct.json_encode()
    return packed.str.strip_prefix('{"v":').str.strip_suffix("}")
