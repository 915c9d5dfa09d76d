"""What the ranking service's log of features looks like on its way to whoever reads it.

Always holds: features are a function of the world's traffic, a seed and the fields of
``FeatureLog``; the columns of ``FEATURE_SCHEMA`` are those of the plain log, whatever is laid
beside them, and clicks follow ``click_log_odds`` of them; no event of the log changes for anything
that is asked here.

Not promised: that padding means anything. It is there to weigh.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from labeling.testing.simulator.columns import FEATURE_SCHEMA
from labeling.testing.simulator.disturb import disturb
from labeling.testing.simulator.world import SCENES, World, stream

#: A record without padding, as a line of JSON: its mean length.
PLAIN_BYTES: Final = 175
LEAST_BYTES: Final = 300
_FLOATS: Final = 64  # at most
_FLOAT_BYTES: Final = 13  # "f00":0.1234 and a comma
_TEXT_BYTES: Final = len('"embedding":"",')
_POOL: Final = 1 << 20
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_STRIDE: Final = 7919  # prime: embeddings of neighbours overlap in no short distance
#: Added to the traffic's seed: what happens to features has nothing to do with what does to events.
_APART: Final = 1_000_003


def click_log_odds(world: World) -> pl.Expr:
    """The log-odds of a click, as the world draws clicks.

    Reads ``position``, ``scene`` and ``is_ad`` of an impression, ``item_quality`` and ``affinity``
    of its features; Float64.

    >>> row = {"position": [0], "scene": ["profile"], "is_ad": [False]}
    >>> served = {"item_quality": [1.0], "affinity": [2.0]}
    >>> pl.DataFrame({**row, **served}).select(click_log_odds(World()).round(3)).item()
    -0.2
    """
    scene = pl.col("scene").replace_strict(dict(zip(SCENES, world.click_scene, strict=True)))
    return (
        world.click_bias
        + world.click_position * pl.col("position")
        + world.click_quality * pl.col("item_quality")
        + world.click_affinity * pl.col("affinity")
        + scene
        + world.click_ad * pl.col("is_ad").cast(pl.Int8)
    ).cast(pl.Float64)


@dataclass(frozen=True)
class FeatureLog:
    """What a log of features holds, and what happens to it on its way.

    Args:
        record_bytes: about how long a record is as a line of JSON, by further columns ``f00``, ...
            (Float64, as many as half of the rest holds, up to 64) and ``embedding`` (a text that is
            the item's); 0: no padding.
        missing: share of requests whose features were never logged.
        unshown: how many further requests were served and never shown, as a share of those shown;
            their ``request_id`` begins with ``x``.
        duplicates: share of records that arrive twice.
        late: share of records that arrive late; the others arrive in the order of ``served_ts``.
        late_by_ms: by how much, at most.
        by_request: one record for a request, its items in a list ``items``.

    Raises:
        ValueError: a share outside 0 to 1, or a size that holds no padding.
    """

    record_bytes: int = 0
    missing: float = 0.0
    unshown: float = 0.0
    duplicates: float = 0.0
    late: float = 0.0
    late_by_ms: int = 3_600_000
    by_request: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        for name in ("missing", "unshown", "duplicates", "late"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"FeatureLog({name}={getattr(self, name)}): a share from 0 to 1")
        if self.record_bytes and self.record_bytes < LEAST_BYTES:
            raise ValueError(
                f"FeatureLog(record_bytes={self.record_bytes}): 0 for no padding, or at least "
                f"{LEAST_BYTES}; the features alone take about {PLAIN_BYTES}"
            )

    @property
    def floats(self) -> int:
        """How many columns of padding are numbers."""
        return min(_FLOATS, max(0, self.record_bytes - PLAIN_BYTES) // 2 // _FLOAT_BYTES)

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """The columns of a record of one item."""
        if not self.record_bytes:
            return FEATURE_SCHEMA
        numbers = {_number(i): pl.Float64() for i in range(self.floats)}
        return {**FEATURE_SCHEMA, **numbers, "embedding": pl.String()}

    def arrivals(
        self, world: World, served: Iterable[pl.DataFrame], seed: int
    ) -> Iterator[pl.DataFrame]:
        """Records in the order of arrival.

        Args:
            world: whose traffic it is.
            served: ``Chunk.features`` of all chunks of the traffic, in their order.
            seed: of the traffic.
        """
        frames = (
            self._record(self._padded(self._logged(frame, world.served, rng), world, rng))
            for number, frame in enumerate(served)
            for rng in (stream(seed, 5, number),)
        )
        if not (self.late or self.duplicates):
            yield from frames
            return
        # What puts events into an order of arrival knows them by event_ts.
        named = (frame.rename({"served_ts": "event_ts"}) for frame in frames)
        moved = disturb(
            named, seed=seed + _APART, duplicates=self.duplicates, late=self.late,
            late_by_ms=self.late_by_ms,
        )  # fmt: skip
        yield from (frame.rename({"event_ts": "served_ts"}) for frame in moved)

    def _logged(self, frame: pl.DataFrame, each: int, rng: np.random.Generator) -> pl.DataFrame:
        """Without what was never logged, with what was never shown; lists are whole."""
        lists = frame.height // each
        there, more = rng.random(lists) >= self.missing, rng.random(lists) < self.unshown
        kept = frame.filter(pl.Series(np.repeat(there, each)))
        if not more.any():
            return kept
        unseen = frame.filter(pl.Series(np.repeat(more, each))).with_columns(
            request_id="x" + pl.col("request_id").str.slice(1)
        )
        return pl.concat([kept, unseen]).sort("served_ts", maintain_order=True)

    def _padded(self, frame: pl.DataFrame, world: World, rng: np.random.Generator) -> pl.DataFrame:
        if not self.record_bytes:
            return frame
        draws = rng.integers(1_000, 10_000, (self.floats, frame.height), dtype=np.int16)
        numbers = [pl.Series(_number(i), row / 10_000) for i, row in enumerate(draws)]
        length = self.record_bytes - PLAIN_BYTES - _FLOAT_BYTES * self.floats - _TEXT_BYTES
        item = frame["item_id"].str.slice(1).cast(pl.Int64).to_numpy()
        text = _embeddings(world, item, length).alias("embedding")
        return frame.with_columns(*numbers, text)

    def _record(self, frame: pl.DataFrame) -> pl.DataFrame:
        if not self.by_request:
            return frame
        rest = [name for name in frame.columns if name not in ("request_id", "served_ts")]
        of = frame.group_by("request_id", "served_ts", maintain_order=True)
        return of.agg(items=pl.struct(rest))


def _number(i: int) -> str:
    return f"f{i:02d}"


def _embeddings(world: World, item: NDArray[Any], length: int) -> pl.Series:
    """A text of that length for each item: pieces of one random text, which is not copied."""
    letters = np.frombuffer(_ALPHABET, np.uint8)
    rng = stream(world.item_seed, 6)
    pool = letters[rng.integers(0, len(letters), _POOL + length, dtype=np.int64)]
    at = (item * _STRIDE) % _POOL
    # Arrow's string view: length, first four bytes, buffer, offset.
    views = np.zeros((len(item), 4), np.uint32)
    views[:, 0], views[:, 3] = length, at
    views[:, 1] = np.stack([pool[at + i] for i in range(4)], axis=1).view(np.uint32)[:, 0]
    buffers = [None, pa.py_buffer(views), pa.py_buffer(pool)]
    array = pa.Array.from_buffers(pa.string_view(), len(item), buffers)
    return cast("pl.Series", pl.from_arrow(array))
