"""The demo's traffic: hours of simulated events, sent to a topic within seconds.

Always holds: the same arguments make the same records in the same order; among them are repeats,
records that come late but within the flow's lateness, and records that are no events. Records are
spread over the partitions without regard to users, and unevenly.

Not promised: a rate above what this machine gives; the sender then falls behind its schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from labeling.io.kafka import TopicWriter

#: Past on any machine, since the future is rejected.
START: Final = datetime(2025, 11, 20, 8, tzinfo=UTC)
HOURS: Final = 4
TOPIC: Final = "traffic"
#: As ``max_disorder`` and ``lateness`` of the demo's labeling.toml.
_DISORDER_MS: Final = 30_000
_LATE_MS: Final = 600_000
#: So many different keys: their hashes load the partitions differently.
_KEYS: Final = 41


def records(events: int, seed: int) -> list[bytes]:
    """The records in the order of their arrival.

    Args:
        events: how many; repeats and bad records come on top.
        seed: of the traffic and of what happens to it.
    """
    from labeling.testing.simulator import World, disturb, simulate, to_jsonl

    frames = simulate(World(), events=events, hours=HOURS, seed=seed, start=START)
    arriving = disturb(
        frames,
        seed=seed,
        disorder_ms=_DISORDER_MS,
        duplicates=0.01,
        late=0.005,
        late_by_ms=_LATE_MS,
    )
    texts = (to_jsonl(frame, 0.001, seed + n) for n, frame in enumerate(arriving))
    return [line for text in texts for line in text.splitlines()]


@dataclass
class Sender:
    """Sends records evenly over some time.

    Args:
        writer: of the topic.
        values: the records.
        seconds: how long it should take.
    """

    writer: TopicWriter
    values: Sequence[bytes]
    seconds: float
    sent: int = field(default=0, init=False)

    def advance(self, elapsed_s: float) -> bool:
        """Send what is due after so much time; whether all has been sent.

        Raises:
            DataError: the broker does not take it.
        """
        share = 1.0 if self.seconds <= 0 else min(1.0, elapsed_s / self.seconds)
        due = round(len(self.values) * share)
        if due > self.sent:
            keys = [b"device-%d" % (n * n % _KEYS) for n in range(self.sent, due)]
            self.writer.send(keys, self.values[self.sent : due], due)
            self.sent = due
        return self.sent == len(self.values)
