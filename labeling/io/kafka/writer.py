"""Writes records to one topic, in order, and tells how far they are acknowledged.

Always holds: records of one key go to one partition in the order of ``send`` (by murmur2, as Java
clients do), each once while the writer lives; a token is delivered when the brokers have
acknowledged its records and all before them. After a failure every call raises, until a new writer
sends again what was not delivered.

Not promised: that a new writer doubles nothing. What was acknowledged unheard is sent again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from labeling.errors import DataError
from labeling.io.kafka.settings import Cluster, Complaints, client_settings, connect, reason
from labeling.io.kafka.topics import list_partitions

_DEFAULTS: Final = {
    "compression.type": "lz4",
    "linger.ms": 5,
    "partitioner": "murmur2_random",
    "queue.buffering.max.messages": 500_000,
    "queue.buffering.max.kbytes": 262_144,
}
#: Before any token.
NOTHING: Final = -1


@dataclass
class _Sent:
    """A token, and how many of its records are not acknowledged yet."""

    token: int
    waiting: int


class TopicWriter:
    """Writes to ``topic``; made connected, used as a context or closed.

    Args:
        cluster: where it is.
        topic: it must be there.

    Raises:
        ConfigError: there is no such topic, a setting is wrong, or the login is refused.
        DataError: the cluster does not answer.
    """

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._cluster = cluster
        self._topic = topic
        list_partitions(cluster, [topic])
        self._heard = Complaints()
        ours: dict[str, Any] = {"enable.idempotence": True, "error_cb": self._heard}
        settings = client_settings(cluster, _DEFAULTS, ours)
        self._producer = connect(Producer, cluster, settings)
        self._sent: deque[_Sent] = deque()
        self._token = self._delivered = NOTHING
        self._failure: str | None = None
        self._last = ""

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def send(self, keys: Sequence[bytes], values: Sequence[bytes], token: int) -> None:
        """Queue records; where the queue is full, wait until brokers have taken some.

        Args:
            keys: of the records, such as the user's id.
            values: beside them.
            token: above all tokens before.

        Raises:
            DataError: records could not be delivered, of this call or an earlier one.
            ValueError: tokens do not grow, or keys and values differ in number.
        """
        self._check()
        if token <= self._token:
            raise ValueError(f"token {token} after {self._token}: tokens grow")
        if len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys beside {len(values)} values")
        self._token = token
        sent = _Sent(token, len(values))
        self._sent.append(sent)
        done = self._done_with(sent)
        produce, topic = self._producer.produce, self._topic
        for key, value in zip(keys, values, strict=True):
            try:
                produce(topic, value, key, -1, done)
            except BufferError:
                self._produce_later(value, key, done)
            except KafkaException as error:
                self._fail(error.args[0], len(value))
                self._check()
        self._producer.poll(0)

    def delivered(self) -> int:
        """The highest token whose records, and all before, are acknowledged; else ``NOTHING``.

        Raises:
            DataError: records could not be delivered.
        """
        self._producer.poll(0)
        self._check()
        while self._sent and not self._sent[0].waiting:
            self._delivered = self._sent.popleft().token
        return self._delivered

    def flush(self, timeout_s: float) -> None:
        """Return once all that was sent is acknowledged.

        Raises:
            DataError: it is not, after ``timeout_s``, or records could not be delivered.
        """
        left = self._producer.flush(timeout_s)
        self._check()
        if left:
            raise DataError(
                f"{self._place}: {left} records are not acknowledged after {timeout_s:g} s"
                f"{self._why()}; they are sent again at the next start"
            )

    def close(self) -> None:
        """Let go of the cluster; what is not acknowledged is dropped."""
        self._producer.purge()
        self._producer.flush(1)
        self._producer.close()

    @property
    def _place(self) -> str:
        return f"{self._cluster}: topic {self._topic!r}"

    def _produce_later(self, value: bytes, key: bytes, done: Callable[..., None]) -> None:
        """Once there is room; records that time out make room too, and raise here."""
        while True:
            self._producer.poll(0.1)
            self._check()
            try:
                self._producer.produce(self._topic, value, key, -1, done)
            except BufferError:
                continue
            return

    def _done_with(self, sent: _Sent) -> Callable[[KafkaError | None, Message], None]:
        def done(error: KafkaError | None, message: Message) -> None:
            if error is None:
                sent.waiting -= 1
            else:
                self._fail(error, len(message.value() or b""))

        return done

    def _fail(self, error: KafkaError, size: int) -> None:
        """Keep the first failure: later ones follow from it."""
        if self._failure is not None:
            return
        if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
            fix = (
                f"; one of {size} bytes, or those sent with it, are more than it takes: raise the "
                "topic's max.message.bytes and message.max.bytes in settings, or lower batch.size"
            )
        else:
            fix = f"{self._why()}; when it is mended, start again: what is missing is sent again"
        self._failure = f"{self._place}: records were not delivered: {reason(error)}{fix}"

    def _check(self) -> None:
        for error in self._heard.take() if self._failure is None else ():
            if error.fatal():
                self._fail(error, 0)
            else:
                self._last = error.str()
        if self._failure is not None:
            raise DataError(self._failure)

    def _why(self) -> str:
        return f" ({self._last})" if self._last else ""
