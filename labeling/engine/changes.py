"""The one difference engine: what happened to rows, given what is stored.

Always holds: ``apply(old, changes(old, new))`` holds exactly the rows of ``new`` for the keys that
``new`` speaks of, and the others as they were; ``changes(x, x)`` is empty; applying twice equals
once; a row that equals what is stored makes no change; revisions of a key count up from 1 without
gaps, over a retraction too.

With ``whole``, ``new`` speaks of sets: the rows of one set at one point are all that there are, and
a key of the set that is not among them is absent from that point on.

Not promised: an opinion on keys, or sets, that ``new`` does not name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

KEYS: Final = ("user_id", "anchor_ts", "anchor_id")
META: Final = ("point_ts", "reason", "present")
#: Changes of one point come in the order of time, as rows do.
_ORDER: Final = ("anchor_ts", "anchor_id", "user_id")


def changes(
    stored: pl.DataFrame,
    rows: pl.DataFrame,
    keys: Sequence[str] = KEYS,
    *,
    whole: Sequence[str] | None = None,
) -> pl.DataFrame:
    """The changes that take stored rows to new ones.

    Args:
        stored: keys, values, ``revision`` (Int32) and ``present`` (Boolean: ``False`` for a key
            that was retracted). No key twice.
        rows: ``point_ts``, ``reason``, ``present``, keys and the same values. A key may stand at
            several points; they follow one another by ``point_ts``.
        keys: the columns that name a row.
        whole: those of ``keys`` that name a set, all of whose rows are returned at each of its
            points, with one reason; of such sets ``stored`` has every key. None: each row is by
            itself.

    Returns:
        ``keys``, ``revision``, ``kind`` (``insert``, ``update`` or ``retract``), ``reason``,
        ``point_ts``, ``old`` and ``new`` (Structs of the values; ``old`` null for an insert,
        ``new`` for a retraction), in the order (point, anchor time, id, user).
    """
    values = [c for c in rows.columns if c not in (*keys, *META)]
    if whole is not None:
        rows = pl.concat([rows, _left(stored, rows, keys, whole)], how="diagonal")
    line = _line_up(stored, rows, keys, values)
    same_key = pl.all_horizontal(pl.col(k) == pl.col(k).shift(1) for k in keys).fill_null(
        value=False
    )
    was = same_key & pl.col("present").shift(1).fill_null(value=False)
    equal = pl.all_horizontal(pl.col(v).eq_missing(pl.col(v).shift(1)) for v in values)
    kind = (
        pl.when(pl.col("present") & ~was).then(pl.lit("insert"))
        .when(was & ~pl.col("present")).then(pl.lit("retract"))
        .when(was & pl.col("present") & ~equal).then(pl.lit("update"))
    )  # fmt: skip
    told = line.select(same_key.alias("same"), was.alias("was"), kind=pl.when("fresh").then(kind))
    so_far = pl.col("kind").is_not_null().cast(pl.Int32).cum_sum()
    # What is stored of a key comes first in its run and is no change itself.
    base = pl.when(~pl.col("same")).then(line["revision"] - so_far + _is_change()).forward_fill()
    told = told.with_columns(revision=(base + so_far).cast(pl.Int32)).with_row_index("at")
    told = told.filter(_is_change())
    now, before = line[told["at"]], line[told["at"] - told["was"].cast(pl.UInt32)]
    made = pl.concat(
        [now.drop("revision"), told.select("was", "kind", "revision")], how="horizontal"
    )
    made = made.with_columns(
        old=pl.when("was").then(before.select(pl.struct(values)).to_series()),
        new=pl.when("present").then(pl.struct(values)),
    )
    columns = (*keys, "revision", "kind", "reason", "point_ts", "old", "new")
    return made.select(columns).sort("point_ts", *sorted(keys, key=_rank))


def _left(
    stored: pl.DataFrame, rows: pl.DataFrame, keys: Sequence[str], whole: Sequence[str]
) -> pl.DataFrame:
    """Rows, absent, of the keys that their set is without at a point, though it has them elsewhere.

    Before its first point such a key is absent all the same, which is no change.
    """
    at = [*whole, "point_ts"]
    sets = rows.select(*at, "reason").unique(at, keep="first", maintain_order=True)
    several = sets.filter(~sets.select(pl.struct(whole).is_unique()).to_series())
    held = stored.filter("present").select(keys)
    # Of a set with one point and nothing stored nobody can have left.
    open_sets = pl.concat([several.select(whole), held.select(whole)]).unique()
    members = pl.concat([held, rows.filter("present").select(keys)]).unique()
    asked = sets.join(open_sets, on=whole, how="semi").join(members, on=whole)
    gone = asked.join(rows, on=[*keys, "point_ts"], how="anti")
    return gone.select(*keys, "point_ts", "reason", present=pl.lit(value=False))


def _rank(key: str) -> int:
    """Where a key column stands in the order of changes: time, then id, then the rest."""
    return _ORDER.index(key) if key in _ORDER else len(_ORDER)


def _is_change() -> pl.Expr:
    return pl.col("kind").is_not_null()


def _line_up(
    stored: pl.DataFrame, rows: pl.DataFrame, keys: Sequence[str], values: Sequence[str]
) -> pl.DataFrame:
    """What is stored and what is new, by key, each key's in the order in which it came to be."""
    columns = [*keys, *values, "revision", "present", "point_ts", "reason", "fresh"]
    before = stored.with_columns(
        point_ts=pl.lit(None, rows.schema["point_ts"]),
        reason=pl.lit(None, pl.String),
        fresh=pl.lit(value=False),
    )
    after = rows.with_columns(revision=pl.lit(0, pl.Int32), fresh=pl.lit(value=True))
    both = pl.concat([before.select(columns), after.select(columns)])
    return both.sort(*keys, "fresh", "point_ts")


def apply(stored: pl.DataFrame, changed: pl.DataFrame, keys: Sequence[str] = KEYS) -> pl.DataFrame:
    """What is stored after changes.

    Args:
        stored: as for ``changes``.
        changed: what ``changes`` returned; revisions that are stored already are skipped.
        keys: the columns that name a row.

    Returns:
        The columns of ``stored``, sorted by ``keys``; a retracted key keeps its last revision, with
        ``present`` false and null values.
    """
    values = [c for c in stored.columns if c not in (*keys, "revision", "present")]
    fresh = changed.with_columns(pl.col("new").struct.field(v).alias(v) for v in values)
    fresh = fresh.with_columns(present=pl.col("kind") != "retract").select(stored.columns)
    both = pl.concat([stored, fresh]).sort(*keys, "revision")
    return both.unique(keys, keep="last", maintain_order=True)


def empty_stored(values: pl.Schema | dict[str, pl.DataType], keys: Sequence[str]) -> pl.DataFrame:
    """A frame of stored rows with no row in it; ``values`` has the keys' types too."""
    schema = {k: values[k] for k in keys} | {
        k: v for k, v in values.items() if k not in (*keys, *META)
    }
    return pl.DataFrame(schema={**schema, "revision": pl.Int32(), "present": pl.Boolean()})
