"""Reads samples of a topic that ``[[samples]]`` names, JSON or Arrow.

Always holds: of each partition records come in the order in which they were told, each batch ends
between two records, and its position says which is next in every partition that was given.

Not promised: an order between partitions (all records of one sample are in one); each record once,
unless repeats are dropped. Types of JSON, unless a schema is given: they are those of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from io import BytesIO
from typing import Any, Final

import polars as pl

from labeling.config.cluster import ClusterConfig
from labeling.errors import DataError
from labeling.io.kafka import Cluster
from labeling.io.kafka.records import Record, Records
from labeling.model.event import TS
from labeling.samples.batch import Batch, Position, Shard, whole

_TIMES: Final = ("anchor_ts", "served_ts")
_POLL_S: Final = 0.2


def read_topic(  # noqa: PLR0913 - one call for scripts, its options by name
    bootstrap: str,
    topic: str,
    *,
    settings: Mapping[str, str | int | float | bool] | None = None,
    position: Position | None = None,
    shard: Shard = (0, 1),
    batch_rows: int = 8_192,
    timeout_s: float | None = None,
    until_end: bool = False,
    drop_repeats: bool = False,
    schema: Mapping[str, pl.DataType] | None = None,
) -> Iterator[Batch]:
    """Samples of a topic in batches.

    Args:
        bootstrap: the cluster's servers.
        topic: of samples.
        settings: of librdkafka, under their own names, such as those of TLS and SASL.
        position: of the batch after which to go on; of several shards' positions ``{**a, **b}``.
            A partition that it does not have is read from its beginning.
        shard: ``(place, number)`` of those who share the reading, by partition.
        batch_rows: from so many rows on a batch is given; it may have those of one message more.
            Where no more comes for a moment, it is given with fewer.
        timeout_s: end after so long without a record; None: wait for more for good.
        until_end: end where each partition has been read to its end.
        drop_repeats: leave out records that a crashed flow told a second time: those whose
            ``(commit, at)`` is not above all before them in the partition. Not after a store was
            put back to an earlier copy: it tells other records under the same numbers.
        schema: column to type, where JSON is not to be guessed at.

    Yields:
        Batches with the record's fields as columns; ``kind`` is ``retract`` where a sample went.
        ``position`` is partition (as text) to the next offset, with ``drop_repeats`` to
        ``[offset, commit, at]``.

    Raises:
        ConfigError: there is no such topic, or a setting is wrong.
        DataError: the cluster does not answer, a position has expired, or a record is no sample.
        ValueError: no such shard.

    Example:
        ``for batch in read_topic("kafka:9092", "samples", until_end=True): train(batch.frame)``
    """
    cluster = Cluster("samples", ClusterConfig(bootstrap=bootstrap, settings=dict(settings or {})))
    reading = _Reading(dict(position or {}), drop_repeats=drop_repeats, schema=schema)
    mine = whole(shard)
    return _batches(cluster, topic, reading, mine, batch_rows, timeout_s, until_end=until_end)


def _batches(
    cluster: Cluster,
    topic: str,
    reading: _Reading,
    shard: Shard,
    batch_rows: int,
    timeout_s: float | None,
    *,
    until_end: bool,
) -> Iterator[Batch]:
    waited = 0.0
    with closing(Records(cluster, topic, reading.offsets(), shard)) as records:
        reading.keep(records.partitions)
        while True:
            found = records.poll(batch_rows, _POLL_S)
            reading.take(found)
            waited = 0.0 if found else waited + _POLL_S
            if reading.rows and (not found or reading.rows >= batch_rows):
                yield reading.batch()
            if until_end and records.ended and not found:
                break
            if timeout_s is not None and waited >= timeout_s:
                break
        if reading.rows:
            yield reading.batch()


class _Reading:
    """What was read and not given yet, and where it ends."""

    def __init__(
        self,
        position: dict[str, Any],
        *,
        drop_repeats: bool,
        schema: Mapping[str, pl.DataType] | None,
    ) -> None:
        self._drop = drop_repeats
        self._schema = schema
        self._ends = {int(partition): _end(end) for partition, end in position.items()}
        self._frames: list[pl.DataFrame] = []

    @property
    def rows(self) -> int:
        """How many wait."""
        return sum(frame.height for frame in self._frames)

    def offsets(self) -> dict[int, int]:
        """Partition to the next offset."""
        return {partition: end[0] for partition, end in self._ends.items()}

    def keep(self, partitions: Any) -> None:
        """Other partitions are other shards'."""
        self._ends = {p: end for p, end in self._ends.items() if p in partitions}

    def take(self, records: list[Record]) -> None:
        """Decode records, partition by partition."""
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            by_partition.setdefault(record.partition, []).append(record)
        for partition, mine in sorted(by_partition.items()):
            frame = decoded(mine, self._schema)
            _, commit, at = self._ends.get(partition, (0, -1, -1))
            if self._drop:
                frame, commit, at = _fresh(frame, commit, at)
            self._ends[partition] = (mine[-1].offset + 1, commit, at)
            if frame.height:
                self._frames.append(frame)

    def batch(self) -> Batch:
        """What waits, and where it ends."""
        frame = pl.concat(self._frames, how="diagonal_relaxed")
        self._frames = []
        ends = {
            str(p): list(end) if self._drop else end[0] for p, end in sorted(self._ends.items())
        }
        return Batch(frame, ends)


def _end(end: Any) -> tuple[int, int, int]:
    """A partition's part of a position: the next offset, and the last commit and place seen."""
    if isinstance(end, int):
        return end, -1, -1
    offset, commit, at = end
    return int(offset), int(commit), int(at)


def _fresh(frame: pl.DataFrame, commit: int, at: int) -> tuple[pl.DataFrame, int, int]:
    """Rows above all before them, and the highest."""
    told = list(frame.select("commit", "at").iter_rows())
    fresh = []
    for row in told:
        above = row > (commit, at)
        fresh.append(above)
        if above:
            commit, at = row
    return frame.filter(pl.Series(fresh, dtype=pl.Boolean)), commit, at


def decoded(records: list[Record], schema: Mapping[str, pl.DataType] | None) -> pl.DataFrame:
    """The samples of records of one partition, all JSON or all Arrow.

    Raises:
        DataError: they are neither.
    """
    try:
        if records[0].value.startswith(b"{"):
            return _of_json(b"\n".join(r.value for r in records), schema)
        frames = [pl.read_ipc_stream(BytesIO(r.value)) for r in records]
        return pl.concat(frames, how="diagonal_relaxed")
    except (pl.exceptions.PolarsError, OSError) as error:
        first = records[0]
        raise DataError(
            f"partition {first.partition} from offset {first.offset}: no samples in JSON or Arrow: "
            f"{error}"
        ) from error


def _of_json(lines: bytes, schema: Mapping[str, pl.DataType] | None) -> pl.DataFrame:
    given = {c: pl.String() if kind == TS else kind for c, kind in (schema or {}).items()}
    frame = pl.read_ndjson(BytesIO(lines), schema_overrides=given, infer_schema_length=None)
    texts = [c for c in _TIMES if frame.schema.get(c) == pl.String()]
    return frame.with_columns(
        pl.col(c).str.to_datetime(time_unit="ms", time_zone="UTC", format="%+") for c in texts
    )
