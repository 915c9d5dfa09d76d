"""How far one partition has been read.

Always holds: the position only grows, by records in order, by the broker's word that there is
nothing before a later offset, or by a gap that is told; a record below it has been read before and
is dropped. Doubt about the end is settled by a fetch, never by a guess.
"""

from __future__ import annotations

from dataclasses import dataclass

from labeling.io.kafka.polled import WAITING, Gap, Problem, Progress, Span
from labeling.io.kafka.topics import PartitionId


@dataclass
class PartitionState:
    """One partition that a reader has.

    Attributes:
        place: which.
        position: the offset to read next.
        at_end: see ``Progress``.
        confirmed: records or an end were seen since the last tick.
        asked: the end was asked for at the last tick, after silence.
        doubted: the end was known, and something since then makes it doubtful.
        lost: librdkafka has stopped reading it: the position is not there.
        paused: the caller wants none of its records now.
        problem: why it cannot be read; None where it can.
    """

    place: PartitionId
    position: int
    at_end: bool = False
    confirmed: bool = False
    asked: bool = False
    doubted: bool = False
    lost: bool = False
    paused: bool = False
    problem: Problem | None = None

    def __post_init__(self) -> None:
        """The first poll tells from where the reading starts."""
        self._told = self.position
        self._records = 0

    def read(self, span: Span) -> None:
        """Records were read."""
        self.position = span.last + 1
        self._records += span.records
        self.at_end = False
        self._well()

    def ended(self, offset: int) -> None:
        """The broker has nothing at or after ``offset``; stale where more has been read since."""
        self._well()
        if offset >= self.position:
            self.position = offset
            self.at_end = True

    def skip_to(self, offset: int) -> Gap:
        """The records before ``offset`` are gone."""
        gap = Gap(self.place, self.position, offset)
        self.position = offset
        return gap

    def doubt(self) -> None:
        """The end may be another by now."""
        self.doubted = self.doubted or self.at_end
        self.at_end = False

    def failed(self, code: str, message: str) -> None:
        """It cannot be read now."""
        self.problem = Problem(self.place, code, message)
        self.doubt()

    def unreached(self, message: str) -> None:
        """No broker is reached; an error of its own stays the one to tell."""
        if self.problem is None or self.problem.code == WAITING:
            self.failed(WAITING, message)

    def reached(self) -> None:
        """A broker is reached again, if not yet for this partition."""
        if self.problem is not None and self.problem.code == WAITING:
            self.problem = None

    def must_ask(self) -> bool:
        """At a tick: whether the broker must be asked for its end, or whether it is well, again."""
        quiet = not self.confirmed and not self.paused and not self.lost
        self.confirmed = False
        if not quiet:
            return False
        if self.asked:
            self.doubt()
        self.asked = self.at_end
        return self.asked or self.doubted or self.problem is not None

    def progress(self, end_offset: int | None) -> Progress:
        """What was read since this was last asked; ``end_offset`` as the last fetch told it."""
        told, self._told = self._told, self.position
        records, self._records = self._records, 0
        end = self.position if self.at_end else end_offset
        return Progress(self.place, told, self.position, records, self.at_end, end)

    def _well(self) -> None:
        self.confirmed = True
        self.asked = self.doubted = False
        self.problem = None
