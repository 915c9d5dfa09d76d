"""A real Apache Kafka broker for tests: one KRaft node on loopback, in a temporary folder.

Always holds: the broker is the released one (``tests/kafka/pom.xml``), never a mock; its jars are
fetched once per checkout; it listens on loopback only, ends with the process that started it,
however that ends (Linux; elsewhere: unless that is killed), and keeps its ports and its data over
``stop()`` and ``start()``. Without Java or Maven it fails in one line; no test is skipped.

Not promised: topics made of themselves. A test names its own, and deletes none of another's.

Listeners: ``bootstrap`` is plain, ``sasl_bootstrap`` asks for SASL/PLAIN without TLS as ``USER``
with ``PASSWORD``.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

POM: Final = Path(__file__).parent / "kafka" / "pom.xml"
JARS: Final = POM.parent / ".jars"
USER: Final = "labeling"
PASSWORD: Final = "not-a-secret"  # noqa: S105 - of a broker that lives for one test run
START_SECONDS: Final = 60
WAIT_SECONDS: Final = 20

#: The parent's death is the child's: set in the child, before it becomes Java.
_LAUNCH: Final = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the test run is over")
os.execvp(sys.argv[2], sys.argv[2:])
"""
#: A test broker lives for minutes: the quick compiler and the small collector start it sooner.
_JAVA: Final = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")
_PROPERTIES: Final = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAIN://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAIN://127.0.0.1:{plain},SASL://127.0.0.1:{sasl}
listener.security.protocol.map=PLAIN:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
log.dirs={folder}/data
auto.create.topics.enable=false
delete.topic.enable=true
num.partitions=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
group.initial.rebalance.delay.ms=0
log.segment.delete.delay.ms=0
log.retention.check.interval.ms=1000
"""


class Broker:
    """One broker; made stopped. ``folder`` is its own: data, settings, log."""

    def __init__(self) -> None:
        self._jars = _jars()
        self.folder = Path(tempfile.mkdtemp(prefix="labeling-kafka-"))
        self._plain, self._sasl, self._controller = _free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: AdminClient | None = None
        self._format()

    @property
    def pid(self) -> int | None:
        """The process; None while stopped."""
        return None if self._process is None else self._process.pid

    @property
    def bootstrap(self) -> str:
        """Address of the plain listener."""
        return f"127.0.0.1:{self._plain}"

    @property
    def sasl_bootstrap(self) -> str:
        """Address of the listener that asks for ``USER`` and ``PASSWORD``."""
        return f"127.0.0.1:{self._sasl}"

    @property
    def admin(self) -> AdminClient:
        """A client for what is not below."""
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap}, logger=_silent())
        return self._admin

    def start(self) -> None:
        """Start, and return once it answers; twice is once."""
        if self._process is not None:
            return
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, str(os.getpid()),
                 *self._java("-Xmx512m", "kafka.Kafka"), self._settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        atexit.register(self.close)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the test broker did not start:\n{self._log_tail()}")
            time.sleep(0.05)

    def stop(self, *, kill: bool = False) -> None:
        """Stop; the data stay. ``kill``: as a crash of the machine's process would."""
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """Stop and remove everything; twice is once."""
        atexit.unregister(self.close)
        self.stop(kill=True)
        if self._admin is not None:
            self._admin.__exit__(None, None, None)
        self._admin = None
        self.remove(self.folder)

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove what a broker left; nothing where it is gone."""
        shutil.rmtree(folder, ignore_errors=True)

    def create_topic(
        self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> str:
        """Make a topic and return its name once it can be read and written."""
        topic = NewTopic(name, partitions, 1, config=dict(config or {}))
        self.admin.create_topics([topic])[name].result(WAIT_SECONDS)
        self._until(name, partitions)
        return name

    def add_partitions(self, name: str, total: int) -> None:
        """Let a topic have ``total`` partitions."""
        self.admin.create_partitions([NewPartitions(name, total)])[name].result(WAIT_SECONDS)
        self._until(name, total)

    def delete_topic(self, name: str) -> None:
        """Delete a topic and return once it is gone."""
        self.admin.delete_topics([name])[name].result(WAIT_SECONDS)
        self._until(name, 0)

    def produce(
        self,
        topic: str,
        values: Sequence[bytes | None],
        *,
        partition: int = -1,
        keys: Sequence[bytes | None] | None = None,
        timestamp_ms: int = 0,
    ) -> None:
        """Write records and return once all are acknowledged; -1: the partition by key."""
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "linger.ms": 5, "compression.type": "lz4"},
            logger=_silent(),
        )
        failed: list[str] = []

        def done(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(str(error))

        for row, value in enumerate(values):
            key = keys[row] if keys else None
            while True:
                try:
                    producer.produce(topic, value, key, partition, done, timestamp=timestamp_ms)
                    break
                except BufferError:
                    producer.poll(0.1)
        left = producer.flush(WAIT_SECONDS)
        producer.close()
        if left or failed:
            raise RuntimeError(f"{topic}: not all was written: {failed[:1] or 'no answer'}")

    def expire(self, topic: str, partition: int, before_offset: int) -> None:
        """Let the records below an offset be gone, as retention would."""
        place = TopicPartition(topic, partition, before_offset)
        self.admin.delete_records([place])[place].result(WAIT_SECONDS)

    def _until(self, name: str, partitions: int) -> None:
        """Wait until the metadata say it, and every partition has a leader."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            topic = self.admin.list_topics(timeout=WAIT_SECONDS).topics.get(name)
            leaders = [p.leader for p in topic.partitions.values()] if topic else []
            if len(leaders) == partitions and all(leader >= 0 for leader in leaders):
                return
            time.sleep(0.02)
        raise RuntimeError(f"{name}: not {partitions} partitions after {WAIT_SECONDS} s")

    @property
    def _settings(self) -> str:
        return str(self.folder / "server.properties")

    def _java(self, *arguments: str) -> list[str]:
        return [*_JAVA, f"-Djava.io.tmpdir={self.folder}", "-cp", f"{self._jars}/*", *arguments]

    def _format(self) -> None:
        text = _PROPERTIES.format(
            plain=self._plain, sasl=self._sasl, controller=self._controller,
            folder=self.folder, user=USER, password=PASSWORD,
        )  # fmt: skip
        Path(self._settings).write_text(text, encoding="utf-8")
        done = subprocess.run(
            self._java("kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ",
                       "-c", self._settings),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"the test broker's folder: {done.stderr[-2000:]}")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", self._plain)):
                return False
        try:
            with AdminClient({"bootstrap.servers": self.bootstrap}, logger=_silent()) as client:
                return bool(client.list_topics(timeout=2).brokers)
        except KafkaException:  # it listens and does not answer yet
            return False

    def _log_tail(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-3000:]


@contextmanager
def started() -> Iterator[Broker]:
    """A broker that runs until the block ends."""
    one = Broker()
    try:
        one.start()
        yield one
    finally:
        one.close()


def _jars() -> Path:
    """The folder of the broker's jars, fetched by Maven where it is not there yet."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise RuntimeError(
                f"{tool} is not on PATH: tests of Kafka run a real broker (Java 17+ and Maven)"
            )
    version = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    folder = JARS / version
    if folder.is_dir():
        return folder
    JARS.mkdir(exist_ok=True)
    fetched = Path(tempfile.mkdtemp(dir=JARS))
    done = subprocess.run(
        ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
         f"-DoutputDirectory={fetched}", "-DincludeScope=runtime"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        shutil.rmtree(fetched)
        raise RuntimeError(f"mvn could not fetch the test broker: {done.stdout[-1000:]}")
    try:
        fetched.rename(folder)
    except OSError:  # another test run was quicker; its jars are the same
        shutil.rmtree(fetched)
    return folder


def _free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, taken together so that they differ."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _silent() -> logging.Logger:
    """Where librdkafka tells of a broker that is being restarted on purpose."""
    logger = logging.getLogger("tests.kafka_broker")
    logger.setLevel(logging.CRITICAL + 1)
    return logger
