"""A broker that goes away and comes back, under a reader and a writer.

Always holds: what was sent is read once and in order; while no broker is there, nothing counts as
read to its end.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labeling.io.kafka import WAITING, Reader, TopicWriter
from tests.kafka_broker import Broker
from tests.kafka_drive import Read, at_end, cluster, follow, source


@pytest.fixture
def restarted(broker: Broker) -> Iterator[Broker]:
    """The broker, running again whatever the test did."""
    yield broker
    broker.start()


def test_the_end_is_doubted_while_no_broker_is_there(restarted: Broker) -> None:
    """Every partition waits, with the reason; back again, the end is known without a record."""
    broker = restarted
    broker.create_topic("away", 3)
    broker.produce("away", [b"1", b"2"])
    with Reader(source("away"), cluster(broker), {}, refresh_s=0.5) as reader:
        read = follow(reader)
        broker.stop()
        follow(reader, lambda r: len(r.last.problems) == 3, read)
        assert not any(one.at_end for one in read.last.progress)
        assert {problem.code for problem in read.last.problems} == {WAITING}
        assert "refused" in read.last.problems[0].message
        broker.start()
        follow(reader, lambda r: at_end(r) and not r.last.problems, read)
        broker.produce("away", [b"3"])
        follow(reader, lambda r: at_end(r) and len(r.values()) == 3, read)


@pytest.mark.parametrize("kill", [False, True])
def test_nothing_is_lost_or_doubled_over_a_restart(restarted: Broker, *, kill: bool) -> None:
    """Writer and reader stay; the broker is stopped, or killed, in the middle of both."""
    broker = restarted
    topic = f"kept-over-{'kill' if kill else 'stop'}"
    broker.create_topic(topic, 2)
    keys = [b"u%d" % (n % 50) for n in range(2_000)]
    read = Read()
    with (
        TopicWriter(cluster(broker), topic) as writer,
        Reader(source(topic), cluster(broker), {}, refresh_s=0.5) as reader,
    ):
        for token in range(40):
            writer.send(keys, [b"%s %d %d" % (k, token, n) for n, k in enumerate(keys)], token)
            read.add(reader.poll(1_000, 0.01))
            if token == 20:
                broker.stop(kill=kill)
            if token == 25:
                broker.start()
        writer.flush(60)
        assert writer.delivered() == 39
        follow(reader, lambda r: len(r.values()) >= 80_000 and at_end(r), read)
    by_key: dict[bytes, list[tuple[int, int]]] = {}
    for value in read.values():
        key, token_text, row = (value or b"").split()
        by_key.setdefault(key, []).append((int(token_text), int(row)))
    assert sum(map(len, by_key.values())) == 80_000
    assert all(sent == sorted(set(sent)) for sent in by_key.values())
