"""Reads the partitions of a source's topics, each from its position.

Always holds: every record of a partition is given once, in order of offset, from its position on;
nothing is skipped but what is told as a gap. There is no consumer group: partitions are assigned by
``mine``, positions are the caller's, the group is only told them. A partition's error is its own,
the others go on; brokers that are down are waited for. Partitions added to a topic are found while
reading. A topic deleted and made again is refused, since its offsets mean other records.

Not promised: a clock. ``refresh_s`` counts by librdkafka's statistics timer, while polls are made.
The caller's garbage collector should be frozen or off: lists of messages cost double with it on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from confluent_kafka import KafkaError, KafkaException, Message

from labeling.config.source import SourceConfig
from labeling.errors import DataError
from labeling.io.decode import RecordBatch
from labeling.io.kafka.fetching import Fetcher
from labeling.io.kafka.partition import PartitionState
from labeling.io.kafka.polled import Gap, Polled, columns, leading_run, spans, unread
from labeling.io.kafka.settings import Cluster, reason
from labeling.io.kafka.starts import LATEST, start_positions
from labeling.io.kafka.topics import PartitionId, TopicFault, TopicInfo, TopicWatch

_EOF: Final = KafkaError._PARTITION_EOF  # noqa: SLF001 - its public name
#: The position is not there: expired, or beyond the end.
_LOST: Final = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - its public name
        KafkaError._LOG_TRUNCATION,  # noqa: SLF001 - its public name
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)

#: Records wait at least so long for their topics' description before they wait for the next poll.
CHECK_S: Final = 0.1


class Reader:
    """Reads a source; made connected, used as a context or closed.

    Args:
        source: ``topics`` and ``start``.
        cluster: where they are.
        positions: the next offset to read, of whole topics (see ``start_positions``).
        mine: which partitions this reader has.
        topic_ids: the ids under which the positions were committed.
        group: the consumer group that ``commit_offsets`` tells.
        refresh_s: how often topics are looked at anew, and doubtful ends asked for.

    Raises:
        ConfigError: a topic, a setting or ``start`` is wrong, or the login is refused.
        DataError: the cluster does not answer, or a topic is not the one that was read before.
    """

    def __init__(
        self,
        source: SourceConfig,
        cluster: Cluster,
        positions: Mapping[PartitionId, int],
        mine: Callable[[PartitionId], bool] = lambda _: True,
        *,
        topic_ids: Mapping[str, str] | None = None,
        group: str = "labeling",
        refresh_s: float = 5.0,
    ) -> None:
        self._cluster = cluster
        self._topics = sorted(set(source.topics))
        self._mine = mine
        self.topics: dict[str, TopicInfo] = {}
        self._ids = dict(topic_ids or {})
        self._states: dict[PartitionId, PartitionState] = {}
        self._held: list[Message] = []
        self._down = self._checked = False
        self._why = "no broker is reached"
        self._broken: DataError | None = None
        with ExitStack() as stack:
            self._watch = stack.enter_context(TopicWatch(cluster, self._topics))
            described = self._watch.now()
            self._fetcher = Fetcher(cluster, group, refresh_s)
            stack.callback(self._fetcher.close)
            new = self._learn(described)
            offsets = self._fetcher.offsets
            self._assign(start_positions(source, new, positions, offsets, described))
            self._clients = stack.pop_all()

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

    def close(self) -> None:
        """Let go of the cluster; positions told to the group are on their way."""
        self._clients.close()

    def poll(self, max_records: int, timeout_s: float) -> Polled:
        """Records as they come: up to ``max_records``, or what there is after ``timeout_s``.

        Raises:
            DataError: a topic was deleted and made again, or its position is beyond its end.
        """
        if self._broken is not None:
            raise self._broken
        try:
            return self._poll(max_records, timeout_s)
        except DataError as error:
            self._broken = error
            raise

    def _poll(self, max_records: int, timeout_s: float) -> Polled:
        self._look()
        messages = self._held or self._consume(max_records, timeout_s)
        self._hear(self._fetcher.complaints())
        run = leading_run(messages)
        gaps: list[Gap] = []
        batch = self._records([m for m in messages[:run] if m.error() is None], timeout_s)
        if batch is None:
            self._hold(messages)
            self._hear(self._watch.heard())
        else:
            self._advance(batch)
            self._note([m for m in messages[:run] if m.error() is not None])
            self._hold(messages[run:])
            lost = [state for state in self._states.values() if state.lost]
            gaps = [gap for gap in map(self._recover, lost) if gap is not None]
        return Polled(
            batch=batch or columns(self._cluster.name, [], self._topics),
            progress=[
                state.progress(self._fetcher.end_of(place)) for place, state in self._states.items()
            ],
            problems=[state.problem for state in self._states.values() if state.problem],
            gaps=gaps,
            warnings=self._fetcher.warnings(),
        )

    def pause(self, partitions: Collection[PartitionId]) -> None:
        """Stop reading some partitions; what is on its way may still come."""
        for state in self._of(partitions):
            if not state.paused:
                state.paused, state.at_end = True, False
                self._fetcher.pause(state)

    def resume(self, partitions: Collection[PartitionId]) -> None:
        """Read them again, from their positions."""
        for state in self._of(partitions):
            if state.paused:
                state.paused = False
                self._fetcher.resume(state)

    def end_offsets(self) -> dict[PartitionId, int]:
        """The end of every partition that the reader has, asked of the broker now.

        With ``read_committed``: up to the first transaction that is still open.

        Raises:
            DataError: the cluster does not answer.
        """
        return self._fetcher.offsets.at(self._states, LATEST)

    def commit_offsets(self, positions: Mapping[PartitionId, int]) -> None:
        """Tell the consumer group, in the background; a failure is a warning of a later poll."""
        self._fetcher.commit(positions)

    def _consume(self, max_records: int, timeout_s: float) -> list[Message]:
        messages = self._fetcher.consume(max_records, timeout_s)
        self._checked = not messages or not self._watch.has_ids
        if not self._checked:
            self._watch.ask(anew=True)
        return messages

    def _hold(self, messages: list[Message]) -> None:
        """Keep these for the next poll: their partitions are not at their ends."""
        self._held = messages
        for message in messages:
            place = PartitionId(message.topic() or "", message.partition() or 0)
            if place in self._states:
                self._states[place].at_end = False

    def _records(self, messages: Sequence[Message], wait_s: float) -> RecordBatch | None:
        """The batch, of what has not been read before; None where it may be another topic's."""
        batch = columns(self._cluster.name, messages, self._topics)
        first = spans(batch.positions)
        if any(span.first < self._states[place].position for place, span in first.items()):
            batch = unread(batch, {place: state.position for place, state in self._states.items()})
        return batch if not messages or self._are_theirs(wait_s) else None

    def _are_theirs(self, wait_s: float) -> bool:
        """Whether what was fetched is known to be of the topics that were there at the start.

        A topic made again is fetched under the same offsets as soon as librdkafka hears of it. So
        topics are described after each fetch: what was fetched before is then of those very ones.
        """
        if not self._checked:
            self._watch.ask()
            self._checked = self._take_in(self._watch.answers(max(wait_s, CHECK_S)))
        return self._checked

    def _advance(self, batch: RecordBatch) -> None:
        found = spans(batch.positions)
        for place, span in found.items():
            self._states[place].read(span)
        if found:
            self._reached()

    def _note(self, messages: Sequence[Message]) -> None:
        """Ends, and errors of single partitions."""
        for message in messages:
            error, partition = message.error(), message.partition()
            place = PartitionId(message.topic() or "", -1 if partition is None else partition)
            state, offset = self._states.get(place), message.offset()
            if state is None or error is None:
                continue
            if error.code() == _EOF and offset is not None:
                state.ended(offset)
                self._reached()
            elif error.code() in _LOST:
                state.lost = True
            else:
                state.failed(error.name(), error.str())

    def _reached(self) -> None:
        """Something was fetched: the brokers are not all down."""
        if self._down:
            self._down = False
            for state in self._states.values():
                state.reached()

    def _hear(self, errors: Iterable[KafkaError]) -> None:
        """A broken connection puts every end in doubt; with no broker left, all wait."""
        for error in errors:
            if error.fatal():
                raise DataError(f"{self._cluster}: {error.str()}; start again")
            if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - its public name
                self._down = True
            else:
                self._why = error.str()
            for state in self._states.values():
                if state.at_end:
                    state.doubt()
                    self._fetcher.seek(state)
        if self._down:
            for state in self._states.values():
                state.unreached(self._why)

    def _look(self) -> None:
        """At each tick ask about topics, and for what is in doubt; take in what was answered."""
        if self._fetcher.ticked():
            self._watch.ask()
            for state in self._states.values():
                if state.must_ask():
                    self._fetcher.seek(state)
        self._take_in(self._watch.answers())

    def _take_in(self, answers: Mapping[str, TopicInfo | TopicFault] | None) -> bool:
        """Take in what is known of the topics now; whether it is of all of them."""
        for topic, found in (answers or {}).items():
            if isinstance(found, TopicFault):
                for state in self._states.values():
                    if state.place.topic == topic:
                        state.failed(found.code, found.message)
            else:
                self._assign(dict.fromkeys(self._learn({topic: found}), 0))
        return answers is not None and len(answers) == len(self._topics)

    def _learn(self, described: Mapping[str, TopicInfo]) -> list[PartitionId]:
        """Check the topics' ids; the partitions of this reader that it does not have yet."""
        for topic, info in described.items():
            known = self._ids.setdefault(topic, info.topic_id or "")
            if info.topic_id is not None and known and known != info.topic_id:
                raise _another(self._cluster, topic, "was deleted and made again")
        self.topics = {**self.topics, **described}
        places = (PartitionId(t, p) for t, info in described.items() for p in info.partitions)
        return [place for place in places if place not in self._states and self._mine(place)]

    def _assign(self, starts: Mapping[PartitionId, int]) -> None:
        new = {place: PartitionState(place, at) for place, at in starts.items()}
        self._states = dict(sorted({**self._states, **new}.items()))
        self._fetcher.assign(new.values())

    def _recover(self, state: PartitionState) -> Gap | None:
        """Go on where the position is gone: from the earliest record, which leaves a gap.

        Raises:
            DataError: the position is beyond the end.
        """
        try:
            low, high = self._fetcher.bounds(state)
        except KafkaException as error:
            state.unreached(reason(error))
            return None
        if state.position > high:
            what = f"ends at {high} in partition {state.place.partition}, before {state.position}"
            raise _another(self._cluster, state.place.topic, what)
        state.lost = False
        gap = state.skip_to(low) if state.position < low else None
        self._fetcher.restart(state)
        return gap

    def _of(self, partitions: Collection[PartitionId]) -> Iterator[PartitionState]:
        return (self._states[place] for place in sorted(partitions) if place in self._states)


def _another(cluster: Cluster, topic: str, what: str) -> DataError:
    return DataError(
        f"{cluster}: topic {topic!r} {what}: the positions read so far mean nothing in it. To read "
        f"it from its start: labeling run --restart-topic {topic}"
    )
