"""Reads the records of one topic for those who keep their positions themselves.

Always holds: of each partition records come in order, from the position given; nothing is committed
to the cluster; a position that has expired there is an error, never skipped.

Not promised: an order between partitions; nor partitions that are added while one reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from labeling.errors import DataError
from labeling.io.kafka.settings import Cluster, Complaints, client_settings, connect, reason
from labeling.io.kafka.topics import list_partitions

_DEFAULTS: Final[Mapping[str, Any]] = {
    "isolation.level": "read_committed",
    "fetch.wait.max.ms": 100,
    # Asked for by librdkafka of every consumer; nothing is told to the group.
    "group.id": "labeling-records",
}
_OURS: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
}


class Record(NamedTuple):
    """A record's value, and where it was."""

    partition: int
    offset: int
    value: bytes


class Records:
    """A topic's records; made connected, closed by its owner.

    Args:
        cluster: where it is.
        topic: it must be there.
        positions: partition to the next offset; a partition without one is read from its beginning.
        shard: ``(place, number)``: of the partitions in their order each number-th from place on.

    Raises:
        ConfigError: there is no such topic, or a setting is wrong.
        DataError: the cluster does not answer.
    """

    def __init__(
        self, cluster: Cluster, topic: str, positions: Mapping[int, int], shard: tuple[int, int]
    ) -> None:
        self._place = f"{cluster}: topic {topic!r}"
        there = list_partitions(cluster, [topic])[topic].partitions
        unknown = sorted({*positions} - {*there})
        if unknown:
            raise DataError(f"{self._place} has no partition {unknown[0]}; begin without positions")
        self.partitions: Sequence[int] = there[shard[0] :: shard[1]]
        self._open = {*self.partitions}
        self._heard = Complaints()
        settings = client_settings(cluster, _DEFAULTS, {**_OURS, "error_cb": self._heard})
        self._consumer = connect(Consumer, cluster, settings)
        self._consumer.assign(
            [TopicPartition(topic, p, positions.get(p, OFFSET_BEGINNING)) for p in self.partitions]
        )

    @property
    def ended(self) -> bool:
        """Whether each partition has been read to where it ended at some time."""
        return not self._open

    def poll(self, most: int, timeout_s: float) -> list[Record]:
        """The next records, after waiting so long for one.

        Raises:
            DataError: a position is gone, or the cluster refuses.
        """
        found = []
        for message in self._consumer.consume(most, timeout_s) if self.partitions else ():
            error, partition = message.error(), message.partition()
            if error is None and partition is not None and message.offset() is not None:
                found.append(Record(partition, message.offset() or 0, message.value() or b""))
            elif error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                self._open.discard(partition or 0)
            elif error is not None and not error.retriable():
                raise DataError(self._said(error, partition))
        if self._heard.refused():
            raise DataError(f"{self._place}: {self._heard.worst()}")
        return found

    def close(self) -> None:
        """Let go of the cluster."""
        self._consumer.close()

    def _said(self, error: KafkaError, partition: int | None) -> str:
        text = f"{self._place}, partition {partition}: {reason(error)}"
        gone = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001 - as above
        if error.code() in gone:
            text += "; records after the position have expired: begin without it, or use files"
        return text
