"""What a Kafka client is told, and what its errors mean to the person who configured it.

Always holds: the user's librdkafka settings are passed on under their own names; those on which
exactness rests are ours and win; a setting that librdkafka does not know is a ``ConfigError`` that
names it; librdkafka logs to ``labeling.io.kafka``, never to the terminal by itself.

Not promised: that a setting means something for this kind of client; librdkafka ignores those of a
consumer in a producer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException

from labeling.config.cluster import ClusterConfig
from labeling.errors import ConfigError, DataError, LabelingError

LOGGER: Final = logging.getLogger("labeling.io.kafka")
LOGGER.addHandler(logging.NullHandler())

#: How long a question to the cluster may take before it is said not to answer.
ANSWER_S: Final = 15.0
#: The same for the first question, of a cluster that may not be there; a refusal ends it sooner.
FIRST_ANSWER_S: Final = 5

_Client = TypeVar("_Client")

#: What to look at, most telling first: one broken login also shows as closed connections.
_FIXES: Final[Mapping[int, str]] = {
    KafkaError._AUTHENTICATION: "check sasl.mechanism, sasl.username and sasl.password",  # noqa: SLF001 - its public names
    KafkaError._SSL: "check security.protocol and ssl.ca.location",  # noqa: SLF001 - as above
    KafkaError._RESOLVE: "check bootstrap",  # noqa: SLF001 - as above
    KafkaError._TRANSPORT: "check bootstrap, and security.protocol where it asks for TLS or SASL",  # noqa: SLF001 - as above
    KafkaError._ALL_BROKERS_DOWN: "check bootstrap, and that the brokers run",  # noqa: SLF001 - as above
}


@dataclass(frozen=True)
class Cluster:
    """``[cluster.NAME]``: its name, which every record carries, and what it says."""

    name: str
    config: ClusterConfig

    def __str__(self) -> str:
        """``[cluster.main] (kafka-1:9092)``."""
        return f"[cluster.{self.name}] ({self.config.bootstrap})"


class Complaints:
    """What a client's ``error_cb`` said; librdkafka goes on by itself after each."""

    def __init__(self) -> None:
        self._heard: list[KafkaError] = []

    def __call__(self, error: KafkaError) -> None:
        """Hear one."""
        self._heard.append(error)

    def take(self) -> list[KafkaError]:
        """What was heard since the last call."""
        heard, self._heard = self._heard, []
        return heard

    def refused(self) -> bool:
        """Whether waiting is of no use: the login or the TLS settings are wrong."""
        return any(e.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL) for e in self._heard)  # noqa: SLF001 - its public names

    def worst(self) -> KafkaError | None:
        """The most telling one heard, which stays heard.

        Of one kind that is one that guesses at the cause: librdkafka asks "connecting to a
        PLAINTEXT broker listener?" of some failures of a handshake, and not of others.
        """
        codes = list(_FIXES)
        known = [error for error in self._heard if error.code() in _FIXES]
        return min(known, key=lambda e: (codes.index(e.code()), "?" not in e.str()), default=None)


def client_settings(
    cluster: Cluster,
    defaults: Mapping[str, Any] | None = None,
    ours: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The settings of a client: ``defaults``, the user's over them, ``ours`` over those.

    Args:
        cluster: where to connect, and the user's settings.
        defaults: what the user may say otherwise.
        ours: what nobody may.
    """
    said = cluster.config.settings
    return {
        "client.id": "labeling",
        "reconnect.backoff.max.ms": 1_000,
        "socket.nagle.disable": True,
        **(defaults or {}),
        **said,
        **(ours or {}),
        "bootstrap.servers": cluster.config.bootstrap,
    }


def connect(make: Callable[..., _Client], cluster: Cluster, settings: Mapping[str, Any]) -> _Client:
    """A client of these settings; connecting itself happens in the background.

    Raises:
        ConfigError: librdkafka knows no such setting, or not that value of it.
    """
    try:
        return make(dict(settings), logger=LOGGER)
    except (KafkaException, ValueError, TypeError) as error:
        raise ConfigError(
            f"[cluster.{cluster.name}] settings: {reason(error)}; the names are librdkafka's, see "
            "CONFIGURATION.md of its version"
        ) from None


def reason(error: BaseException | KafkaError) -> str:
    """The text of a Kafka error, without its codes."""
    if isinstance(error, KafkaException) and error.args:
        inner = error.args[0]
        return inner.str() if isinstance(inner, KafkaError) else str(inner)
    return error.str() if isinstance(error, KafkaError) else str(error)


def code_of(error: BaseException) -> int | None:
    """The code of a ``KafkaException``, else None."""
    inner = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return inner.code() if isinstance(inner, KafkaError) else None


def unanswered(cluster: Cluster, error: BaseException, heard: Complaints) -> LabelingError:
    """The error of a question that the cluster did not answer, with the best known cause."""
    worst = heard.worst()
    if worst is None:
        return DataError(f"{cluster}: {reason(error)}; check bootstrap, and that the brokers run")
    kind = DataError if worst.code() == KafkaError._ALL_BROKERS_DOWN else ConfigError  # noqa: SLF001 - its public name
    return kind(f"{cluster}: {worst.str()}; {_FIXES[worst.code()]}")
