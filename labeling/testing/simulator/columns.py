"""From numbers to the columns of an event.

Always holds: the columns and their types are ``event_schema(EXTRA_COLUMNS)``; an id is a letter
and digits of one width, so that ids of one kind sort as their numbers do, and -1 becomes null.

Not promised: anything about an id but that it is the same wherever it means the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, cast

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from labeling.model.event import TS, event_schema
from labeling.testing.simulator.codes import FIELD, SERVED_FIELD, Codes
from labeling.testing.simulator.world import (
    EVENT_TYPES,
    EXPERIMENTS,
    EXTRA_COLUMNS,
    PLATFORMS,
    SCENES,
    World,
)

SCHEMA: Final[Mapping[str, pl.DataType]] = event_schema(EXTRA_COLUMNS)
#: What the ranking service logs of each item it serves, seen or not.
FEATURE_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "request_id": pl.String(),
    "item_id": pl.String(),
    "served_ts": TS,
    "slot": pl.Int32(),
    "item_quality": pl.Float64(),
    "affinity": pl.Float64(),
    "item_duration_ms": pl.Int64(),
}
MICRO_PER_CENT: Final = 10_000
Numbers = NDArray[np.int32]


@cache
def _digits(prefix: str, width: int) -> NDArray[np.uint32]:
    """Four characters as one number: the prefix and all numbers of a width."""
    words = [f"{prefix}{i:0{width}d}" for i in range(10**width)]
    return np.array(words, dtype="S4").view(np.uint32)


def _texts(words: Sequence[NDArray[np.uint32]], valid: NDArray[np.bool_]) -> pl.Series:
    """Strings of four characters a word, laid out as Arrow's inline string views.

    Formatting ids is most of the work of writing a log; short strings laid out like this
    cost 30 ns each where casting integers to strings costs five times that.
    """
    views = np.zeros((len(valid), 4), np.uint32)
    views[:, 0] = 4 * len(words)
    for i, word in enumerate(words, start=1):
        views[:, i] = word
    bits = pa.py_buffer(np.packbits(valid, bitorder="little"))
    array = pa.Array.from_buffers(pa.string_view(), len(valid), [bits, pa.py_buffer(views)])
    return cast("pl.Series", pl.from_arrow(array))


def _split(number: Numbers, by: int) -> tuple[Numbers, Numbers]:
    """Quotient and remainder; NumPy divides by a constant in one go, but not in ``divmod``."""
    high = number // np.int32(by)
    return high, number - high * np.int32(by)


def named(prefix: str, number: Numbers) -> pl.Series:
    """Ids of users, items and authors: a letter and seven digits.

    >>> named("u", np.array([7, -1], np.int32)).to_list()
    ['u0000007', None]
    """
    high, low = _split(number, 10_000)
    return _texts([_digits(prefix, 3)[high], _digits("", 4)[low]], number >= 0)


class Numbered:
    """Ids of what happens: a letter, four digits of the chunk, seven within it.

    >>> ids = Numbered(np.array([12, 12], np.int32))
    >>> ids("e", np.array([345, -1], np.int32)).to_list()
    ['e00120000345', None]
    """

    def __init__(self, chunk: Numbers) -> None:
        self._tens, units = _split(chunk, 10)
        self._thousands = units * np.int32(1_000)

    def __call__(self, prefix: str, number: Numbers) -> pl.Series:
        """The ids of these numbers, null for -1."""
        high, low = _split(number, 10_000)
        texts = _digits("", 4)
        words = [_digits(prefix, 3)[self._tens], texts[self._thousands + high], texts[low]]
        return _texts(words, number >= 0)


def _chosen(values: Sequence[Any], dtype: pl.DataType, code: str) -> pl.Expr:
    """The value that a code stands for; -1 takes the last of the table, which is null."""
    table = pl.Series([*values, None], dtype=dtype)
    return pl.lit(table).gather(pl.col(code))


def _whole(code: str, dtype: pl.DataType, times: int = 1) -> pl.Expr:
    return pl.when(pl.col(code) >= 0).then(pl.col(code).cast(dtype) * times)


def _stamps(ms: NDArray[np.int64], start_ms: int) -> pl.Series:
    return pl.Series(ms + start_ms).cast(TS)


def event_frame(codes: Codes, start_ms: int, world: World) -> pl.DataFrame:
    """The events as a frame with the columns of ``SCHEMA``, rows in the order given."""
    code = {name: codes.of[row] for name, row in FIELD.items()}
    ids = Numbered(code["chunk"])
    text, i64 = pl.String(), pl.Int64()
    queries = [f'{{"query":"q{i:04d}"}}' for i in range(world.queries)]
    campaigns = [f"c{i:04d}" for i in range(world.campaigns)]
    made: dict[str, pl.Series | pl.Expr] = {
        "event_id": ids("e", code["number"]),
        "event_ts": _stamps(codes.ts, start_ms),
        "event_type": _chosen(EVENT_TYPES, text, "type"),
        "user_id": named("u", code["user"]),
        "item_id": named("n", code["item"]),
        "author_id": named("a", code["author"]),
        "request_id": ids("r", code["request"]),
        "impression_id": ids("i", code["impression"]),
        "view_id": ids("v", code["view"]),
        "order_id": ids("o", code["order"]),
        "scene": _chosen(SCENES, text, "scene"),
        "page_id": ids("p", code["page"]),
        "referrer_page_id": ids("p", code["referrer"]),
        "position": _whole("position", pl.Int32()),
        "value": _whole("cents", i64, MICRO_PER_CENT),
        "session_id": ids("s", code["session"]),
        "platform": _chosen(PLATFORMS, text, "platform"),
        "experiments": _chosen(EXPERIMENTS, pl.List(text), "experiments"),
        "props": _chosen(queries, text, "query"),
        "duration_ms": _whole("duration", i64),
        "item_duration_ms": _whole("item_duration", i64),
        "is_ad": _whole("ad", pl.Int32()) == 1,
        "campaign_id": _chosen(campaigns, text, "campaign"),
    }
    return pl.DataFrame(code).select(
        (pl.lit(column) if isinstance(column, pl.Series) else column).alias(name)
        for name, column in ((name, made[name]) for name in SCHEMA)
    )


def feature_frame(codes: Codes, start_ms: int, world: World) -> pl.DataFrame:
    """Served items as a frame with the columns of ``FEATURE_SCHEMA``, rows in the order given."""
    of = {name: codes.of[row] for name, row in SERVED_FIELD.items()}
    made = {
        "request_id": Numbered(of["chunk"])("r", of["request"]),
        "item_id": named("n", of["item"]),
        "served_ts": _stamps(codes.ts, start_ms),
        "slot": pl.Series(of["slot"]),
        "item_quality": pl.Series(world.quality[of["item"]]).cast(pl.Float64),
        "affinity": pl.Series(of["affinity"].view(np.float32)).cast(pl.Float64),
        "item_duration_ms": pl.Series(world.item_durations[of["item"]]).cast(pl.Int64),
    }
    return pl.DataFrame([made[name].alias(name) for name in FEATURE_SCHEMA])
