"""Rows as they are stored against rows as they should be.

Always holds: two sets of rows of one digest are taken as equal, others are compared by ``changes``,
the difference engine of stream and replay; every difference names its row, and the columns with
both values. Digests are sums of hashes, not of floats: the order of rows does not matter.

Not promised: exactness beyond 64 bits: different rows of one digest are taken as equal, once in
10^19 comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from labeling.engine.changes import KEYS, changes
from labeling.engine.keys import text_key
from labeling.model.event import TS
from labeling.model.table import ROW_KEY_SCHEMA, RuleTable

#: What a difference is, by the change that would mend it.
_KINDS: Final = {"insert": "missing", "update": "different", "retract": "extra"}
#: One row per column that differs; ``stored`` and ``replayed`` are JSON, of a whole row where
#: ``column`` is null.
DIFFERENCES: Final[Mapping[str, pl.DataType]] = {
    **ROW_KEY_SCHEMA,
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


def differing(stored: pl.DataFrame, made: pl.DataFrame) -> pl.DataFrame:
    """Rows that differ, as the ``changes`` that would take stored ones to the others.

    Args:
        stored: columns as ``compared`` gives them; a key that is there twice is one too many.
        made: the same columns, each key once.

    Returns:
        Key, ``kind`` (``missing``, ``different``, ``extra``), ``old`` and ``new`` (Structs of the
        other columns), by key.
    """
    was, now = digests(stored), digests(made)
    hours = [at for at in was.keys() | now.keys() if was.get(at) != now.get(at)]
    some = hour().is_in(pl.Series(hours, dtype=TS).implode())
    stored, made = stored.filter(some), made.filter(some)
    again = stored.filter(~pl.struct(KEYS).is_first_distinct())
    known = stored.unique(KEYS, keep="first", maintain_order=True).with_columns(
        revision=pl.lit(1, pl.Int32), present=pl.lit(value=True)
    )
    gone = known.join(made, on=KEYS, how="anti").select(*KEYS, present=pl.lit(value=False))
    wanted = pl.concat([made.with_columns(present=pl.lit(value=True)), gone], how="diagonal")
    found = changes(known, wanted.with_columns(point_ts="anchor_ts", reason=pl.lit("replay")))
    values = pl.struct(pl.exclude(KEYS))
    none = pl.lit(None, found.schema["new"])
    twice = again.select(*KEYS, kind=pl.lit("retract"), old=values, new=none)
    both = pl.concat([found.select(*KEYS, "kind", "old", "new"), twice])
    return both.with_columns(pl.col("kind").replace(_KINDS)).sort(*KEYS, maintain_order=True)


def revised(stored: pl.DataFrame, made: pl.DataFrame) -> pl.DataFrame:
    """Rows of equal keys whose revisions differ: key, ``old`` and ``new`` (Int32).

    Args:
        stored: key and ``revision``.
        made: likewise.
    """
    columns = [*KEYS, "revision"]
    was, now = stored.select(columns).sort(KEYS), made.select(columns).sort(KEYS)
    if was.select(KEYS).equals(now.select(KEYS)):
        both = was.with_columns(now["revision"].alias("new"))
    else:
        both = was.join(now.rename({"revision": "new"}), on=KEYS, how="inner")
    return both.rename({"revision": "old"}).filter(pl.col("old") != pl.col("new"))


def told(found: pl.DataFrame) -> pl.DataFrame:
    """Differences column by column: ``DIFFERENCES``, by key.

    Args:
        found: what ``differing`` returned.
    """
    fields = found.schema["old"]
    names = [f.name for f in fields.fields] if isinstance(fields, pl.Struct) else []
    changed = found.filter(pl.col("kind") == "different")
    parts = [_whole(found.filter(pl.col("kind") != "different"))]
    for name in names:
        old, new = (pl.col(side).struct.field(name) for side in ("old", "new"))
        differs = changed.filter(old.ne_missing(new))
        parts.append(_columns(differs, name, old, new))
    return pl.concat(parts).sort(*KEYS, maintain_order=True)


def told_revisions(found: pl.DataFrame) -> pl.DataFrame:
    """The same of what ``revised`` returned."""
    kind = found.with_columns(kind=pl.lit("revision"))
    return _columns(kind, "revision", pl.col("old"), pl.col("new"))


def _whole(rows: pl.DataFrame) -> pl.DataFrame:
    texts = {
        name: pl.when(pl.col(side).is_not_null()).then(pl.col(side).struct.json_encode())
        for side, name in (("old", "stored"), ("new", "replayed"))
    }
    return rows.select(*KEYS, "kind", column=pl.lit(None, pl.String), **texts)


def _columns(rows: pl.DataFrame, name: str, old: pl.Expr, new: pl.Expr) -> pl.DataFrame:
    return rows.select(
        *KEYS, "kind", column=pl.lit(name, pl.String), stored=_json(old), replayed=_json(new)
    )


def _json(value: pl.Expr) -> pl.Expr:
    """One value as JSON."""
    packed = pl.struct(value.alias("v")).struct.json_encode()
    return packed.str.strip_prefix('{"v":').str.strip_suffix("}")
