"""Looking up by small integers: an array where a join would build a hash table.

Always holds: ids are below the given length, and each occurs at most once.
"""

from __future__ import annotations

import numpy as np
import polars as pl


def positions(ids: pl.Series, length: int) -> pl.Series:
    """For each number below ``length``, where it stands in ``ids``; null where it does not.

    >>> positions(pl.Series([2, 0], dtype=pl.UInt32), 3).to_list()
    [1, None, 0]
    """
    missing = np.uint32(0xFFFFFFFF)
    where = np.full(length, missing, dtype=np.uint32)
    where[ids.to_numpy()] = np.arange(len(ids), dtype=np.uint32)
    found = pl.Series(where)
    return found.set(found == int(missing), None)
