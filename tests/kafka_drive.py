"""What tests of Kafka share: a cluster and a source in a line, and reading until something holds.

Always holds: reading ends; what did not come within ``DEADLINE_S`` fails with what did.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from labeling.config.cluster import ClusterConfig
from labeling.config.source import SourceConfig
from labeling.io.kafka import Cluster, PartitionId, Polled, Reader
from tests.kafka_broker import Broker

DEADLINE_S: Final = 60


def cluster(bootstrap: str | Broker, **settings: str | float) -> Cluster:
    """``[cluster.main]``; settings with ``_`` for ``.``."""
    address = bootstrap if isinstance(bootstrap, str) else bootstrap.bootstrap
    named = {name.replace("_", "."): value for name, value in settings.items()}
    return Cluster("main", ClusterConfig(bootstrap=address, settings=named))


def source(*topics: str, start: str | dict[str, int] = "earliest") -> SourceConfig:
    """A ``[[source]]`` of topics."""
    return SourceConfig(name="web", topics=topics, start=start)


class Read:
    """What a reader gave, over many polls."""

    def __init__(self) -> None:
        self.polls: list[Polled] = []
        self.records: dict[PartitionId, list[tuple[int, bytes | None]]] = {}
        self.positions: dict[PartitionId, int] = {}

    def add(self, polled: Polled) -> None:
        """One more poll, whose progress must go on from the last and cover its records."""
        self.polls.append(polled)
        rows = polled.batch.positions.select("topic", "partition", "offset").rows()
        fresh: dict[PartitionId, list[int]] = {}
        for (topic, partition, offset), value in zip(rows, polled.batch.payloads, strict=True):
            place = PartitionId(topic, partition)
            self.records.setdefault(place, []).append((offset, value))
            fresh.setdefault(place, []).append(offset)
        for one in polled.progress:
            assert one.from_offset == self.positions.get(one.partition, one.from_offset)
            self.positions[one.partition] = one.next_offset
            offsets = fresh.pop(one.partition, [])
            assert one.records == len(offsets)
            assert all(one.from_offset <= offset < one.next_offset for offset in offsets)
        assert not fresh

    @property
    def last(self) -> Polled:
        """The latest poll."""
        return self.polls[-1]

    def offsets(self, topic: str, partition: int = 0) -> list[int]:
        """The offsets read of a partition, as they came."""
        return [offset for offset, _ in self.records.get(PartitionId(topic, partition), [])]

    def values(self) -> list[bytes | None]:
        """Every value, by partition."""
        return [value for place in sorted(self.records) for _, value in self.records[place]]

    def told(self, what: str) -> list[Any]:
        """Everything told under ``gaps``, ``problems`` or ``warnings``."""
        return [one for polled in self.polls for one in getattr(polled, what)]


def at_end(read: Read) -> bool:
    """Every partition has been read to its end."""
    return all(one.at_end for one in read.last.progress)


def never(_: Read) -> bool:
    """For reading that is to end in an error."""
    return False


def follow(
    reader: Reader, until: Callable[[Read], bool] = at_end, read: Read | None = None
) -> Read:
    """Poll until it holds."""
    read = read or Read()
    deadline = time.monotonic() + DEADLINE_S
    while True:
        read.add(reader.poll(50_000, 0.05))
        if until(read):
            return read
        assert time.monotonic() < deadline, (read.last.progress, read.last.problems)
