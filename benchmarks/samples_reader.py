"""How many samples a second a trainer reads: from Parquet, and from the values of a topic.

Always holds: what is read is counted, and is what was written.

Not promised: a broker. Messages are decoded from memory: the brokers' own speed is another matter.
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from labeling.io.kafka.records import Record
from labeling.products.formats.encoding import arrow_records, json_records
from labeling.samples import read_parquet
from labeling.samples.topic import decoded

_T0: Final = datetime(2026, 11, 20, 10, tzinfo=UTC)
_GROUP: Final = 65_536
#: For a first look, and for the tests.
SMALL: Final = {"samples": 2_000, "features": 5}


def run(*, samples: int = 50_000, features: int = 20) -> dict[str, Any]:
    """Samples a second from Parquet, JSON and Arrow; ``features`` numbers each."""
    rows = _rows(samples, features)
    with tempfile.TemporaryDirectory() as folder:
        hour = Path(folder) / "samples" / "dt=2026-11-20" / "hour=10"
        hour.mkdir(parents=True)
        rows.write_parquet(hour / "part-0.parquet", row_group_size=_GROUP)
        began = time.perf_counter()
        read = sum(len(batch) for batch in read_parquet(folder))
        speed = {"parquet": read / (time.perf_counter() - began)}
    for name, encode in (("json", json_records), ("arrow", arrow_records)):
        values = encode(rows)["value"].to_list()
        began = time.perf_counter()
        read += decoded([Record(0, n, value) for n, value in enumerate(values)], None).height
        speed[name] = samples / (time.perf_counter() - began)
    if read != 3 * samples:
        raise RuntimeError(f"{read} samples were read, {3 * samples} were written")
    return {f"{name}_per_s": round(rate) for name, rate in speed.items()}


def _rows(samples: int, features: int) -> pl.DataFrame:
    """Samples of one hour."""
    at = [_T0 + timedelta(milliseconds=n * 3_600_000 // samples) for n in range(samples)]
    number = pl.int_range(samples)
    return pl.DataFrame({"anchor_ts": at}).with_columns(
        pl.col("anchor_ts").cast(pl.Datetime("ms", "UTC")),
        user_id=pl.format("u{}", number % 1000),
        clicked=number % 10 == 0,
        features=pl.struct((number / (n + 1)).alias(f"f{n}") for n in range(features)),
    )
