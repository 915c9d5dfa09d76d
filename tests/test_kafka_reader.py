"""Reading from a real broker: where it starts, what it skips, what it refuses.

Every test has topics of its own.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer

from labeling.errors import ConfigError, DataError
from labeling.io.kafka import Gap, PartitionId, Reader, list_partitions
from labeling.io.kafka.topics import TopicWatch
from tests.kafka_broker import Broker
from tests.kafka_drive import Read, at_end, cluster, follow, never, source


def numbered(first: int, count: int) -> list[bytes | None]:
    """Values that say where they belong."""
    return [str(n).encode() for n in range(first, first + count)]


def transact(broker: Broker, topic: str, values: list[bytes], *, commit: bool) -> None:
    """Write in one transaction and end it: a control record follows."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": topic})
    producer.init_transactions(10)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=0)
    if commit:
        producer.commit_transaction(10)
    else:
        producer.flush(10)
        producer.abort_transaction(10)
    producer.close()


def test_starts_by_time_offset_and_word(broker: Broker) -> None:
    """A time starts at the first record at or after it, per partition; past all: at the end."""
    broker.create_topic("starts", 2)
    first = datetime(2026, 11, 20, 8, tzinfo=UTC)
    for hour in range(3):
        ms = round(first.timestamp() * 1000) + hour * 3_600_000
        broker.produce("starts", numbered(hour, 1), partition=0, timestamp_ms=ms)
    broker.produce("starts", numbered(0, 1), partition=1, timestamp_ms=ms - 7_200_000)
    wanted: dict[str, tuple[list[int], list[int]]] = {
        "earliest": ([0, 1, 2], [0]),
        "latest": ([], []),
        "2026-11-20T09:00:00Z": ([1, 2], []),
        "2026-11-20T10:00:00.001+01:00": ([2], []),
        "2026-11-21T00:00:00Z": ([], []),
    }
    cases: list[tuple[str | dict[str, int], tuple[list[int], list[int]]]]
    cases = [*wanted.items(), ({"0": 2}, ([2], [0])), ({"0": 3, "1": 1}, ([], []))]
    for start, offsets in cases:
        with Reader(source("starts", start=start), cluster(broker), {}) as reader:
            read = follow(reader)
        assert (read.offsets("starts", 0), read.offsets("starts", 1)) == offsets, start
        assert [p.next_offset for p in read.last.progress] == [3, 1]
        assert [p.end_offset for p in read.last.progress] == [3, 1]


def test_a_committed_position_wins_and_a_new_partition_starts_at_its_beginning(
    broker: Broker,
) -> None:
    """``start`` is for topics without positions; a partition added meanwhile misses nothing."""
    broker.create_topic("resumed", 2)
    broker.produce("resumed", numbered(0, 5), partition=0)
    broker.produce("resumed", numbered(0, 5), partition=1)
    positions = {PartitionId("resumed", 0): 3}
    with Reader(source("resumed", start="latest"), cluster(broker), positions) as reader:
        read = follow(reader)
        assert read.offsets("resumed", 0) == [3, 4]
        assert read.offsets("resumed", 1) == [0, 1, 2, 3, 4]
        assert read.polls[0].progress[0].from_offset == 3


def test_a_partition_added_while_reading_is_found(broker: Broker) -> None:
    """It is read from its first record, also when ``start`` is latest; others' are not."""
    broker.create_topic("grown", 1)
    mine = {PartitionId("grown", 0), PartitionId("grown", 2)}
    with Reader(
        source("grown", start="latest"), cluster(broker), {}, mine.__contains__, refresh_s=0.2
    ) as reader:
        follow(reader)
        broker.add_partitions("grown", 3)
        broker.produce("grown", numbered(0, 7), partition=2)
        broker.produce("grown", numbered(0, 7), partition=1)
        read = follow(reader, lambda r: len(r.offsets("grown", 2)) == 7 and at_end(r))
        assert [p.partition for p in read.last.progress] == sorted(mine)
        assert reader.topics["grown"].partitions == (0, 1, 2)


def test_a_backlog_of_megabytes_comes_whole_and_pauses_lose_nothing(broker: Broker) -> None:
    """24 MB in two partitions, one of them paused and resumed while its records are on the way."""
    broker.create_topic("big", 2)
    values = [b"%08d" % n + b"x" * 292 for n in range(40_000)]
    for partition in (0, 1):
        broker.produce("big", values, partition=partition)
    paused = PartitionId("big", 1)
    with Reader(source("big"), cluster(broker), {}) as reader:
        read = Read()
        while len(read.offsets("big", 0)) < 40_000:
            read.add(reader.poll(3_000, 0.2))
            reader.pause([paused])
            read.add(reader.poll(3_000, 0.2))
            assert not read.last.progress[1].at_end
            reader.resume([paused])
        follow(reader, read=read)
        assert reader.end_offsets() == {PartitionId("big", p): 40_000 for p in (0, 1)}
    for partition in (0, 1):
        assert read.records[PartitionId("big", partition)] == list(enumerate(values))


def test_the_columns_of_positions(broker: Broker) -> None:
    """Times are the producer's or the broker's by topic, never both in one batch."""
    broker.create_topic("clocked", 1, {"message.timestamp.type": "LogAppendTime"})
    broker.create_topic("unclocked", 1)
    before = datetime.now(UTC)
    broker.produce("clocked", [b"a", None], timestamp_ms=1_000)
    broker.produce("unclocked", [b"b"], timestamp_ms=1_001)
    with Reader(source("clocked", "unclocked"), cluster(broker), {}) as reader:
        read = follow(reader, lambda r: at_end(r) and len(r.values()) == 3)
    batches = [polled.batch for polled in read.polls if polled.batch.payloads]
    by_clock = {batch.broker_clock: batch for batch in batches}
    assert len(batches) == 2
    assert by_clock[True].payloads == [b"a", None]
    assert (by_clock[True].positions["broker_ts"] >= before.replace(microsecond=0)).all()
    assert by_clock[False].positions.row(0) == (
        "main", "unclocked", 0, 0, datetime.fromtimestamp(1.001, UTC),
    )  # fmt: skip


def test_control_records_do_not_hide_the_end(broker: Broker) -> None:
    """A partition that ends in the marks of transactions, or in aborted records, is at its end."""
    broker.create_topic("marked", 1)
    transact(broker, "marked", [b"a", b"b"], commit=True)
    transact(broker, "marked", [b"lost"], commit=False)
    with Reader(source("marked"), cluster(broker), {}) as reader:
        read = follow(reader)
        assert (read.values(), read.positions) == ([b"a", b"b"], {PartitionId("marked", 0): 5})
        assert reader.end_offsets() == read.positions
    with Reader(source("marked"), cluster(broker), read.positions) as reader:
        transact(broker, "marked", [b"c"], commit=True)
        again = follow(reader, lambda r: at_end(r) and bool(r.values()))
        assert (again.offsets("marked"), again.positions) == ([5], {PartitionId("marked", 0): 7})


def test_expired_records_are_a_gap_told_once(broker: Broker) -> None:
    """What retention took before it was read is told; reading goes on at the earliest record."""
    broker.create_topic("expired", 2)
    for partition in (0, 1):
        broker.produce("expired", numbered(0, 10), partition=partition)
    broker.expire("expired", 1, 6)
    positions = {PartitionId("expired", p): 2 for p in (0, 1)}
    with Reader(source("expired"), cluster(broker), positions) as reader:
        read = follow(reader, lambda r: at_end(r) and len(r.values()) == 12)
        follow(reader, lambda r: len(r.polls) > 40, read)
    assert read.told("gaps") == [Gap(PartitionId("expired", 1), 2, 6)]
    assert read.offsets("expired", 1) == [6, 7, 8, 9]
    assert read.offsets("expired", 0) == list(range(2, 10))


@pytest.mark.parametrize("new_records", [3, 500])
def test_a_topic_made_again_is_refused_while_reading(broker: Broker, new_records: int) -> None:
    """Whether the new one is shorter or longer, none of its records is taken for the old's."""
    topic = f"remade-{new_records}"
    broker.create_topic(topic, 1)
    broker.produce(topic, [b"old"] * 100)
    settings = cluster(broker, topic_metadata_refresh_interval_ms=200)
    with Reader(source(topic), settings, {}, refresh_s=1.0) as reader:
        read = follow(reader)
        broker.delete_topic(topic)
        broker.create_topic(topic, 1)
        broker.produce(topic, [b"new"] * new_records)
        with pytest.raises(DataError, match=f"--restart-topic {topic}"):
            follow(reader, never, read)
        with pytest.raises(DataError, match=f"--restart-topic {topic}"):
            reader.poll(1, 0)
    assert set(read.values()) == {b"old"}


def test_a_topic_made_again_is_refused_at_start(broker: Broker) -> None:
    """By its id, or, where that was not kept, by a position beyond its end."""
    broker.create_topic("reborn", 1)
    broker.produce("reborn", [b"new"] * 3)
    positions = {PartitionId("reborn", 0): 2}
    with pytest.raises(DataError, match=r"made again.*--restart-topic reborn"):
        Reader(source("reborn"), cluster(broker), positions, topic_ids={"reborn": "another"})
    with (
        Reader(source("reborn"), cluster(broker), {PartitionId("reborn", 0): 9}) as reader,
        pytest.raises(DataError, match=r"ends at 3 .*--restart-topic reborn"),
    ):
        follow(reader, never)


def test_records_wait_until_their_topic_is_known_to_be_the_same(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the cluster does not describe it: no record, no end; then all of them."""
    broker.create_topic("waiting", 1)
    broker.produce("waiting", [b"1"] * 10)
    answers = TopicWatch.answers
    with Reader(source("waiting"), cluster(broker), {}) as reader:
        monkeypatch.setattr(TopicWatch, "answers", lambda *_: None)
        read = follow(reader, lambda r: len(r.polls) > 10)
        assert not read.values()
        assert not at_end(read)
        monkeypatch.setattr(TopicWatch, "answers", answers)
        assert follow(reader, read=read).offsets("waiting") == list(range(10))


def test_a_deleted_topic_is_waited_for_and_the_others_go_on(broker: Broker) -> None:
    """Its partitions have a problem and no end; the other topic's records still come."""
    for topic in ("kept", "deleted"):
        broker.create_topic(topic, 1)
        broker.produce(topic, [b"1"])
    with Reader(source("kept", "deleted"), cluster(broker), {}, refresh_s=0.2) as reader:
        read = follow(reader)
        broker.delete_topic("deleted")
        follow(reader, lambda r: bool(r.last.problems), read)
        broker.produce("kept", [b"2"])
        follow(reader, lambda r: r.offsets("kept") == [0, 1] and r.last.progress[1].at_end, read)
        gone = read.last.progress[0]
        assert (gone.partition.topic, gone.at_end) == ("deleted", False)
        assert {p.code for p in read.last.problems} == {"UNKNOWN_TOPIC_OR_PART"}


def test_positions_are_told_to_the_group(broker: Broker) -> None:
    """Where lag tools look for them."""
    broker.create_topic("told", 1)
    broker.produce("told", [b"1"] * 5)
    with Reader(source("told"), cluster(broker), {}, group="told-group") as reader:
        read = follow(reader)
        reader.commit_offsets(read.positions)
        reader.commit_offsets({})
    asked = [ConsumerGroupTopicPartitions("told-group")]
    found = broker.admin.list_consumer_group_offsets(asked)["told-group"].result(10)
    assert [(one.topic, one.offset) for one in found.topic_partitions] == [("told", 5)]
    assert read.told("warnings") == []


def test_topics_and_their_ids(broker: Broker) -> None:
    """A topic made again has another id; one that is not there is named with its nearest."""
    broker.create_topic("described", 2)
    first = list_partitions(cluster(broker), ["described"])["described"]
    broker.delete_topic("described")
    broker.create_topic("described", 3)
    second = list_partitions(cluster(broker), ["described"])["described"]
    assert (first.partitions, second.partitions) == ((0, 1), (0, 1, 2))
    assert None not in (first.topic_id, second.topic_id)
    assert first.topic_id != second.topic_id
    with pytest.raises(ConfigError, match=r"no topic 'descrbed' .*; did you mean 'described'\?"):
        list_partitions(cluster(broker), ["descrbed"])
