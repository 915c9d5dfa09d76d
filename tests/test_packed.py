"""A packed column gives back what was put in, and takes less where values come again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.interchange import CompatLevel

from labeling.engine.log import Log
from labeling.engine.packed import packed
from labeling.model.event import TS

TEXTS = st.sampled_from(["", "a", "b", "null", "[]", "x" * 12, "x" * 13, "é" * 40, "\x00"])
START = datetime(2026, 11, 20, tzinfo=UTC)
KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "text": (pl.String(), TEXTS),
    "texts": (pl.List(pl.String()), st.lists(st.none() | TEXTS, max_size=3)),
    "whole": (pl.Int64(), st.sampled_from([0, 1, -1, 2**62])),
    "small": (pl.Int32(), st.integers(-3, 3)),
    "real": (pl.Float64(), st.sampled_from([0.0, -0.0, 1.5, float("nan")])),
    "flag": (pl.Boolean(), st.booleans()),
    "kind": (pl.Enum(["click", "like"]), st.sampled_from(["click", "like"])),
    # Seven weeks are more milliseconds than 32 bits tell.
    "at": (TS, st.integers(0, 5_000_000_000).map(lambda ms: START + timedelta(milliseconds=ms))),
}


def same(one: pl.Series, other: pl.Series) -> bool:
    """Whether two columns hold the same, zeros of either sign told apart."""
    if one.dtype.is_float():
        bits = [
            s.fill_nan(7.0).to_numpy().tobytes() for s in (one.fill_null(9.0), other.fill_null(9.0))
        ]
        return bits[0] == bits[1] and one.equals(other, null_equal=True)
    return one.equals(other, check_dtypes=True, null_equal=True)


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_what_is_read_back_is_what_was_put_in(name: str, data: st.DataObject) -> None:
    """All rows, and some in any order, whatever repeats; with nulls, without, and nothing else."""
    dtype, values = KINDS[name]
    some = data.draw(st.lists(st.one_of(values, st.none()) if data.draw(st.booleans()) else values))
    series = pl.Series("x", some * data.draw(st.integers(1, 30)), dtype=dtype)
    column = packed(series)
    assert same(column.every(), series)
    if len(series):
        rows = pl.Series(data.draw(st.lists(st.integers(0, len(series) - 1))), dtype=pl.UInt32)
        assert same(column.take(rows), series.gather(rows))


@pytest.mark.parametrize(
    ("series", "at_most"),
    [
        (pl.Series(["android", "ios"] * 5_000), 1.1),
        (pl.Series([None] * 10_000, dtype=pl.String()), 0.1),
        (pl.Series([f"u{n % 500:07d}-0123456789" for n in range(10_000)]), 4),
        (pl.Series([["rank:a", "ui:b"], ["rank:c"]] * 5_000), 1.1),
        (pl.Series(range(10_000)).cast(TS), 4),
        (pl.Series([f"e{n:011d}" for n in range(10_000)]), 17),
    ],
)
def test_a_row_takes_so_many_bytes(series: pl.Series, at_most: float) -> None:
    """What comes again takes a byte or two a row, what never does no more than before."""
    assert packed(series).nbytes <= at_most * len(series)


def test_long_texts_do_not_keep_the_column_they_came_from() -> None:
    """Of a few values only those few are held, however long the column was."""
    column = packed(pl.Series([["x" * 100, str(n % 3)] for n in range(10_000)]))
    assert column.nbytes < 20_000
    assert column.every().to_list() == [["x" * 100, str(n % 3)] for n in range(10_000)]


@pytest.mark.parametrize("of", [1, 50])
def test_texts_that_all_differ_do_not_keep_those_beside_them(of: int) -> None:
    """Of a batch's ids only those of the events that a log holds are in memory."""
    batch = pl.Series([f"{n:036d}" for n in range(20_000)])
    few = batch.to_frame("id").filter(pl.col("id").str.slice(-1) == "0")["id"]
    held = packed(few.head(len(few) // of)).every()
    buffers = held.to_arrow(compat_level=CompatLevel.newest()).buffers()
    assert sum(b.size for b in buffers if b is not None) < 60 * len(held)


def test_a_log_of_packed_chunks_gives_the_rows_it_was_given() -> None:
    """By number, in any order, over chunks that are packed and those that are not yet."""
    sizes = (150_000, 90_000, 10, 210_000, 40_000)
    schema = pl.Schema({"event_ts": TS, "name": pl.String(), "kind": pl.String()})
    log = Log(schema)
    for size in sizes:
        number = pl.int_range(log.end, log.end + size, eager=True)
        rows = {"event_ts": number.cast(TS), "name": number.cast(pl.String), "kind": number % 7}
        log = log.add(pl.DataFrame(rows).select(pl.col(c).cast(t) for c, t in schema.items()))
    assert [c.packed for c in log.chunks] == [True, True, False, False]
    assert [c.height for c in log.chunks] == [240_000, 200_010, 10_000, 40_000]
    numbers = np.random.default_rng(0).permutation(sum(sizes))[:5_000]
    found = log.take(numbers, ["kind", "name", "event_ts"])
    assert found.schema == {"kind": pl.String(), "name": pl.String(), "event_ts": TS}
    assert found["name"].to_list() == [str(n) for n in numbers]
    assert found["kind"].to_list() == [str(n % 7) for n in numbers]
    assert found["event_ts"].to_physical().to_list() == numbers.tolist()
    assert log.nbytes < 30 * log.height
