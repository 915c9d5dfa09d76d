"""Stable hash keys for sharding, sorting and looking up.

Always holds: a key depends on the values alone, and is the same across processes, machines and
library versions (xxh3, never Polars' own ``hash``). A null in a column gives a null key.

Not promised: that different values have different keys. Whoever groups by a key compares the
columns themselves before trusting it.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import polars_hash  # noqa: F401 - gives every expression its ``nchash``


def text_key(text: pl.Expr) -> pl.Expr:
    """``xxh3_64`` of a String expression, as UInt64; null stays null."""
    key: pl.Expr = text.nchash.xxh3_64()  # type: ignore[attr-defined] # see the import
    return key


def string_key(column: str) -> pl.Expr:
    """``xxh3_64`` of a String column, as UInt64; null stays null."""
    return text_key(pl.col(column))


def user_key() -> pl.Expr:
    """The shard and sort key of a user: ``xxh3_64(user_id)``, UInt64, named ``user_key``."""
    return string_key("user_id").alias("user_key")


def match_key(columns: Sequence[str], *, other: bool = False, hashed: bool = False) -> pl.Expr:
    """One UInt64 for several String columns, order sensitive; null if any of them is.

    Args:
        columns: what to hash.
        other: by another hash function (xxh64), to tell those apart whose first keys are equal.
        hashed: the columns' own hashes stand beside them already (``with_hashes``).

    >>> pl.DataFrame({"a": ["x"], "b": ["y"]}).select(match_key(("a", "b"))).dtypes
    [UInt64]
    """
    # Splitmix64's odd constant spreads the first key before the next is folded in.
    mix = pl.lit(0x9E3779B97F4A7C15, dtype=pl.UInt64)
    if hashed:
        first, *rest = (pl.col(f"#{c}") for c in columns)
    else:
        first, *rest = (_other_key(pl.col(c)) if other else string_key(c) for c in columns)
    key = first
    for each in rest:
        key = (key * mix) ^ each
    return key


def with_hashes(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The frame with the hash of each column as ``#column``: several keys are made of them."""
    return frame.with_columns(string_key(c).alias(f"#{c}") for c in columns)


def _other_key(text: pl.Expr) -> pl.Expr:
    key: pl.Expr = text.nchash.xxhash64(seed=1)  # type: ignore[attr-defined] # see the import
    return key
