"""Times as logs write them: epoch numbers, ISO 8601, naive with a declared timezone.

Always holds: a time is whole ms in UTC, digits past the ms are cut off; a number without a unit is
ms; of two instants that a naive time can mean (clocks going back) the earlier is taken; a naive
time that never was (clocks going forward), or has no timezone declared, cannot be read.

Not promised: times before 1970 or after 2199; leap seconds; a guess at a unit.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from labeling.io.mapping_numbers import as_text, decimals, where, whole
from labeling.model.event import TS

#: Times from 1970-01-01 up to, not including, 2200-01-01.
_MAX_TS: Final = 7_258_118_400_000
_ISO: Final = (
    r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ](?P<h>[01][0-9]|2[0-3]):(?P<m>[0-5][0-9])"
    r"(?::(?P<s>[0-5][0-9])(?:[.,](?P<f>[0-9]{1,9}))?)?)?"
    r"\s*(?P<z>[Zz]|UTC|(?P<sign>[+-])(?P<zh>[0-9]{2})(?::?(?P<zm>[0-5][0-9]))?)?\s*$"
)
#: The forms of ``_ISO`` that logs have most: read by slices, with the same result.
_COMMON: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{3,9})?Z?$"
)


def times(raw: pl.Series, ratio: tuple[int, int] | None, timezone: str | None) -> pl.Series:
    """Times of a field; ``ratio`` scales numbers to ms, ``timezone`` is that of naive times."""
    dtype = raw.dtype
    if isinstance(dtype, pl.Date):
        return times(raw.cast(pl.Datetime("ms")), ratio, timezone)
    if isinstance(dtype, pl.Datetime):
        zoned = _localize(raw, timezone) if dtype.time_zone is None else raw
        ms = zoned.dt.convert_time_zone("UTC").dt.epoch("ms")
    elif ratio is not None or dtype.is_numeric():
        ms = whole(raw, ratio or (1, 1), exact=False, floor=True)
    else:
        text = as_text(raw)
        ms = text.cast(pl.Int64, strict=False)
        rest = ms.is_null() & text.is_not_null()
        if rest.any():
            ms = ms.scatter(rest.arg_true(), _iso_ms(text.filter(rest), timezone))
    return in_range(ms)


def in_range(ms: pl.Series) -> pl.Series:
    """Epoch ms as times, null outside 1970 (inclusive) to 2200 (exclusive)."""
    return where(ms, ms.is_between(0, _MAX_TS, closed="left")).cast(TS)


def _localize(naive: pl.Series, timezone: str | None) -> pl.Series:
    """Naive times in ``timezone``: the earlier of two, null where there is none or no timezone."""
    if timezone is None:
        return pl.Series(naive.name, [None], dtype=TS).new_from_index(0, len(naive))
    return naive.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")


def _iso_ms(text: pl.Series, timezone: str | None) -> pl.Series:
    """Epoch ms of ISO 8601 texts, or of numbers with a fraction (ms); digits past ms are cut."""
    common = text.str.contains(_COMMON)
    if common.all():
        found = _common_ms(text)
    elif not common.any():
        found = _any_ms(text)
    else:
        parts = [_common_ms(text.filter(common)), _any_ms(text.filter(~common))]
        places = pl.concat([common.arg_true(), (~common).arg_true()])
        found = pl.concat(parts)[places.arg_sort()]
    ms = where(found["local"] - found["offset"], found["zoned"])
    naive = found["local"].is_not_null() & ~found["zoned"]
    if naive.any():
        zoned = _localize(found["local"].filter(naive).cast(pl.Datetime("ms")), timezone)
        ms = ms.scatter(naive.arg_true(), zoned.dt.convert_time_zone("UTC").dt.epoch("ms"))
    rest = found["local"].is_null()
    if rest.any():
        numbers = decimals(text.filter(rest), 1, 1, exact=False, floor=True)
        ms = ms.scatter(rest.arg_true(), numbers)
    return ms


def _day_ms(text: pl.Expr) -> pl.Expr:
    day = text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    return day.cast(pl.Datetime("ms")).dt.epoch("ms")


def _common_ms(text: pl.Series) -> pl.DataFrame:
    """``local`` (epoch ms), ``zoned``, ``offset`` (ms) of texts that are ``_COMMON``, by slices."""
    t = pl.col("t")
    hour, minute, second, ms = (
        t.str.slice(start, length).cast(pl.Int64, strict=False)
        for start, length in ((11, 2), (14, 2), (17, 2), (20, 3))
    )
    clock = (hour * 60 + minute) * 60_000 + second * 1_000 + ms.fill_null(0)
    return pl.DataFrame({"t": text}).select(
        local=_day_ms(t) + clock, zoned=t.str.ends_with("Z"), offset=pl.lit(0, dtype=pl.Int64)
    )


def _any_ms(text: pl.Series) -> pl.DataFrame:
    """As ``_common_ms``, for every text of ``_ISO``; ``local`` is null for others."""
    frame = pl.DataFrame({"t": text})
    groups = frame.select(pl.col("t").str.extract_groups(_ISO).alias("g")).unnest("g")
    names = ("h", "m", "s", "zh", "zm")
    hour, minute, second, zone_h, zone_m = (
        pl.col(n).cast(pl.Int64, strict=False).fill_null(0) for n in names
    )
    fraction = (
        pl.col("f").fill_null("").str.pad_end(3, "0").str.slice(0, 3).cast(pl.Int64, strict=False)
    )
    clock = (hour * 60 + minute) * 60_000 + second * 1_000 + fraction
    offset = (zone_h * 60 + zone_m) * 60_000
    fits = pl.col("t").str.contains(_ISO)
    return groups.with_columns(t=text).select(
        local=pl.when(fits).then(_day_ms(pl.col("t").str.strip_chars()) + clock),
        zoned=pl.col("z").is_not_null(),
        offset=pl.when(pl.col("sign") == "-").then(-offset).otherwise(offset),
    )
