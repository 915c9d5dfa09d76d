"""Which rules are streamed, and which are made from the archive beside the flow.

Always holds: a rule is hot when an event can matter to it no longer than ``hot_horizon``, else
cold; a rule is never both. A cold rule's hours belong to repair and replay: what a stream published
of it before is theirs from the flow's start on.

Not promised: that hot rules fit the memory; see ``labeling.live.needs``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from labeling.config.settings import Config
from labeling.engine.watermark import FOREVER
from labeling.errors import StoreError
from labeling.io.remote import RemoteStore
from labeling.io.store import Store
from labeling.io.store.ownership import streams_of
from labeling.io.store.repairs import Cost, Repaired, repaired_of
from labeling.model.kinds import Rule
from labeling.model.table import table_of

_COSTS: Final = ("rows", "events", "bytes")


def is_cold(rule: Rule, config: Config) -> bool:
    """Whether the rule is made from the archive."""
    return rule.reach_ms > config.hot_horizon_ms


def split(rules: Sequence[Rule], config: Config) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """The hot rules and the cold ones, each in their order."""
    hot = tuple(rule for rule in rules if not is_cold(rule, config))
    return hot, tuple(rule for rule in rules if is_cold(rule, config))


def take_over(store: Store, cold: Sequence[Rule]) -> None:
    """Give repairs the hours of cold rules that a stream published before.

    Args:
        store: of a flow that starts, open for writing.
        cold: its cold rules.
    """
    streams = streams_of(store.query).by_rule
    for rule in cold:
        if rule.key in streams:
            known = repaired_of(store.query).get(rule.key)
            f_ms = streams[rule.key].f_ms
            if known is not None and known.f_ms is not None:
                f_ms = min(f_ms, known.f_ms)
            with store.commit(f"{rule.key} is cold from here on") as commit:
                commit.set_repaired(table_of(rule), Repaired(f_ms, 0, Cost()), rule.looks_ahead_ms)


def refuse_streamed(store: Store, rule: Rule) -> None:
    """Refuse to repair a cold rule that a running flow still streams.

    Raises:
        StoreError: it does; the message says what to do.
    """
    if isinstance(store, RemoteStore) and rule.key in streams_of(store.query).by_rule:
        raise StoreError(
            f"{rule.key} is cold by this configuration, and the running flow streams it: start "
            "`labeling run` again with this configuration"
        )


@dataclass(eq=False)
class RepairMetrics(Collector):
    """What repairs have done so far, for Prometheus; asked of the store each time.

    Args:
        store: of the flow; a session beside it answers.
    """

    store: Store

    def collect(self) -> Iterable[Metric]:
        """Watermark and delay of each cold rule; rows, events and bytes of all repairs."""
        with self.store.beside() as mine:
            known = repaired_of(mine.query)
            lowest = streams_of(mine.query).lowest_ms
        mark = GaugeMetricFamily(
            "labeling_cold_watermark_seconds", "Points before it are published.", labels=("rule",)
        )
        behind = GaugeMetricFamily(
            "labeling_cold_delay_seconds", "How far behind the stream.", labels=("rule",)
        )
        for key, repaired in known.items():
            if repaired.f_ms is not None and 0 < repaired.f_ms < FOREVER:
                mark.add_metric((key,), repaired.f_ms / 1000)
                behind.add_metric((key,), max(0, lowest - repaired.f_ms) / 1000)
        yield from (mark, behind)
        for name in _COSTS:
            family = CounterMetricFamily(
                f"labeling_repair_{name}", f"By repairs: {name}.", labels=("rule",)
            )
            for key, repaired in known.items():
                family.add_metric((key,), getattr(repaired.cost, name))
            yield family
