"""Samples for torch: an iterable dataset over one of the readers.

Always holds: each worker of each rank reads a shard of its own; every batch carries its position,
and a dataset that is given the last position of each shard goes on after them.

Not promised: a shuffle. Batches come in the order of the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from labeling.samples.batch import Batch, Position
from labeling.samples.shards import position_of, shard_of

#: torch's module, or None where it is not installed: the class is there, and cannot be made.
_data: Any = import_module("torch.utils.data") if find_spec("torch") else None
_Base: Any = _data.IterableDataset if _data else object


class SampleDataset(_Base):  # type: ignore[misc] # torch need not be there
    """Batches of samples for a ``DataLoader`` with ``batch_size=None``.

    Args:
        reader: ``read_parquet`` or ``read_topic``.
        args: its arguments.
        positions: the last position of each shard of an earlier run.
        transform: makes of a ``Batch`` what the loader is to give, such as tensors and the
            position; None: the batch itself.
        rank: of this process among those that train.
        world: how many those are.
        options: the reader's, but ``shard`` and ``position``.

    Raises:
        ImportError: torch is not installed.

    Example:
        ``DataLoader(SampleDataset(read_parquet, "offline/note_samples", from_ts=yesterday_ten,
        to_ts=today_ten, transform=tensors), batch_size=None, num_workers=4)``
    """

    def __init__(
        self,
        reader: Callable[..., Iterator[Batch]],
        *args: Any,
        positions: Sequence[Position] = (),
        transform: Callable[[Batch], Any] | None = None,
        rank: int = 0,
        world: int = 1,
        **options: Any,
    ) -> None:
        if _data is None:
            raise ImportError(
                "SampleDataset needs torch, which is not installed; read_parquet and read_topic do "
                "not"
            )
        super().__init__()
        self._read = (reader, args, options)
        self._positions = tuple(positions)
        self._transform = transform
        self._of = (rank, world)

    def __iter__(self) -> Iterator[Any]:
        """The batches of this worker's shard."""
        shard = shard_of(_data.get_worker_info(), *self._of)
        reader, args, options = self._read
        position = position_of(self._positions, shard)
        for batch in reader(*args, shard=shard, position=position, **options):
            yield batch if self._transform is None else self._transform(batch)
