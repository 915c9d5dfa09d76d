"""Texts and typed values into columns of the event contract.

Always holds: a number is read by its value and never through a float that is not exact: ``12.34``
with a ratio of 10^6 is 12340000, and what lies between two units goes to the nearer one, halves
away from zero. A value that cannot be read is null in the result where it was not null before:
that is how a fault is told. Every number that JSON writes without a fraction is whole (``1.0``,
``1e3``). A float's NaN is a null.

Not promised: digits after the ninth of a fraction, and whole digits past 15 of a number written
with an exponent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from labeling.model.event import TS
from labeling.model.reject import Reason

#: Begins a text that stands for a value of another type than asked for; the rest shows it.
WRONG_TYPE: Final = "\x00t"
#: Begins a text that stands for an impossible value; the rest shows it.
BAD_VALUE: Final = "\x00v"

_LAST: Final = 2**63 - 1
_NANO: Final = 10**9
#: Times from 1970-01-01 up to, not including, 2200-01-01.
_MAX_TS: Final = 7_258_118_400_000
_NUMBER: Final = r"^([+-]?)(\d{0,18})(?:\.(\d*))?$"
_EXPONENT: Final = r"^[+-]?(?:\d+\.?\d*|\.\d+)[eE][+-]?\d{1,3}$"
_ANY_NUMBER: Final = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
_ISO: Final = (
    r"^\s*\d{4}-\d{2}-\d{2}"
    r"(?:[T ](?P<h>[01]\d|2[0-3]):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d)(?:[.,](?P<f>\d{1,9}))?)?)?"
    r"\s*(?P<z>[Zz]|UTC|(?P<sign>[+-])(?P<zh>\d{2})(?::?(?P<zm>[0-5]\d))?)?\s*$"
)


@dataclass(frozen=True)
class How:
    """The options of one field: scaling (numerator, denominator), timezone, list separator."""

    ratio: tuple[int, int] | None = None
    timezone: str | None = None
    split: str | None = None


def read_values(raw: pl.Series, dtype: pl.DataType, how: How, *, clean: bool = False) -> pl.Series:
    """Values of ``dtype``; null where ``raw`` is null, and where it cannot be read.

    Args:
        raw: texts, or values of another type as a Parquet file has them.
        dtype: one of the types of the event contract.
        how: the options of the field.
        clean: no text of ``raw`` holds a NUL, so that need not be looked for.
    """
    if isinstance(dtype, pl.List):
        return _lists(raw, how.split, clean=clean)
    if isinstance(dtype, pl.Datetime):
        return _times(raw, how)
    if dtype.is_integer():
        return _whole(raw, how.ratio or (1, 1), exact=how.ratio is None).cast(dtype, strict=False)
    text = as_text(raw)
    if isinstance(dtype, pl.String):
        return text if clean else _where(text, ~text.str.contains("\x00", literal=True))
    if isinstance(dtype, pl.Boolean):
        return _booleans(text)
    values = text.cast(pl.Float64, strict=False)
    return _where(values, values.is_finite())


def why(shown: pl.Series, dtype: pl.DataType, how: How) -> pl.Series:
    """The reason code of each unreadable value; ``shown`` has no nulls."""
    text = as_text(shown)
    if isinstance(dtype, pl.Datetime):
        other = pl.lit(Reason.BAD_TIMESTAMP)
    elif isinstance(dtype, pl.String):
        other = pl.lit(Reason.BAD_VALUE)
    elif dtype.is_numeric():
        impossible = pl.col("t").str.contains(_ANY_NUMBER)
        if isinstance(dtype, pl.Float64):
            impossible = pl.col("t").cast(pl.Float64, strict=False).is_not_null()
        elif how.ratio is None:
            impossible &= ~pl.col("t").str.contains(r"\.\d*[1-9]|[eE]-")
        other = (
            pl.when(impossible).then(pl.lit(Reason.BAD_VALUE)).otherwise(pl.lit(Reason.WRONG_TYPE))
        )
    else:
        other = pl.lit(Reason.WRONG_TYPE)
    reason = (
        pl.when(pl.col("t").str.starts_with(WRONG_TYPE))
        .then(pl.lit(Reason.WRONG_TYPE))
        .when(pl.col("t").str.starts_with(BAD_VALUE))
        .then(pl.lit(Reason.BAD_VALUE))
        .otherwise(other)
        .cast(pl.String)
    )
    return pl.DataFrame({"t": text}).select(reason).to_series()


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
        return _where(wrong, raw.is_not_null())
    return raw.cast(pl.String)


def _utf8(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"{BAD_VALUE}{value[:40]!r} is not UTF-8"


def _where(values: pl.Series, keep: pl.Series) -> pl.Series:
    """The values where ``keep`` is true, else null; the same series where nothing changes."""
    if keep.all():
        return values
    column = pl.when(pl.col("k")).then(pl.col("v"))
    return pl.DataFrame({"v": values, "k": keep}).select(column).to_series().alias(values.name)


def _whole(
    raw: pl.Series, ratio: tuple[int, int], *, exact: bool, floor: bool = False
) -> pl.Series:
    """``raw * numerator / denominator`` as Int64.

    ``exact`` refuses a fraction; ``floor`` cuts it off; else it goes to the nearest.
    """
    num, den = ratio
    raw = as_text(raw) if not raw.dtype.is_integer() else raw
    values = raw.cast(pl.Int64, strict=False)
    if num > 1:
        values = _where(values, values.is_between(-(_LAST // num), _LAST // num)) * num
    if den > 1:
        values = (values + (0 if floor else den // 2)) // den
    rest = values.is_null() & raw.is_not_null()
    if not isinstance(raw.dtype, pl.String) or not rest.any():
        return values
    found = _decimals(raw.filter(rest), num, den, exact=exact, floor=floor)
    return values.scatter(rest.arg_true(), found)


def _decimals(text: pl.Series, num: int, den: int, *, exact: bool, floor: bool) -> pl.Series:
    """As ``_whole``, for texts with a fraction or an exponent."""
    part = pl.col("t").str.extract_groups(_NUMBER).struct
    digits = part[2].fill_null("").str.pad_end(9, "0").str.slice(0, 9)
    whole = part[1].replace("", "0").cast(pl.Int64, strict=False)
    nano = digits.cast(pl.Int64, strict=False)
    has_digits = pl.col("t").str.contains(r"\d")
    fits = has_digits & (whole <= _LAST // num - 1)
    if exact:
        fits &= ~part[2].fill_null("").str.contains("[1-9]")
    scaled = whole * num + (nano * num + (0 if floor else _NANO // 2)) // _NANO
    if den > 1:
        scaled = (whole + (0 if floor else den // 2)) // den
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


def _times(raw: pl.Series, how: How) -> pl.Series:
    dtype = raw.dtype
    if isinstance(dtype, pl.Date):
        return _times(raw.cast(pl.Datetime("ms")), how)
    if isinstance(dtype, pl.Datetime):
        times = _localize(raw, how.timezone) if dtype.time_zone is None else raw
        ms = times.dt.convert_time_zone("UTC").dt.epoch("ms")
    elif how.ratio is not None or dtype.is_numeric():
        ms = _whole(raw, how.ratio or (1, 1), exact=False, floor=True)
    else:
        text = as_text(raw)
        ms = text.cast(pl.Int64, strict=False)
        rest = ms.is_null() & text.is_not_null()
        if rest.any():
            ms = ms.scatter(rest.arg_true(), _iso_ms(text.filter(rest), how.timezone))
    return in_range(ms)


def in_range(ms: pl.Series) -> pl.Series:
    """Epoch ms as times, null outside 1970 (inclusive) to 2200 (exclusive)."""
    return _where(ms, ms.is_between(0, _MAX_TS, closed="left")).cast(TS)


def _localize(naive: pl.Series, timezone: str | None) -> pl.Series:
    """Naive times in ``timezone``: the earlier of two, null where there is none or no timezone."""
    if timezone is None:
        return pl.Series(naive.name, [None], dtype=TS).new_from_index(0, len(naive))
    return naive.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")


def _iso_ms(text: pl.Series, timezone: str | None) -> pl.Series:
    """Epoch ms of ISO 8601 texts, or of numbers with a fraction (ms); digits past ms are cut."""
    part = pl.col("t").str.extract_groups(_ISO).struct
    number = {name: part.field(name).cast(pl.Int64).fill_null(0) for name in ("h", "m", "s")}
    zone = [part.field(name).cast(pl.Int64).fill_null(0) for name in ("zh", "zm")]
    fraction = part.field("f").fill_null("").str.pad_end(3, "0").str.slice(0, 3).cast(pl.Int64)
    clock = (number["h"] * 60 + number["m"]) * 60_000 + number["s"] * 1_000 + fraction
    offset = (zone[0] * 60 + zone[1]) * 60_000
    offset = pl.when(part.field("sign") == "-").then(-offset).otherwise(offset)
    day = pl.col("t").str.strip_chars().str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    fits = pl.col("t").str.contains(_ISO)
    local = pl.when(fits).then(day.cast(pl.Datetime("ms")).dt.epoch("ms") + clock)
    found = pl.DataFrame({"t": text}).select(
        local=local, zoned=part.field("z").is_not_null(), utc=local - offset
    )
    ms = _where(found["utc"], found["zoned"].fill_null(value=False))
    naive = found["local"].is_not_null() & ~found["zoned"]
    if naive.any():
        times = _localize(found["local"].filter(naive).cast(pl.Datetime("ms")), timezone)
        ms = ms.scatter(naive.arg_true(), times.dt.convert_time_zone("UTC").dt.epoch("ms"))
    rest = found["local"].is_null()
    if rest.any():
        numbers = _decimals(text.filter(rest), 1, 1, exact=False, floor=True)
        ms = ms.scatter(rest.arg_true(), numbers)
    return ms


def _booleans(text: pl.Series) -> pl.Series:
    column = pl.col("t").str.to_lowercase()
    yes, no = column.is_in(["true", "1"]), column.is_in(["false", "0"])
    return (
        pl.DataFrame({"t": text})
        .select(pl.when(yes).then(pl.lit(True)).when(no).then(pl.lit(False)))
        .to_series()
    )


def _lists(raw: pl.Series, split: str | None, *, clean: bool) -> pl.Series:
    if split is not None and not raw.dtype.is_nested():
        text = as_text(raw)
        raw = _where(text, ~text.str.contains("\x00", literal=True)).str.split(split)
    dtype = raw.dtype
    if not isinstance(dtype, pl.List) or dtype.inner.is_nested():
        empty = pl.Series(raw.name, [None], dtype=pl.List(pl.String))
        return empty.new_from_index(0, len(raw))
    lists = raw.cast(pl.List(pl.String)).list.drop_nulls()
    if clean:
        return lists
    bad = lists.list.eval(pl.element().str.contains("\x00", literal=True)).list.any()
    return _where(lists, ~bad.fill_null(value=False))
