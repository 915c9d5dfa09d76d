"""The consumer under a reader: partitions assigned by hand, and nothing decided by librdkafka.

Always holds: librdkafka commits nothing by itself, starts nowhere but where it is told, says when a
partition's end is reached, and stops a partition whose position is gone instead of jumping.

Not promised: that what it does in the background succeeds. ``complaints`` and ``warnings`` tell.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from labeling.errors import DataError
from labeling.io.kafka.partition import PartitionState
from labeling.io.kafka.settings import Cluster, Complaints, client_settings, connect, reason
from labeling.io.kafka.starts import Offsets
from labeling.io.kafka.topics import PartitionId

_DEFAULTS: Final[Mapping[str, Any]] = {
    # A full queue would stop fetching for a second by default: a tenth of the rate.
    "fetch.queue.backoff.ms": 5,
    "isolation.level": "read_committed",
    "fetch.error.backoff.ms": 100,
    # Other questions to a broker wait behind the fetch; at the end of a topic it lasts this long.
    "fetch.wait.max.ms": 100,
}
_OURS: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
}
#: How long a reader stands still for the bounds of a partition whose position is gone.
BOUNDS_S: Final = 2.0


class Fetcher:
    """A consumer; made connected, closed by its owner.

    Args:
        cluster: where to read.
        group: the consumer group that ``commit`` tells.
        refresh_s: how often ``ticked`` says so.

    Raises:
        ConfigError: librdkafka does not know a setting.
    """

    def __init__(self, cluster: Cluster, group: str, refresh_s: float) -> None:
        self._cluster = cluster
        self._heard = Complaints()
        self._warnings: list[str] = []
        self._ticked = False
        ours = {
            **_OURS,
            "group.id": group,
            "statistics.interval.ms": max(1, round(refresh_s * 1000)),
            "stats_cb": self._tick,
            "error_cb": self._heard,
            "on_commit": self._committed,
        }
        settings = client_settings(cluster, _DEFAULTS, ours)
        self._consumer = connect(Consumer, cluster, settings)
        self.offsets = Offsets(cluster, self._consumer)
        self.complaints = self._heard.take

    def close(self) -> None:
        """Let go of the cluster."""
        self._consumer.close()

    def consume(self, max_records: int, timeout_s: float) -> list[Message]:
        """Records, ends and errors in the order of their arrival; callbacks run in here.

        Raises:
            DataError: the consumer is broken for good.
        """
        try:
            return self._consumer.consume(max_records, timeout_s)
        except KafkaException as error:
            raise DataError(f"{self._cluster}: {reason(error)}") from None

    def ticked(self) -> bool:
        """Whether ``refresh_s`` have gone by since this was last asked, in time of polls."""
        ticked, self._ticked = self._ticked, False
        return ticked

    def warnings(self) -> list[str]:
        """What failed and costs no record, since this was last asked."""
        warnings, self._warnings = self._warnings, []
        return warnings

    def assign(self, states: Collection[PartitionState]) -> None:
        """Fetch these partitions too, each from its position."""
        if states:
            self._consumer.incremental_assign([_at(state) for state in states])

    def pause(self, state: PartitionState) -> None:
        """Stop fetching it; librdkafka drops what it has fetched ahead."""
        self._consumer.pause([_at(state)])

    def resume(self, state: PartitionState) -> None:
        """Fetch it again, from its position."""
        self._consumer.resume([_at(state)])
        self.seek(state)

    def seek(self, state: PartitionState) -> None:
        """Fetch from the position anew: records come, or the end is told again."""
        if state.lost or state.paused:
            return
        try:
            self._consumer.seek(_at(state))
        except KafkaException:
            self.restart(state)

    def restart(self, state: PartitionState) -> None:
        """Fetch from the position where librdkafka has stopped fetching."""
        self._consumer.incremental_unassign([_at(state)])
        self._consumer.incremental_assign([_at(state)])
        if state.paused:
            self._consumer.pause([_at(state)])

    def bounds(self, state: PartitionState) -> tuple[int, int]:
        """The first offset and the one after the last, asked of the broker.

        Raises:
            KafkaException: it does not answer.
        """
        return self._consumer.get_watermark_offsets(_at(state), timeout=BOUNDS_S)

    def end_of(self, place: PartitionId) -> int | None:
        """The end as the last fetch told it; None before one."""
        at = TopicPartition(place.topic, place.partition)
        _, high = self._consumer.get_watermark_offsets(at, cached=True)
        return high if high >= 0 else None

    def commit(self, positions: Mapping[PartitionId, int]) -> None:
        """Tell the group, in the background."""
        places = [TopicPartition(p.topic, p.partition, at) for p, at in positions.items()]
        if not places:
            return
        try:
            self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            self._committed(error.args[0], places)

    def _tick(self, _: str) -> None:
        self._ticked = True

    def _committed(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        if error is not None:
            self._warnings.append(f"{self._cluster}: the group was not told: {error.str()}")


def _at(state: PartitionState) -> TopicPartition:
    return TopicPartition(state.place.topic, state.place.partition, state.position)
