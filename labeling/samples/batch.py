"""A batch of samples, and where it ends.

Always holds: a position is plain data for JSON; a reader that begins there gives what would have
followed the batch.

Not promised: that a position means anything to a reader of another source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

#: Place and number of those who share the reading: ``(1, 4)`` is the second of four.
Shard = tuple[int, int]
#: Where a batch ends: strings, numbers, lists and objects.
Position = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples, and where they end.

    Args:
        frame: the samples.
        position: give it to the reader to go on after them.
    """

    frame: pl.DataFrame
    position: Position

    def to_arrow(self) -> Any:
        """The samples as a ``pyarrow.Table``."""
        return self.frame.to_arrow()

    def __len__(self) -> int:
        """How many samples."""
        return self.frame.height


def whole(shard: Shard) -> Shard:
    """The shard, once it is known to be one.

    Raises:
        ValueError: no such place.
    """
    place, count = shard
    if not 0 <= place < count:
        raise ValueError(f"shard {shard}: write (place, number), such as (0, 1) for all there is")
    return place, count
