"""Training samples as frames: from the offline table, from a topic, into torch.

Always holds: a batch says where it ends, and reading from there gives the batches that would have
followed. Names come or go with a line in the changelog.

Not promised: ``SampleDataset`` where torch is not installed; nothing else here needs it.

>>> from labeling.samples import whole
>>> whole((1, 4))
(1, 4)
"""

from __future__ import annotations

from typing import Any

from labeling.samples.batch import Batch, Position, Shard, whole
from labeling.samples.parquet import read_parquet
from labeling.samples.topic import read_topic

__all__ = [
    "Batch",
    "Position",
    "SampleDataset",
    "Shard",
    "read_parquet",
    "read_topic",
    "whole",
]


def __getattr__(name: str) -> Any:
    """``SampleDataset``, once it is asked for: importing torch takes seconds.

    Raises:
        AttributeError: there is no such name.
    """
    if name == "SampleDataset":
        from labeling.samples.dataset import SampleDataset  # noqa: PLC0415 - see above

        return SampleDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
