"""Where a partition's reading starts, and where it ends for now.

Always holds: a committed position wins over ``start``. Of a topic that has any, a partition without
one is new and starts at its beginning, so that nothing in it is missed. A start is a number before
the first record is read; ``latest`` and a time are asked of the broker once.

Not promised: that a record is still at a given offset; see ``Gap``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from labeling.config.source import SourceConfig
from labeling.errors import ConfigError, DataError
from labeling.io.kafka.settings import ANSWER_S, Cluster, reason
from labeling.io.kafka.topics import PartitionId, TopicInfo

#: Kafka's own numbers for these in the place of a time.
EARLIEST: Final = -2
LATEST: Final = -1


def start_positions(
    source: SourceConfig,
    partitions: Iterable[PartitionId],
    positions: Mapping[PartitionId, int],
    offsets: Offsets,
    topics: Mapping[str, TopicInfo],
) -> dict[PartitionId, int]:
    """The offset of the first record to read, of each partition.

    Args:
        source: its ``start`` is for topics without any position.
        partitions: those to read.
        positions: the next offset of what has been read before; of whole topics, also where some
            of their partitions are read elsewhere.
        offsets: asks the broker.
        topics: the source's, with all their partitions.

    Raises:
        ConfigError: ``start`` is no time, or names a partition or an offset that is not there.
        DataError: the cluster does not answer.
    """
    if isinstance(source.start, dict):
        _check_given(source, source.start, topics[source.topics[0]])
    known = {place.topic for place in positions}
    found = {place: positions.get(place, 0) for place in partitions if place.topic in known}
    fresh = [place for place in partitions if place.topic not in known]
    if fresh:
        found.update(_fresh(source, fresh, offsets))
    return found


class Offsets:
    """Asks a cluster for offsets, all partitions in one question."""

    def __init__(self, cluster: Cluster, consumer: Consumer) -> None:
        self._cluster = cluster
        self._consumer = consumer

    def at(self, places: Collection[PartitionId], time_ms: int) -> dict[PartitionId, int]:
        """The first offset whose record's time is at or after ``time_ms``; -1 where there is none.

        ``EARLIEST`` and ``LATEST`` give the first offset and the one after the last record that
        can be read.

        Raises:
            DataError: the cluster does not answer.
        """
        if not places:
            return {}
        asked = [TopicPartition(place.topic, place.partition, time_ms) for place in places]
        try:
            answers = self._consumer.offsets_for_times(asked, timeout=ANSWER_S)
        except KafkaException as error:
            raise DataError(f"{self._cluster}: asked for offsets: {reason(error)}") from None
        for one in answers:
            if one.error is not None:
                raise DataError(
                    f"{self._cluster}: offsets of {one.topic}[{one.partition}]: {reason(one.error)}"
                )
        return {PartitionId(one.topic, one.partition): one.offset for one in answers}


def _fresh(
    source: SourceConfig, places: list[PartitionId], offsets: Offsets
) -> dict[PartitionId, int]:
    """By ``start``: earliest, latest, a time, or offsets (0 where a partition has none)."""
    start = source.start
    if isinstance(start, str):
        if start in ("earliest", "latest"):
            return offsets.at(places, EARLIEST if start == "earliest" else LATEST)
        found = offsets.at(places, _time_ms(source, start))
        ends = offsets.at([place for place in places if found[place] < 0], LATEST)
        return {**found, **ends}
    given = {int(key): offset for key, offset in start.items()}
    ends = offsets.at(places, LATEST)
    for place in places:
        if given.get(place.partition, 0) > ends[place]:
            raise ConfigError(
                f"[[source]] {source.name!r}: start = {given[place.partition]} of {place} is beyond"
                f" its end, {ends[place]}"
            )
    return {place: given.get(place.partition, 0) for place in places}


def _check_given(source: SourceConfig, start: Mapping[str, int], topic: TopicInfo) -> None:
    there = {str(partition) for partition in topic.partitions}
    for key, offset in start.items():
        if key not in there or offset < 0:
            raise ConfigError(
                f"[[source]] {source.name!r}: start: {key} = {offset}; write partition = offset, "
                f"such as start = {{0 = 1200}}; {source.topics[0]} has partitions "
                f"0 to {max(topic.partitions)}"
            )


def _time_ms(source: SourceConfig, text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ConfigError(
            f"[[source]] {source.name!r}: start = {text!r}: write 'earliest', 'latest', offsets by "
            "partition, or a time with its zone, such as '2026-11-20T08:00:00Z'"
        )
    return round(time.timestamp() * 1000)
