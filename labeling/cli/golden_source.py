"""Where `labeling golden new` finds its events: the archive, read as replay would read it.

Always holds: only files that the store names are read; events come in the order in which they
were archived, each identity once, the first.

Not promised: more of the order of arrival than the archive kept (commit, partition, offset,
place in the record).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import polars as pl

from labeling.config import Config
from labeling.errors import ConfigError, DataError
from labeling.io.archive import Archive
from labeling.io.store import Store
from labeling.model.event import IDENTITY
from labeling.model.kinds import Rule

_ARRIVED: Final = ("archived", "source", "topic", "partition", "offset", "index")


def archived_events(
    config: Config, rule: Rule, user: str, from_ts: datetime, to_ts: datetime
) -> pl.DataFrame:
    """The archived events of one user in ``[from_ts, to_ts)``: the rule's ``event_schema``.

    Raises:
        DataError: there is none.
        StoreError: no store, or another process writes it.
    """
    columns = list(rule.event_schema)
    with Store.open(config.store, read_only=True) as store:
        files = store.files(from_ts, to_ts)
        archive = Archive(config.archive, config.columns)
        read = archive.scan(files, [*columns, *_ARRIVED], from_ts=from_ts, to_ts=to_ts)
        with archive.damage_explained(files):
            events = read.filter(pl.col("user_id") == user).collect()
    if events.is_empty():
        raise DataError(
            f"the archive has no event of user {user!r} from {from_ts:%Y-%m-%dT%H:%M:%S} to "
            f"{to_ts:%Y-%m-%dT%H:%M:%S} UTC"
        )
    arrived = events.sort(*_ARRIVED, "event_ts", "event_id", maintain_order=True)
    return arrived.unique(list(IDENTITY), keep="first", maintain_order=True).select(columns)


def duration_text(ms: int) -> str:
    """A duration as people write it, in the largest unit that fits.

    >>> duration_text(600_000), duration_text(90_000)
    ('10m', '90s')
    """
    units = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
    unit = next(u for u, size in units.items() if ms % size == 0 and (ms or u == "s"))
    return f"{ms // units[unit]}{unit}"


def named_rule(rules: Sequence[Rule], name: str) -> Rule:
    """The rule ``name``, or ``name@version`` where there are several.

    Raises:
        ConfigError: none, or several.
    """
    fit = [rule for rule in rules if name in (rule.name, rule.key)]
    if len(fit) != 1:
        known = ", ".join(rule.key for rule in rules)
        raise ConfigError(
            f"--rule {name}: {'several' if fit else 'none'} of this name; one of {known}"
        )
    return fit[0]
