"""A configuration into the pieces of one process of a flow.

Always holds: partitions are dealt to processes by a stable rule (the hash of topic and number,
modulo the processes), so that each is read by exactly one.

Not promised: that the brokers answer later. Making a reader asks them once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from zlib import crc32

from labeling.config.rules import Tree
from labeling.config.settings import Config
from labeling.config.source import SourceConfig
from labeling.errors import ConfigError
from labeling.io.decoders import open_decoder
from labeling.io.kafka import Cluster, PartitionId, Reader, TopicWriter
from labeling.io.store import Store
from labeling.live.feed import Feed
from labeling.live.items import Position
from labeling.live.outbox import Outbox, listen
from labeling.live.resume import Resume


def dealt_to(partition: PartitionId, processes: int) -> int:
    """The process that reads a partition.

    >>> dealt_to(PartitionId("events", 3), 1)
    0
    """
    return (crc32(partition.topic.encode()) + partition.partition) % processes


def streamed(config: Config) -> tuple[SourceConfig, ...]:
    """The sources that have topics.

    Raises:
        ConfigError: there is none.
    """
    sources = tuple(s for s in config.sources if s.topics)
    if not sources:
        raise ConfigError(
            f"{config.path}: no [[source]] has topics; name Kafka topics in one, such as "
            "topics = ['events'], beside [cluster.main]"
        )
    return sources


def cluster_of(config: Config, name: str | None) -> Cluster:
    """A cluster by its name; the only one where none is named."""
    known = config.cluster_name(name)
    return Cluster(known, config.clusters[known])


def open_feeds(
    config: Config,
    begin: Resume,
    *,
    process: int,
    processes: int,
    clock: Callable[[], float],
    now: Callable[[], datetime],
    hurried: bool = False,
) -> list[Feed]:
    """The feeds of one process, each partition at the lowest position of any shard.

    Raises:
        ConfigError: a topic or a setting is wrong, a mapping cannot work.
        DataError: a cluster does not answer, or a topic is not the one that was read before.
    """
    feeds = []
    for source in streamed(config):
        cluster = cluster_of(config, source.cluster)
        known = _known(begin, source.name)
        reader = Reader(
            source,
            cluster,
            {p: min(at.next_offset for at in each) for p, each in known.items()},
            lambda partition: dealt_to(partition, processes) == process,
            topic_ids={p.topic: at.topic_id for p, (at, *_) in known.items() if at.topic_id},
            group=config.live.group,
        )
        decoder = open_decoder(config, source)
        marks = {p: (each[0].mark_ms, each[0].idle) for p, each in known.items()}
        feeds.append(Feed(source, cluster.name, reader, decoder, marks, clock, now, hurried))
    return feeds


def _known(begin: Resume, source: str) -> Mapping[PartitionId, Sequence[Position]]:
    """Partition to what each shard knows of it; a shard that knows nothing begins at 0."""
    places = sorted({place for shard in begin.positions.values() for place in shard})
    found: dict[PartitionId, list[Position]] = {}
    for place in places:
        if place.source == source:
            each = [shard.get(place) for shard in begin.positions.values()]
            known = [at for at in each if at is not None]
            found[PartitionId(place.topic, place.partition)] = known
    return found


def open_outbox(config: Config, store: Store, tree: Tree) -> Outbox:
    """The topics that the flow writes, none where none is configured; it listens to the store.

    Raises:
        ConfigError: a topic is not there.
    """
    live = config.live
    named = (live.changes_topic, live.rejects_topic, live.markers_topic)
    topics = dict.fromkeys([*filter(None, named), *(s.topic for s in config.samples)])
    writers = {}
    if topics:
        cluster = cluster_of(config, live.cluster)
        writers = {topic: TopicWriter(cluster, topic) for topic in topics}
    return listen(store, config, tree, writers)
