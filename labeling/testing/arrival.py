"""Events as they arrive from one partition, and what their order alone says about them.

Always holds: how late an event is follows from its own time and the highest time before it,
whatever the engine makes of it.

Not promised: that a repeat of an event is none. The engine finds duplicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from labeling.model.kinds import Rule


@dataclass(frozen=True, eq=False)
class Arrival:
    """Events in the order of their arrival from one partition, and how they are judged.

    ``events`` has the rule's ``event_schema``, nothing null in its identity and type.
    """

    rule: Rule
    events: pl.DataFrame
    max_disorder_ms: int
    lateness_ms: int

    @cached_property
    def lag_ms(self) -> tuple[int, ...]:
        """How far each event lies below the watermark before it; 0 where it is on time."""
        lags, high = [], None
        for ts in self.events["event_ts"].dt.epoch("ms").to_list():
            lags.append(0 if high is None else max(0, high - self.max_disorder_ms - ts))
            high = ts if high is None else max(high, ts)
        return tuple(lags)

    @property
    def in_bound(self) -> bool:
        """Whether no event is late."""
        return not any(self.lag_ms)

    @cached_property
    def too_late(self) -> tuple[int, ...]:
        """The places of the events that come after the lateness."""
        return tuple(i for i, lag in enumerate(self.lag_ms) if lag > self.lateness_ms)

    def of(self, order: Sequence[int]) -> Arrival:
        """The events at these places, in this order."""
        events = self.events[list(order)]
        return Arrival(self.rule, events, self.max_disorder_ms, self.lateness_ms)
