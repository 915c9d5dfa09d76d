"""How many samples a second a trainer reads: from Parquet, and from a topic of a real broker.

Always holds: what is read is counted, and is what was written.

Not promised: a broker on another machine. This one takes its share of the same cores.
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from labeling.config.cluster import ClusterConfig
from labeling.io.kafka import Cluster, TopicWriter
from labeling.products.formats.encoding import arrow_records, json_records
from labeling.samples import read_parquet, read_topic
from tests.kafka_broker import Broker, started

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
    with started() as broker:
        for name, encode in (("json", json_records), ("arrow", arrow_records)):
            _fill(broker, name, encode(rows))
            began = time.perf_counter()
            told = read_topic(broker.bootstrap, name, until_end=True)
            read += sum(len(batch) for batch in told)
            speed[name] = samples / (time.perf_counter() - began)
    if read != 3 * samples:
        raise RuntimeError(f"{read} samples were read, {3 * samples} were written")
    return {f"{name}_per_s": round(rate) for name, rate in speed.items()}


def _fill(broker: Broker, topic: str, records: pl.DataFrame) -> None:
    """A new topic with these records."""
    broker.create_topic(topic, 1)
    with TopicWriter(Cluster("main", ClusterConfig(bootstrap=broker.bootstrap)), topic) as writer:
        writer.send(records["key"].to_list(), records["value"].to_list(), 1)
        writer.flush(60)


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
