"""Kafka: topics in and out, at the edge. One concept per file.

settings   what a client is told, and what its errors mean
topics     topics, their ids and partitions
starts     where reading begins and ends
polled     what one poll gives
partition  how far one partition has been read
fetching   the consumer under a reader
reader     reads a source's topics
writer     writes a topic
mock       librdkafka's own small cluster, in this process
"""

from labeling.io.kafka.mock import MockCluster
from labeling.io.kafka.polled import WAITING, Gap, Polled, Problem, Progress
from labeling.io.kafka.reader import Reader
from labeling.io.kafka.settings import Cluster, client_settings
from labeling.io.kafka.topics import PartitionId, TopicInfo, list_partitions
from labeling.io.kafka.writer import NOTHING, TopicWriter

__all__ = [
    "NOTHING",
    "WAITING",
    "Cluster",
    "Gap",
    "MockCluster",
    "PartitionId",
    "Polled",
    "Problem",
    "Progress",
    "Reader",
    "TopicInfo",
    "TopicWriter",
    "client_settings",
    "list_partitions",
]
