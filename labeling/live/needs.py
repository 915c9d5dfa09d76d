"""What memory the state of hot rules will need, told before a flow begins to fill it.

Always holds: an estimate is made of the rate at which the archive's newest events came, by type,
and of what a held event was measured to take; where nothing is archived there is none.

Not promised: that tomorrow's rate is today's, nor what ``max_lead`` lets partitions run ahead.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from labeling.config.features import type_of
from labeling.config.settings import Config
from labeling.errors import ConfigError
from labeling.io.archive import Archive
from labeling.io.store import Store
from labeling.model.kinds import Rule

_LOG: Final = logging.getLogger("labeling")
#: Measured (benchmarks/live.py, held.py): memory of the process for an event that rules read.
HELD_BYTES: Final = 120
#: An identity, held of every event until it can only come too late.
SEEN_BYTES: Final = 24
#: What a flow takes beside its state: the libraries, a batch, the store's pages.
BASE_BYTES: Final = 600_000_000
#: The part of the machine's memory that a flow may fill.
_SHARE: Final = 0.8
#: The rate is that of about so many of the newest events.
_NEWEST: Final = 1_000_000
_CGROUP: Final = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Need:
    """What a rule's events take, were it alone: ``rate`` a second, held for ``seconds``."""

    rule: Rule
    rate: float
    seconds: float

    @property
    def bytes(self) -> int:
        """Memory for them."""
        return round(self.rate * self.seconds * HELD_BYTES)

    def __str__(self) -> str:
        """One line about it."""
        return (
            f"{self.rule.key}: about {self.bytes / 1e6:,.0f} MB: {self.rate:,.0f} events/s x "
            f"{timedelta(seconds=round(self.seconds))} x {HELD_BYTES} bytes"
        )


def announce(
    config: Config,
    hot: Sequence[Rule],
    cold: Sequence[Rule],
    rates: Mapping[str, float],
    parts: int,
) -> None:
    """Say which rules are streamed, and what they need.

    Args:
        config: ``lateness`` and the limit.
        hot: rules that are streamed.
        cold: those that are not.
        rates: events a second by type; empty: not known yet.
        parts: processes that share the state.

    Raises:
        ConfigError: it does not fit; names the rule that needs most, and the fix.
    """
    for rule in cold:
        _LOG.info(
            "%s is cold: it reaches %s, further than hot_horizon (%s); repairs publish it",
            rule.key, _span(rule.reach_ms), _span(config.hot_horizon_ms),
        )  # fmt: skip
    if not rates:
        for rule in hot:
            _LOG.info("%s is hot: it reaches %s", rule.key, _span(rule.reach_ms))
        return
    needs = [_need(config, rule, rates) for rule in hot]
    for need in needs:
        _LOG.info("%s is hot; %s", need.rule.key, str(need).partition(": ")[2])
    seen = _seen(config, rates)
    total = (_held(config, hot, rates) + seen) // parts + BASE_BYTES
    limit = config.live.memory_bytes or machine_bytes()
    if total > limit:
        raise ConfigError(
            f"{config.path}: the flow needs about {total / 1e9:,.1f} GB, [live] memory allows "
            f"{limit / 1e9:,.1f} GB. Most is {_most(needs, seen)}; or raise [live] memory, or run "
            "more processes"
        )


def _most(needs: Sequence[Need], seen: int) -> str:
    """What takes most, and how it takes less."""
    most = max(needs, key=lambda n: n.bytes, default=None)
    if most is None or most.bytes < seen:
        return f"the identities of all events, held for lateness ({seen / 1e9:,.1f} GB): shorten it"
    reach = _span(most.rule.reach_ms)
    return f"{most}. Set hot_horizon below {reach}, so that repairs publish it"


def _need(config: Config, rule: Rule, rates: Mapping[str, float]) -> Need:
    rate = sum(rates.get(t, 0.0) for t in rule.event_types)
    return Need(rule, rate, (rule.reach_ms + config.lateness_ms) / 1000)


def _seen(config: Config, rates: Mapping[str, float]) -> int:
    """Memory of the identities of events that can still come twice."""
    return round(sum(rates.values()) * config.lateness_ms / 1000 * SEEN_BYTES)


def _held(config: Config, hot: Sequence[Rule], rates: Mapping[str, float]) -> int:
    """Memory of events: one that several rules read is held once, as long as one needs it."""
    late_s = config.lateness_ms / 1000
    held = sum(
        rate * max((r.reach_ms / 1000 + late_s for r in hot if kind in r.event_types), default=0.0)
        for kind, rate in rates.items()
    )
    return round(held * HELD_BYTES)


def rates_of(store: Store, archive: Archive) -> dict[str, float]:
    """Events a second by type, of the newest that are archived; empty where there are none.

    Raises:
        DataError: a file is missing or damaged.
    """
    newest, rows = [], 0
    for file in sorted(store.files(), key=lambda f: f.max_ts, reverse=True):
        if rows >= _NEWEST:
            break
        newest.append(file)
        rows += file.rows
    if not newest:
        return {}
    events = archive.read(newest, ("event_ts", "event_type"))
    span = events.select(pl.col("event_ts").max() - pl.col("event_ts").min()).item()
    seconds = max(span.total_seconds(), 1.0)
    counts = events.group_by("event_type").len().sort("event_type")
    return {kind: count / seconds for kind, count in counts.iter_rows()}


def served_rates(store: Store, sources: Iterable[str]) -> dict[str, float]:
    """Records a second of sources of features, of the newest that are archived.

    Of these a flow holds the identities alone: they are named as no rule names an event type.
    """
    rates = {}
    for source in sources:
        rows, ends = 0, list[datetime]()
        for file in sorted(store.feature_files(source), key=lambda f: f.max_ts, reverse=True):
            if rows >= _NEWEST:
                break
            rows += file.rows
            ends += [file.min_ts, file.max_ts]
        if ends:
            rates[type_of(source)] = rows / max((max(ends) - min(ends)).total_seconds(), 1.0)
    return rates


def machine_bytes() -> int:
    """What of this machine's, or this container's, memory a flow may fill."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        physical = min(physical, int(_CGROUP.read_text(encoding="ascii")))
    return round(physical * _SHARE)


def _span(ms: int) -> timedelta:
    return timedelta(milliseconds=ms)
