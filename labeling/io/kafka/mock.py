"""librdkafka's own small cluster, in this process: for a demo without Kafka, and for quick tests.

Always holds: it listens on loopback, any client of this machine can read and write it, and it ends
with its context. A topic is made by the first client that names it, with ``PARTITIONS`` partitions.

Not promised: what a real broker does beyond that. It keeps about 5 MB a partition and drops the
oldest; it has no topic ids, no starts by time, no admin requests, and shows aborted records.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from confluent_kafka import Producer

from labeling.errors import DataError
from labeling.io.kafka.settings import ANSWER_S, LOGGER

#: Of every topic.
PARTITIONS: Final = 4


class MockCluster:
    """A cluster of one broker; runs from ``__enter__`` to ``__exit__``."""

    def __init__(self) -> None:
        self._owner: Producer | None = None

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            DataError: it could not listen.
        """
        self._owner = Producer({"test.mock.num.brokers": 1}, logger=LOGGER)
        brokers = self._owner.list_topics(timeout=ANSWER_S).brokers.values()
        self._addresses = [f"{one.host}:{one.port}" for one in brokers]
        if not self._addresses:
            raise DataError("the mock cluster does not listen; is loopback there?")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it, and what it holds."""
        if self._owner is not None:
            self._owner.close()
        self._owner = None

    @property
    def bootstrap(self) -> str:
        """Its address.

        Raises:
            DataError: it does not run.
        """
        if self._owner is None:
            raise DataError(
                "the mock cluster does not run; use it as a context: with MockCluster()"
            )
        return ",".join(self._addresses)
