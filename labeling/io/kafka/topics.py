"""The topics of a cluster and their partitions.

Always holds: a topic is known by name and by the id that Kafka gave it when it was made, so that a
topic deleted and made again is seen to be another one, whose offsets mean nothing to the old.

Not promised: ids on a cluster that has none (librdkafka's mock, Kafka before 2.8): None there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from labeling.config.hints import nearest
from labeling.errors import ConfigError, DataError
from labeling.io.kafka.settings import (
    ANSWER_S,
    FIRST_ANSWER_S,
    Cluster,
    Complaints,
    client_settings,
    code_of,
    connect,
    reason,
    unanswered,
)

#: What a broker without ids says: zero.
_NO_ID: Final = "A" * 22


class PartitionId(NamedTuple):
    """A partition of a topic; sorts by topic, then number."""

    topic: str
    partition: int

    def __str__(self) -> str:
        """``events[3]``."""
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True)
class TopicInfo:
    """A topic: the id that it was made with (None where there is none) and its partitions."""

    topic_id: str | None
    partitions: tuple[int, ...]


@dataclass(frozen=True)
class TopicFault:
    """Why a topic could not be described just now: librdkafka's name of it, and a sentence."""

    code: str
    message: str


class TopicWatch:
    """Asks about topics, without waiting where it need not; used as a context or closed.

    A client that the garbage collector finds while its own thread is in a callback aborts the
    process (confluent-kafka-python #2129): whoever makes one closes it.

    Args:
        cluster: where they are.
        topics: their names.

    Raises:
        ConfigError: a setting that librdkafka does not know.
    """

    def __init__(self, cluster: Cluster, topics: Iterable[str]) -> None:
        self._cluster = cluster
        self._topics = sorted(set(topics))
        self._heard = Complaints()
        settings = client_settings(cluster, ours={"error_cb": self._heard})
        self._admin = connect(AdminClient, cluster, settings)
        self._asked: dict[str, Future[Any]] | None = None
        self.has_ids = True

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the cluster."""
        self._admin.__exit__(kind, error, trace)

    def now(self) -> dict[str, TopicInfo]:
        """The topics, waiting for the answer.

        Raises:
            ConfigError: a topic is not there, or its description not allowed; the login or the TLS
                settings are refused.
            DataError: the cluster does not answer.
        """
        cluster_id, there = self._first_answer()
        self._heard.take()
        # The mock has no DescribeTopics: the question would only run into its timeout.
        self.has_ids = not cluster_id.startswith("mockCluster")
        for topic in self._topics:
            if topic not in there and self.has_ids:
                raise ConfigError(
                    f"{self._cluster}: there is no topic {topic!r} that this login may see"
                    f"{_nearest(topic, there)}; create it, or correct its name"
                )
        self.ask()
        found = self.answers(wait_s=ANSWER_S) or {}
        known: dict[str, TopicInfo] = {}
        for topic in self._topics:
            info = found.get(topic)
            if info is None:
                raise DataError(f"{self._cluster}: topic {topic!r} was not described; try again")
            if isinstance(info, TopicFault):
                raise ConfigError(f"{self._cluster}: topic {topic!r}: {info.message}")
            known[topic] = info
        return known

    def _first_answer(self) -> tuple[str, list[str]]:
        """The cluster's id and the names of its topics."""
        for second in range(1, FIRST_ANSWER_S + 1):
            try:
                there = self._admin.list_topics(timeout=1)
            except KafkaException as error:
                self._admin.poll(0)
                if second == FIRST_ANSWER_S or self._heard.refused():
                    raise unanswered(self._cluster, error, self._heard) from None
            else:
                return str(there.cluster_id), list(there.topics)
        raise AssertionError("the last second returns or raises")

    def ask(self, *, anew: bool = False) -> None:
        """Ask, unless an answer is still awaited that would do; ``anew``: none would."""
        if self._asked is not None and not anew:
            return
        if self.has_ids:
            collection = TopicCollection(self._topics)
            self._asked = self._admin.describe_topics(collection, request_timeout=ANSWER_S)
        else:
            self._asked = {topic: self._metadata(topic) for topic in self._topics}

    def answers(self, wait_s: float = 0) -> dict[str, TopicInfo | TopicFault] | None:
        """What was answered to the question, waiting that long; None where it has no answer yet.

        A topic about which the cluster could not be reached is left out.
        """
        if self._asked is None:
            return None
        _, waiting = wait(self._asked.values(), wait_s)
        if waiting:
            return None
        asked, self._asked = self._asked, None
        found: dict[str, TopicInfo | TopicFault] = {}
        for topic, future in asked.items():
            try:
                found[topic] = _info(future.result())
            except KafkaException as error:
                code = code_of(error)
                if code is not None and code > 0:
                    found[topic] = TopicFault(KafkaError(code).name(), reason(error))
        return found

    def heard(self) -> list[KafkaError]:
        """What the connection complained of since the last call."""
        self._admin.poll(0)
        return self._heard.take()

    def _metadata(self, topic: str) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(self._admin.list_topics(topic, timeout=1).topics[topic])
        except KafkaException as error:
            future.set_exception(error)
        return future


def list_partitions(cluster: Cluster, topics: Iterable[str]) -> dict[str, TopicInfo]:
    """The topics' ids and partitions, in order of their names.

    A topic that is not there is an error, at every start: to wait for it would look like running.

    Raises:
        ConfigError: a topic is not there (the message names the nearest); the settings, the login
            or the TLS settings are refused.
        DataError: the cluster does not answer.
    """
    with TopicWatch(cluster, topics) as watch:
        return watch.now()


def _info(found: Any) -> TopicInfo:
    """Of a ``TopicDescription``, or of the metadata's topic, which has no id."""
    partitions = found.partitions
    if isinstance(partitions, Mapping):
        return TopicInfo(None, tuple(sorted(partitions)))
    topic_id = str(found.topic_id)
    return TopicInfo(
        None if topic_id == _NO_ID else topic_id, tuple(sorted(one.id for one in partitions))
    )


def _nearest(topic: str, there: Iterable[str]) -> str:
    known = [name for name in there if not name.startswith("__")]
    return nearest(topic, known) if known else ""
