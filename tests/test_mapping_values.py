"""Texts and typed values into columns: what is read, what is a fault, and which."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.io.mapping_numbers import BAD_VALUE, WRONG_TYPE, as_text
from labeling.io.mapping_values import How, read_values, why
from labeling.model.event import TS

I64 = pl.Int64()
MICRO = How(ratio=(10**6, 1))
SECONDS = How(ratio=(1000, 1))


def read(raw: list[Any] | pl.Series, dtype: pl.DataType, how: How | None = None) -> list[Any]:
    """The values, and for each that cannot be read its reason code."""
    how = how or How()
    series = raw if isinstance(raw, pl.Series) else pl.Series(raw, dtype=pl.String)
    values = read_values(series, dtype, how)
    assert values.dtype == dtype
    bad = values.is_null() & series.is_not_null()
    reasons = iter(why(series.filter(bad), dtype, how).to_list())
    return [next(reasons) if b else v for v, b in zip(values, bad, strict=True)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("+7", 7),
        ("-7.0", -7),
        ("1.0", 1),
        ("1e3", 1000),
        ("5.", 5),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", "bad_value"),
        ("1e400", "bad_value"),
        ("1.5", "wrong_type"),
        ("1e-3", "wrong_type"),
        ("abc", "wrong_type"),
        ("", "wrong_type"),
        (".", "wrong_type"),
        ("1_000", "wrong_type"),
        ("١٢", "wrong_type"),
        (WRONG_TYPE + "{}", "wrong_type"),
        (BAD_VALUE + "x", "bad_value"),
        (None, None),
    ],
)
def test_whole_numbers(text: str | None, value: object) -> None:
    """A whole number is read by its value, whatever way it is written; a fraction is a fault."""
    assert read([text], I64) == [value]
    assert read(["3", text, "4"], I64) == [3, value, 4]


def test_narrow_numbers() -> None:
    """A number past the column's range is a bad value, not a wrapped one."""
    assert read(["2147483647", "2147483648"], pl.Int32()) == [2**31 - 1, "bad_value"]


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("12.34", 12_340_000),
        ("0.1", 100_000),
        ("-12.34", -12_340_000),
        ("12.339999999999998", 12_340_000),
        ("0.0000005", 1),
        ("-0.0000005", -1),
        ("0.00000049999", 0),
        ("1.5e-6", 2),
        ("9223372036853.775", 9_223_372_036_853_775_000),
        ("9223372036855.8", "bad_value"),
    ],
)
def test_micro_units(text: str, micro: object) -> None:
    """Money is exact: the nearest unit of the decimal as written, halves away from zero."""
    assert read([text], I64, MICRO) == [micro]


@given(
    st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=8),
    st.sampled_from([1, 100, 1000, 10**6]),
)
@settings(max_examples=200, deadline=None)
def test_scaled_is_decimal_arithmetic(number: Decimal, scale: int) -> None:
    """Scaling equals Python's decimal arithmetic, rounded half up on the magnitude."""
    expected = int((number * scale).quantize(Decimal(1), ROUND_HALF_UP))
    assert read([format(number, "f")], I64, How(ratio=(scale, 1))) == [expected]


def test_typed_numbers() -> None:
    """Floats of a file are scaled by their shortest decimal; NaN is shown as no number."""
    prices = pl.Series([12.34, 17.0, None], dtype=pl.Float32)
    assert read(prices, I64, MICRO) == [12_340_000, 17_000_000, None]
    assert read(pl.Series([1, 2**64 - 1], dtype=pl.UInt64), I64) == [1, "bad_value"]
    assert read(pl.Series(["1500", "1499"]), I64, How(ratio=(1, 1000))) == [2, 1]


def at(*parts: int) -> datetime:
    """A time in UTC."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]  # parts of a time


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2023-01-01T10:00:00Z", at(2023, 1, 1, 10)),
        ("2023-01-01T10:00:00.123Z", at(2023, 1, 1, 10, 0, 0, 123_000)),
        ("2023-01-01 10:00:00.123999Z", at(2023, 1, 1, 10, 0, 0, 123_000)),
        ("2023-01-01T10:00:00+01:00", at(2023, 1, 1, 9)),
        ("2023-01-01T10:00:00.5-0530", at(2023, 1, 1, 15, 30, 0, 500_000)),
        ("2023-01-01T10:00Z", at(2023, 1, 1, 10)),
        (" 2023-01-01 10:00:00 UTC ", at(2023, 1, 1, 10)),
        ("1672567200123", at(2023, 1, 1, 10, 0, 0, 123_000)),
        ("1672567200123.9", at(2023, 1, 1, 10, 0, 0, 123_000)),
        ("0", at(1970, 1, 1)),
        ("-1", "bad_timestamp"),
        ("7258118400000", "bad_timestamp"),
        ("2023-02-30T00:00:00Z", "bad_timestamp"),
        ("2023-01-01T24:00:00Z", "bad_timestamp"),
        ("2023-01-01T10:00:00", "bad_timestamp"),
        ("2023-01-01", "bad_timestamp"),
        ("yesterday", "bad_timestamp"),
        ("\u0662023-01-01T10:00:00Z", "bad_timestamp"),
        (WRONG_TYPE + "[]", "wrong_type"),
        (None, None),
    ],
)
def test_times(text: str | None, time: object) -> None:
    """ISO 8601 and epoch ms are read; a naive time without a timezone is a fault."""
    assert read([text], TS) == [time]
    good = ["2023-01-01T10:00:00Z", "2023-01-01T10:00+00:00", "1672567200000"]
    assert read([*good, text], TS) == [at(2023, 1, 1, 10)] * 3 + [time]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2023-01-01 10:00:00", at(2023, 1, 1, 9)),
        ("2023-07-01", at(2023, 6, 30, 22)),
        ("2023-10-29 02:30:00", at(2023, 10, 29, 0, 30)),
        ("2023-03-26 02:30:00", "bad_timestamp"),
        ("2023-01-01T10:00:00Z", at(2023, 1, 1, 10)),
    ],
)
def test_naive_times(text: str, time: object) -> None:
    """A declared timezone is for naive times only: the earlier of two, none where there is none."""
    assert read([text], TS, How(timezone="Europe/Copenhagen")) == [time]


def test_epoch_units() -> None:
    """A unit makes a number a time; what is finer than a ms is cut off."""
    expected = at(2017, 11, 28, 6, 1, 34, 999_000)
    assert read(["1511848894.9999", "1511848894.999"], TS, SECONDS) == [expected] * 2
    assert read(["1511848894999999"], TS, How(ratio=(1, 1000))) == [expected]
    assert read(["1511848894999999999"], TS, How(ratio=(1, 10**6))) == [expected]
    assert read(["1.511848894e9"], TS, SECONDS) == [expected.replace(microsecond=0)]
    assert read(["2023-01-01T10:00:00Z"], TS, SECONDS) == ["bad_timestamp"]


def test_typed_times() -> None:
    """Times of a Parquet file: naive ones need the timezone, others have their own."""
    naive = pl.Series([datetime(2023, 1, 1, 10, 0, 0, 123_456), None])  # noqa: DTZ001 - is naive
    assert read(naive, TS) == ["bad_timestamp", None]
    expected = [at(2023, 1, 1, 9, 0, 0, 123_000), None]
    assert read(naive, TS, How(timezone="Europe/Copenhagen")) == expected
    assert read(naive.dt.replace_time_zone("Asia/Tokyo"), TS)[0] == at(2023, 1, 1, 1, 0, 0, 123_000)


@given(
    st.datetimes(
        datetime(1971, 1, 1),  # noqa: DTZ001 - hypothesis adds the timezone
        datetime(2199, 12, 30),  # noqa: DTZ001 - the same
        timezones=st.sampled_from([UTC, ZoneInfo("Asia/Kolkata"), ZoneInfo("America/New_York")]),
    ),
    st.sampled_from(["seconds", "milliseconds", "microseconds"]),
)
@settings(max_examples=200, deadline=None)
def test_iso_round_trip(time: datetime, precision: str) -> None:
    """What Python writes as ISO 8601 is read as the same instant, cut to ms."""
    text = time.isoformat(timespec=precision)
    expected = datetime.fromisoformat(text).astimezone(UTC)
    expected -= timedelta(microseconds=expected.microsecond % 1000)
    utc = expected.isoformat(timespec=precision).replace("+00:00", "Z")
    assert read([text, utc], TS) == [expected, expected]


def test_other_columns() -> None:
    """Truth values, floats and texts; what is not finite, and a NUL in a text, are bad values."""
    assert read(["true", "False", "1", "0", "yes"], pl.Boolean()) == [
        True, False, True, False, "wrong_type",
    ]  # fmt: skip
    floats = ["1.5", "1e-3", "nan", "inf", "1e400", "x"]
    assert read(floats, pl.Float64()) == [
        1.5,
        0.001,
        "bad_value",
        "bad_value",
        "bad_value",
        "wrong_type",
    ]
    assert read(["a", "a\x00b", "{"], pl.String()) == ["a", "bad_value", "{"]


def test_lists() -> None:
    """A list keeps its order and loses nulls; one bad element makes the list a fault."""
    lists = pl.Series([["b", None, "a"], ["x", WRONG_TYPE + "{}"], None, []])
    values = read_values(lists, pl.List(pl.String()), How())
    assert values.to_list() == [["b", "a"], None, None, []]
    assert read_values(pl.Series([[1, 2]]), pl.List(pl.String()), How()).to_list() == [["1", "2"]]
    split = read_values(pl.Series(["a|b", None]), pl.List(pl.String()), How(split="|"))
    assert split.to_list() == [["a", "b"], None]
    assert read_values(pl.Series(["a"]), pl.List(pl.String()), How()).to_list() == [None]


def test_texts_of_typed_values() -> None:
    """A typed value has the text that JSON would give: whole floats without a fraction."""
    assert as_text(pl.Series([1.0, 1.5, None])).to_list() == ["1", "1.5", None]
    assert as_text(pl.Series([True])).to_list() == ["true"]
    assert as_text(pl.Series([b"a", b"\xff"])).to_list()[0] == "a"
    assert as_text(pl.Series([b"\xff"])).to_list()[0].startswith(BAD_VALUE)
    assert as_text(pl.Series([[1], None])).is_null().to_list() == [False, True]
