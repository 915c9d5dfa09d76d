"""Tables of sums that are kept by adding differences.

Always holds: a group has at most one row; after ``add_sums`` its sums are those before plus the
differences, whole numbers all; a group whose sums have all come to zero has no row. A null in a
key is a value like any other.

Not promised: that the sums are those of any rows. Whoever adds has to add every difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from labeling.io.store.database import Database


def add_sums(db: Database, name: str, differences: pl.DataFrame, keys: Sequence[str]) -> None:
    """Add to the sums of groups; a group that has none begins at zero.

    Args:
        db: the store's file, inside a transaction.
        name: of the table: ``keys``, and sums of Int64.
        differences: ``keys`` and the same sums, signed; a group may stand there several times.
        keys: the columns that name a group.

    Raises:
        ValueError: a sum is not a whole number.
    """
    sums = [c for c in differences.columns if c not in keys]
    for column in sums:
        if differences.schema[column] != pl.Int64():
            kind = differences.schema[column]
            raise ValueError(f"sum {column!r} of {name} is {kind}: only Int64 adds up in any order")
    grouped = differences.group_by(keys, maintain_order=True).agg(pl.col(sums).sum()).sort(keys)
    moved = grouped.filter(pl.any_horizontal(pl.col(c) != 0 for c in sums))
    if moved.is_empty():
        return
    same = " AND ".join(f't."{c}" IS NOT DISTINCT FROM d."{c}"' for c in keys)
    columns = [f'"{c}"' for c in (*keys, *sums)]
    added = ", ".join(f'"{c}" = t."{c}" + d."{c}"' for c in sums)
    gone = " AND ".join(f't."{c}" + d."{c}" = 0' for c in sums)
    with db.given("given_sums", moved):
        db.run(
            f'MERGE INTO "{name}" t USING given_sums d ON {same} '
            f"WHEN MATCHED AND {gone} THEN DELETE WHEN MATCHED THEN UPDATE SET {added} "
            f"WHEN NOT MATCHED THEN INSERT ({', '.join(columns)}) "
            f"VALUES ({', '.join(f'd.{c}' for c in columns)})"
        )
