"""All sources of a process, gathered into batches of a bounded size.

Always holds: a round of batches ends at ``batch_events`` records, or after about ``batch`` of
waiting, whatever comes first; a partition that is read further ahead of the slowest than
``max_lead`` is paused until the others have come up.

Not promised: that sources of one process know how slow another's are, beyond what ``floor`` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from labeling.config.live import LiveConfig
from labeling.io.kafka import PartitionId
from labeling.live.feed import Feed
from labeling.live.items import Batch


@dataclass(frozen=True)
class Round:
    """Batches read together, and where each feed's partitions stood after them."""

    batches: list[Batch]
    positions: list[dict[PartitionId, int]]


@dataclass
class Gather:
    """The feeds of one process.

    Args:
        feeds: one for each source.
        live: sizes and times.
        clock: seconds.
        floor: the lowest mark that other processes know of, epoch ms; None: nothing is known.
        ends: where reading stops, by source and partition; None: it goes on.
    """

    feeds: Sequence[Feed]
    live: LiveConfig
    clock: Callable[[], float]
    floor: Callable[[], int | None] = lambda: None
    ends: Mapping[str, Mapping[PartitionId, int]] | None = None

    def next(self) -> Round:
        """The next round: one poll of each feed, so that each is decoded in one piece."""
        self._pace()
        ends_at = self.clock() + self.live.batch_ms / 1000
        batches: list[Batch] = []
        room, space = self.live.batch_events, float(self.live.batch_bytes)
        for place, feed in enumerate(self.feeds):
            left = len(self.feeds) - place
            wait = 0.0 if self.done else max(0.0, ends_at - self.clock()) / left
            fits = max(1, int(space / left / feed.record_bytes))
            found = feed.poll(min(-(-room // left), fits), wait)
            batches += found
            read = sum(b.offsets.len() for b in found)
            room, space = room - read, space - read * feed.record_bytes
        return Round(batches, [feed.positions() for feed in self.feeds])

    def tell(self, committed: Round) -> None:
        """Tell the consumer groups of a round that is in the store."""
        for feed, positions in zip(self.feeds, committed.positions, strict=True):
            feed.reader.commit_offsets(positions)

    @property
    def done(self) -> bool:
        """Whether everything up to the given ends has been read."""
        if self.ends is None:
            return False
        return all(
            feed.has_reached(partition, end)
            for feed in self.feeds
            for partition, end in self.ends[feed.source.name].items()
        )

    def close(self) -> None:
        """Let go of the clusters."""
        for feed in self.feeds:
            feed.reader.close()

    def _pace(self) -> None:
        marks = [m for feed in self.feeds if (m := feed.lowest_mark()) is not None]
        if (floor := self.floor()) is not None:
            marks.append(floor)
        if marks:
            for feed in self.feeds:
                feed.pace(min(marks) + self.live.max_lead_ms)
