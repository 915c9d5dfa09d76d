"""What needs no real broker: settings, columns, the states of a partition, and the mock itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, Message

from labeling.config.cluster import ClusterConfig
from labeling.errors import ConfigError, DataError
from labeling.io.kafka import (
    WAITING,
    Cluster,
    MockCluster,
    PartitionId,
    Reader,
    TopicWriter,
    client_settings,
    list_partitions,
)
from labeling.io.kafka.mock import PARTITIONS
from labeling.io.kafka.partition import PartitionState
from labeling.io.kafka.polled import Span, columns, leading_run, unread
from labeling.model.reject import POSITION_SCHEMA
from tests.kafka_drive import Read, at_end, cluster, follow, source


@pytest.fixture(scope="module")
def mock() -> Iterator[MockCluster]:
    """A mock cluster; each test has topics of its own."""
    with MockCluster() as one:
        yield one


def test_written_and_read_through_the_mock(mock: MockCluster) -> None:
    """A demo's whole way: every record once, over four partitions, to the end, and again later."""
    keys = [b"u%d" % (n % 20) for n in range(3_000)]
    values = [b'{"n":%d}' % n for n in range(3_000)]
    main = cluster(mock.bootstrap)
    with TopicWriter(main, "demo") as writer:
        writer.send(keys[:2_000], values[:2_000], 1)
        writer.flush(10)
        assert writer.delivered() == 1
        with Reader(source("demo"), main, {}, refresh_s=0.2) as reader:
            read = follow(reader, lambda r: at_end(r) and len(r.values()) == 2_000)
            assert len(read.last.progress) == PARTITIONS
            writer.send(keys[2_000:], values[2_000:], 2)
            follow(reader, lambda r: at_end(r) and len(r.values()) == 3_000, read)
            assert reader.end_offsets() == read.positions
    assert sorted(read.values(), key=str) == sorted(values, key=str)
    assert read.told("problems") == []
    with Reader(source("demo"), main, read.positions) as reader:
        assert follow(reader).values() == []


def test_partitions_are_divided_by_mine(mock: MockCluster) -> None:
    """Two readers of one topic have every record once between them."""
    main = cluster(mock.bootstrap)
    with TopicWriter(main, "shared") as writer:
        writer.send([b"k%d" % n for n in range(100)], [b"%d" % n for n in range(100)], 1)
        writer.flush(10)
    halves = []
    for half in ({0, 2}, {1, 3}):
        mine = {PartitionId("shared", partition) for partition in half}
        with Reader(source("shared"), main, {}, mine.__contains__) as one:
            halves.append(follow(one).values())
    assert sorted(halves[0] + halves[1], key=str) == sorted(
        (b"%d" % n for n in range(100)), key=str
    )


def test_a_mock_runs_as_a_context_only() -> None:
    """Its address is not to be had before and after, and it names its topics' partitions."""
    one = MockCluster()
    with pytest.raises(DataError, match="with MockCluster"):
        _ = one.bootstrap
    with one:
        topics = list_partitions(cluster(one.bootstrap), ["any"])
    assert (topics["any"].topic_id, len(topics["any"].partitions)) == (None, PARTITIONS)
    with pytest.raises(DataError, match="with MockCluster"):
        _ = one.bootstrap


def test_whose_settings_win() -> None:
    """The user's over defaults, ours over the user's, and the address is the cluster's."""
    config = ClusterConfig(bootstrap="k:9092", settings={"linger.ms": 7, "client.id": "mine"})
    found = client_settings(
        Cluster("main", config), {"linger.ms": 20, "a": 1}, {"client.id": "ours", "b": 2}
    )
    wanted = {"linger.ms": 7, "client.id": "ours", "a": 1, "b": 2, "bootstrap.servers": "k:9092"}
    assert wanted.items() <= found.items()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"linger_mss": 5}, r'\[cluster.main\] settings: No such .*"linger.mss"'),
        (
            {"fetch_min_bytes": "many"},
            r"\[cluster.main\] settings: Invalid value .*fetch.min.bytes",
        ),
    ],
)
def test_a_setting_that_librdkafka_does_not_take(settings: dict[str, str], message: str) -> None:
    """Is named, before anything is connected."""
    with pytest.raises(ConfigError, match=message):
        list_partitions(cluster("127.0.0.1:1", **settings), ["any"])


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("yesterday", "'earliest', 'latest', offsets by partition, or a time with its zone"),
        ("2026-11-20T08:00:00", "a time with its zone"),
        ({"first": 3}, "start: first = 3; write partition = offset"),
        ({"4": 0}, "has partitions 0 to 3"),
        ({"1": -1}, "start: 1 = -1"),
        ({"1": 5}, r"start = 5 of odd\[1\] is beyond its end, 0"),
    ],
)
def test_a_start_that_makes_no_sense(
    mock: MockCluster, start: str | dict[str, int], message: str
) -> None:
    """Is told with what to write instead."""
    with pytest.raises(ConfigError, match=message):
        Reader(source("odd", start=start), cluster(mock.bootstrap), {})


def message(offset: int, kind: int = TIMESTAMP_CREATE_TIME, ms: int = 1_000) -> Message:
    """A record of ``t[0]``."""
    return Message(
        topic="t", partition=0, offset=offset, value=b"%d" % offset, timestamp=(kind, ms)
    )


def test_columns_have_the_schema_of_positions() -> None:
    """Also when empty, with one topic or several; a record without a time has none."""
    timeless = Message(topic="t", partition=0, offset=1, value=None, timestamp=(0, -1))
    for topics in (["t"], ["other", "t"]):
        batch = columns("main", [message(0), timeless], topics)
        assert dict(batch.positions.schema) == dict(POSITION_SCHEMA)
        assert batch.positions["topic"].to_list() == ["t", "t"]
        assert batch.positions["broker_ts"].is_null().to_list() == [False, True]
        assert batch.payloads == [b"0", None]
    assert dict(columns("main", [], ["t"]).positions.schema) == dict(POSITION_SCHEMA)


def test_a_batch_has_one_clock() -> None:
    """It ends before the first record whose time is of the other kind; ends are of neither."""
    appended = [message(n, TIMESTAMP_LOG_APPEND_TIME) for n in (2, 3)]
    assert leading_run([]) == 0
    assert leading_run([message(0), message(1), *appended]) == 2
    assert leading_run([*appended, message(4), *appended]) == 2
    assert leading_run(appended) == 2


def test_records_that_were_read_before_are_left_out() -> None:
    """As they come again after a seek: payloads and positions stay beside each other."""
    batch = unread(columns("main", [message(n) for n in range(5)], ["t"]), {PartitionId("t", 0): 3})
    assert batch.payloads == [b"3", b"4"]
    assert batch.positions["offset"].to_list() == [3, 4]
    assert dict(batch.positions.schema) == dict(POSITION_SCHEMA)


def test_an_end_holds_until_it_is_doubted() -> None:
    """A stale end is none; silence asks once, then doubts; the broker's word settles it."""
    state = PartitionState(PartitionId("t", 0), 5)
    state.read(Span(3, 5, 7))
    state.ended(7)
    assert not state.at_end
    state.ended(9)
    assert (state.at_end, state.position) == (True, 9)
    assert [state.must_ask(), state.at_end] == [False, True]
    assert [state.must_ask(), state.at_end] == [True, True]
    assert [state.must_ask(), state.at_end] == [True, False]
    assert [state.must_ask(), state.at_end] == [True, False]
    state.ended(9)
    assert [state.must_ask(), state.at_end] == [False, True]
    progress = state.progress(None)
    assert (progress.from_offset, progress.next_offset, progress.records) == (5, 9, 3)
    assert progress.end_offset == 9
    assert state.progress(4).from_offset == 9


def test_waiting_is_over_once_a_broker_is_reached_an_error_of_its_own_is_not() -> None:
    """And a partition's own error is not hidden by the brokers' absence."""
    state = PartitionState(PartitionId("t", 0), 5)
    state.unreached("down")
    assert state.problem is not None
    assert state.problem.code == WAITING
    state.reached()
    assert state.problem is None
    state.failed("TOPIC_AUTHORIZATION_FAILED", "not yours")
    state.unreached("down")
    state.reached()
    assert state.problem is not None
    assert state.problem.message == "not yours"
    state.read(Span(1, 5, 5))
    assert state.problem is None


def test_the_shared_check_of_progress_can_fail() -> None:
    """``Read`` refuses progress that does not go on from where it was."""
    with (
        MockCluster() as other,
        Reader(source("x"), cluster(other.bootstrap), {}) as reader,
    ):
        polled = reader.poll(1, 0.1)
    read = Read()
    read.positions = {one.partition: 99 for one in polled.progress}
    with pytest.raises(AssertionError):
        read.add(polled)
