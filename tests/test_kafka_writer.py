"""Writing to a real broker: order, what counts as delivered, and what is said when it is not."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from confluent_kafka import Consumer, TopicPartition

from labeling.errors import ConfigError, DataError
from labeling.io.kafka import NOTHING, Reader, TopicWriter, list_partitions, topics
from tests.kafka_broker import PASSWORD, USER, Broker
from tests.kafka_drive import cluster, follow, source


def read_independently(broker: Broker, topic: str, count: int) -> list[tuple[bytes, bytes]]:
    """Keys and values of partition 0, by ``kcat`` where it is there, else by a plain consumer."""
    if shutil.which("kcat"):
        done = subprocess.run(
            ["kcat", "-b", broker.bootstrap, "-C", "-t", topic, "-p", "0", "-e", "-q",
             "-f", r"%k\t%s\n"],
            capture_output=True, check=True, timeout=30,
        )  # fmt: skip
        pairs = [line.split(b"\t") for line in done.stdout.splitlines()]
        return [(key, value) for key, value in pairs]
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "independent"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    messages = consumer.consume(count, 20)
    consumer.close()
    return [(m.key() or b"", m.value() or b"") for m in messages]


def test_others_read_what_was_written(broker: Broker) -> None:
    """Keys and values as they were, in the order of sending."""
    broker.create_topic("plain", 1)
    sent = [(b"u%d" % (n % 7), b'{"n":%d}' % n) for n in range(500)]
    with TopicWriter(cluster(broker), "plain") as writer:
        assert writer.delivered() == NOTHING
        writer.send([key for key, _ in sent], [value for _, value in sent], 1)
        writer.send([], [], 2)
        writer.flush(20)
        assert writer.delivered() == 2
    assert read_independently(broker, "plain", 500) == sent


def test_a_key_has_one_partition_the_one_that_java_would_choose(broker: Broker) -> None:
    """By murmur2: others' joins by key meet the same partition."""
    broker.create_topic("keyed", 8)
    keys = [b"21", b"foobar", b"a-little-bit-long-string"]  # of Kafka's own UtilsTest
    murmur2 = [-973932308, -790332482, -985981536]
    with TopicWriter(cluster(broker), "keyed") as writer:
        for token in range(3):
            writer.send(keys, keys, token)
        writer.flush(20)
    with Reader(source("keyed"), cluster(broker), {}) as reader:
        read = follow(reader)
    for key, hashed in zip(keys, murmur2, strict=True):
        found = [place.partition for place, rows in read.records.items() if (rows[0][1]) == key]
        assert found == [(hashed & 0x7FFFFFFF) % 8]


@pytest.mark.parametrize("size", [30_000, 3_000_000])
def test_a_record_larger_than_the_topic_takes(broker: Broker, size: int) -> None:
    """The broker's refusal, or librdkafka's, is told, and every call after it raises the same."""
    topic = f"small-{size}"
    broker.create_topic(topic, 1, {"max.message.bytes": "20000"})
    with TopicWriter(cluster(broker, compression_type="none"), topic) as writer:

        def write() -> None:
            writer.send([b"k"], [b"x" * size], 1)
            writer.flush(20)

        with pytest.raises(DataError, match=rf"{topic}.*{size} bytes.*max.message.bytes"):
            write()
        for call in (writer.delivered, lambda: writer.send([], [], 2), lambda: writer.flush(1)):
            with pytest.raises(DataError, match="records were not delivered"):
                call()


def test_tokens_grow(broker: Broker) -> None:
    """A token that was used, or keys and values that do not match, are the caller's mistake."""
    broker.create_topic("tokens", 1)
    with TopicWriter(cluster(broker), "tokens") as writer:
        writer.send([b"k"], [b"v"], 5)
        with pytest.raises(ValueError, match="token 5 after 5"):
            writer.send([b"k"], [b"v"], 5)
        with pytest.raises(ValueError, match="1 keys beside 2"):
            writer.send([b"k"], [b"v", b"w"], 6)


def test_a_full_queue_is_waited_for(broker: Broker) -> None:
    """Ten times more records than the queue takes arrive, in order."""
    broker.create_topic("narrow", 1)
    settings = cluster(broker, queue_buffering_max_messages=200)
    values = [b"%d" % n for n in range(2_000)]
    with TopicWriter(settings, "narrow") as writer:
        writer.send([b"k"] * 2_000, values, 1)
        writer.flush(20)
    with Reader(source("narrow"), cluster(broker), {}) as reader:
        assert follow(reader).values() == values


def test_a_topic_that_is_not_there(broker: Broker) -> None:
    """Is refused before anything is written."""
    broker.create_topic("written", 1)
    with pytest.raises(ConfigError, match=r"no topic 'writen'.*did you mean 'written'\?"):
        TopicWriter(cluster(broker), "writen")


def sasl(broker: Broker, password: str) -> dict[str, str]:
    """Settings of a login; the names are librdkafka's with ``_``."""
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_username": USER,
        "sasl_password": password,
    }


def test_a_login_that_is_right_and_one_that_is_wrong(broker: Broker) -> None:
    """Settings of SASL reach librdkafka; the refusal names what to check, not the password."""
    broker.create_topic("login", 1)
    right = cluster(broker.sasl_bootstrap, **sasl(broker, PASSWORD))
    with TopicWriter(right, "login") as writer:
        writer.send([b"k"], [b"v"], 1)
        writer.flush(20)
    with Reader(source("login"), right, {}) as reader:
        assert follow(reader).values() == [b"v"]
    wrong = cluster(broker.sasl_bootstrap, **sasl(broker, "guess"))
    with pytest.raises(ConfigError, match=r"cluster.main.*Authentication.*check sasl") as caught:
        list_partitions(wrong, ["login"])
    assert "guess" not in str(caught.value)


def test_tls_where_there_is_none(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain listener asked for TLS: the handshake is named, with the setting to check."""
    monkeypatch.setattr(topics, "FIRST_ANSWER_S", 1)
    with pytest.raises(ConfigError, match=r"SSL handshake.*PLAINTEXT.*security\.protocol"):
        list_partitions(cluster(broker, security_protocol="SSL"), ["any"])


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is told."""
    monkeypatch.setattr(topics, "FIRST_ANSWER_S", 1)
    with pytest.raises((ConfigError, DataError), match=r"127.0.0.1:1\b.*check bootstrap"):
        list_partitions(cluster("127.0.0.1:1"), ["any"])
