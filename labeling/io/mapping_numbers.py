"""Texts and typed values of a field as texts and whole numbers.

Always holds: a number is read by its value and never through a float that is not exact: ``12.34``
with a ratio of 10^6 is 12340000, and what lies between two units goes to the nearer one, halves
away from zero. Every number that is written without a fraction is whole (``1.0``, ``1e3``). What
cannot be read is null where it was not null before: that is how a fault is told.

Not promised: digits after the ninth of a fraction, and whole digits past 15 of a number written
with an exponent.
"""

from __future__ import annotations

from typing import Final

import polars as pl

#: Begins a text that stands for a value of another type than asked for; the rest shows it.
WRONG_TYPE: Final = "\x00t"
#: Begins a text that stands for an impossible value; the rest shows it.
BAD_VALUE: Final = "\x00v"

_LAST: Final = 2**63 - 1
_NANO: Final = 10**9
_NUMBER: Final = r"^([+-]?)([0-9]{0,18})(?:\.([0-9]*))?$"
_EXPONENT: Final = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]{1,3}$"


def as_text(raw: pl.Series) -> pl.Series:
    """The text of each value: whole floats without ``.0``, times in ISO 8601, no nested values."""
    dtype = raw.dtype
    if isinstance(dtype, pl.String):
        return raw
    if isinstance(dtype, (pl.Float32, pl.Float64)):
        return raw.fill_nan(None).cast(pl.String).str.replace(r"\.0$", "")
    if isinstance(dtype, pl.Datetime):
        return raw.dt.to_string("iso:strict")
    if isinstance(dtype, pl.Binary):
        return pl.Series(raw.name, [_utf8(value) for value in raw.to_list()], dtype=pl.String)
    if dtype.is_nested() or isinstance(dtype, (pl.Object, pl.Duration, pl.Time)):
        wrong = pl.Series(raw.name, [f"{WRONG_TYPE}{dtype}"]).new_from_index(0, len(raw))
        return where(wrong, raw.is_not_null())
    return raw.cast(pl.String)


def _utf8(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"{BAD_VALUE}{value[:40]!r} is not UTF-8"


def where(values: pl.Series, keep: pl.Series) -> pl.Series:
    """The values where ``keep`` is true, else null; the same series where nothing changes."""
    if keep.all():
        return values
    column = pl.when(pl.col("k")).then(pl.col("v"))
    return pl.DataFrame({"v": values, "k": keep}).select(column).to_series().alias(values.name)


def whole(raw: pl.Series, ratio: tuple[int, int], *, exact: bool, floor: bool = False) -> pl.Series:
    """``raw * numerator / denominator`` as Int64.

    ``exact`` refuses a fraction; ``floor`` cuts it off; else it goes to the nearest.
    """
    num, den = ratio
    raw = as_text(raw) if not raw.dtype.is_integer() else raw
    values = raw.cast(pl.Int64, strict=False)
    if num > 1:
        values = where(values, values.is_between(-(_LAST // num), _LAST // num)) * num
    if den > 1:
        values = (values + (0 if floor else den // 2)) // den
    rest = values.is_null() & raw.is_not_null()
    if not isinstance(raw.dtype, pl.String) or not rest.any():
        return values
    found = decimals(raw.filter(rest), num, den, exact=exact, floor=floor)
    return values.scatter(rest.arg_true(), found)


def decimals(text: pl.Series, num: int, den: int, *, exact: bool, floor: bool) -> pl.Series:
    """As ``whole``, for texts with a fraction or an exponent."""
    part = pl.col("t").str.extract_groups(_NUMBER).struct
    digits = part[2].fill_null("").str.pad_end(9, "0").str.slice(0, 9)
    ones = part[1].replace("", "0").cast(pl.Int64, strict=False)
    nano = digits.cast(pl.Int64, strict=False)
    has_digits = pl.col("t").str.contains(r"[0-9]")
    fits = has_digits & (ones <= _LAST // num - 1)
    if exact:
        fits &= ~part[2].fill_null("").str.contains("[1-9]")
    scaled = ones * num + (nano * num + (0 if floor else _NANO // 2)) // _NANO
    if den > 1:
        scaled = (ones + (0 if floor else den // 2)) // den
    plain = pl.when(fits).then(scaled * pl.when(part[0] == "-").then(-1).otherwise(1))
    # A number with an exponent: by way of a float, where that is exact.
    is_power = pl.col("t").str.contains(_EXPONENT)
    power = pl.when(is_power).then(pl.col("t")).cast(pl.Float64, strict=False) * num / den
    rounded = power.floor() if floor else power.sign() * (power.abs() + 0.5).floor()
    sure = power.abs() < 2.0**53
    if exact:
        sure &= power == rounded
    powers = pl.when(sure).then(rounded).cast(pl.Int64, strict=False)
    return pl.DataFrame({"t": text}).select(pl.coalesce(plain, powers)).to_series()
