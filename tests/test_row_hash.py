"""The hash of a row is its formula in docs/markers.md, and stays what it is.

Always holds: what is compared with is the formula in plain Python, over the values themselves.

Not promised: that a hash never meets another's.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.engine.keys import text_key
from labeling.model.event import TS
from labeling.products.markers.row_hash import row_hashes

T0 = datetime(2026, 11, 20, 10, tzinfo=UTC)
MASK = 2**64 - 1
#: A column of every kind that a store can keep.
KINDS: dict[str, pl.DataType] = {
    "t": pl.String(), "b": pl.Binary(), "i": pl.Int64(), "s": pl.Int32(), "u": pl.UInt64(),
    "v": pl.UInt32(), "f": pl.Float64(), "o": pl.Boolean(), "at": TS, "d": pl.Date(),
    "l": pl.List(pl.String()), "n": pl.List(pl.Int64()),
}  # fmt: skip
ROW: dict[str, Any] = {
    "t": "日本", "b": b"\x00\xff", "i": -1, "s": 7, "u": 2**64 - 1, "v": 5, "f": 0.1, "o": True,
    "at": T0, "d": date(2026, 11, 20), "l": ["a", None, ""], "n": [1, -2],
}  # fmt: skip


# ---- the hash -----------------------------------------------------------------------------------


def xxh3(data: bytes) -> int:
    """``xxh3_64`` of some bytes."""
    found: int = pl.select(text_key(pl.lit(data))).item()
    return found


def by_hand(row: Mapping[str, Any], kinds: Mapping[str, str]) -> int:
    """The formula of docs/markers.md in plain Python."""
    h = xxh3(",".join(f"{name}:{kind}" for name, kind in kinds.items()).encode())
    for name, kind in kinds.items():
        h = ((h ^ key_by_hand(row[name], kind)) * 0x9E3779B97F4A7C15) & MASK
        h ^= h >> 32
    h = (h * 0xBF58476D1CE4E5B9) & MASK
    return h ^ (h >> 29)


def key_by_hand(value: Any, kind: str) -> int:
    """A column's key."""
    if value is None:
        return 0xA0761D6478BD642F
    if kind.endswith("[]"):
        texts = [None if v is None else str(v) for v in value]
        return xxh3("".join("-" if v is None else f"{len(v.encode())}:{v}" for v in texts).encode())
    if kind in ("text", "bytes"):
        return xxh3(value.encode() if kind == "text" else value)
    if kind == "float":
        if math.isnan(value):
            return 0x7FF8000000000000
        return int.from_bytes(struct.pack(">d", value + 0.0), "big")
    if kind == "time":
        value = round(value.timestamp() * 1000)
    if kind == "date":
        value = (value - date(1970, 1, 1)).days
    return int(value) & MASK


NAMES = {
    "t": "text", "b": "bytes", "i": "integer", "s": "integer", "u": "integer", "v": "integer",
    "f": "float", "o": "boolean", "at": "time", "d": "date", "l": "text[]", "n": "integer[]",
}  # fmt: skip


def test_the_hash_is_what_it_was() -> None:
    """Literals: another version of anything that hashes otherwise would break every digest."""
    rows = pl.DataFrame([ROW, dict.fromkeys(KINDS)], schema=KINDS, orient="row")
    assert row_hashes(rows, KINDS).to_list() == [
        14_909_304_388_246_825_068, 17_047_663_548_357_145_708
    ]  # fmt: skip
    assert row_hashes(pl.DataFrame({"a": ["x"]}), {"a": pl.String()}).to_list() == [
        3_849_705_141_303_925_351
    ]  # fmt: skip


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "t": st.none() | st.text(max_size=4),
                "b": st.none() | st.binary(max_size=4),
                "i": st.none() | st.integers(-(2**63), 2**63 - 1),
                "s": st.none() | st.integers(-(2**31), 2**31 - 1),
                "u": st.none() | st.integers(0, 2**64 - 1),
                "v": st.none() | st.integers(0, 2**32 - 1),
                "f": st.none() | st.floats(),
                "o": st.none() | st.booleans(),
                "at": st.none() | st.sampled_from([T0, T0 - timedelta(days=25_000)]),
                "d": st.none() | st.sampled_from([date(2026, 1, 1), date(1960, 1, 1)]),
                "l": st.none() | st.lists(st.none() | st.text(max_size=3), max_size=3),
                "n": st.none() | st.lists(st.integers(-5, 5), max_size=3),
            }
        ),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=60, deadline=None)
def test_the_hash_is_its_formula(rows: list[dict[str, Any]]) -> None:
    """Every type, nulls, empty and extreme values: the columnar hash is the one by hand."""
    frame = pl.DataFrame(rows, schema=KINDS, orient="row", strict=False)
    assert row_hashes(frame, KINDS).to_list() == [by_hand(row, NAMES) for row in rows]


def test_what_counts_for_a_hash() -> None:
    """Each value, its column's name and place count; other columns, -0.0 and NaN's bits do not."""
    rows = pl.DataFrame([ROW], schema=KINDS, orient="row")
    seen = {row_hashes(rows, KINDS).item()}
    for name, dtype in KINDS.items():
        without = rows.with_columns(pl.lit(None).cast(dtype).alias(name))
        renamed = {("z" if c == name else c): t for c, t in KINDS.items()}
        seen.add(row_hashes(without, KINDS).item())
        seen.add(row_hashes(rows.rename({name: "z"}), renamed).item())
    turned = dict(reversed(KINDS.items()))
    seen.add(row_hashes(rows, turned).item())
    assert len(seen) == 2 + 2 * len(KINDS)
    assert row_hashes(rows.with_columns(other=1).select("other", *turned), KINDS).item() in seen
    zeros = pl.DataFrame({"f": [0.0, -0.0, math.nan, -math.nan]})
    assert row_hashes(zeros, {"f": pl.Float64()}).n_unique() == 2
