"""When the stream changes an hour no more: clause M3.

Always holds: an hour that is settled stays so; what changes it afterwards is a publication of
replay, repair or verify.

Not promised: that an hour whose stream noted no end (``streams.settle_ms`` is null) ever settles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

from labeling.engine.watermark import NEVER
from labeling.io.store.database import Database
from labeling.io.store.ownership import Streams, streams_of
from labeling.io.store.repairs import Repaired, repaired_of
from labeling.model.table import RuleTable
from labeling.products.context import Context

_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True)
class Books:
    """What the store says of streams and repairs, asked for once in a transaction.

    Args:
        db: of the store; sees what the transaction wrote.
    """

    db: Database

    @cached_property
    def streams(self) -> Streams:
        """Who owns which hours."""
        return streams_of(self.db.frame)

    @cached_property
    def repaired(self) -> Mapping[str, Repaired]:
        """How far repairs have come, by rule key."""
        return repaired_of(self.db.frame)

    def published(self, table: RuleTable, hours: set[datetime]) -> set[datetime]:
        """Those of the hours of which everything is published."""
        if not hours:
            return set()
        sql = (
            "SELECT hour FROM hours WHERE rule = ? AND version = ? AND complete "
            "AND through_ts IS NULL AND hour IN (SELECT unnest(?))"
        )
        return set(self.db.frame(sql, [table.name, table.version, sorted(hours)])["hour"])


@dataclass(frozen=True)
class Settling:
    """Tells settled hours from others, from what the store says.

    Args:
        context: its tree says what samples are made of, and how far rules look ahead.
    """

    context: Context

    def settled(self, books: Books, table: RuleTable, hours: Iterable[datetime]) -> set[datetime]:
        """Those of complete hours that are settled.

        Of an hour that a stream began: ``F > end + settle``. Of a cold rule's: the same of the
        ``F`` of repairs. Of any other: once everything of it is published (``through_ts`` null).

        Args:
            books: of the transaction.
            table: a rule's version, or a sample's: the books follow those of its label rule.
            hours: their starts, UTC.
        """
        key = f"{table.name}@{table.version}"
        stream = books.streams.by_rule.get(key)
        repaired = books.repaired.get(key)
        found, others = set(), set()
        for hour in hours:
            if stream is not None and stream.began(hour):
                settled = stream.settled(hour)
            elif repaired is not None and repaired.f_ms is not None:
                end_ms = int(hour.timestamp() * 1000) + _HOUR_MS
                settled = repaired.f_ms > end_ms + self.settle_ms(table)
            else:
                others.add(hour)
                continue
            if settled:
                found.add(hour)
        return found | books.published(table, others)

    def settle_ms(self, table: RuleTable) -> int:
        """How far past an hour's end ``F`` has to be: what the rule looks ahead, and lateness."""
        tree = self.context.tree
        ahead = {r.key: r.looks_ahead_ms for r in tree.rules}
        ahead |= {s.key: s.labels.looks_ahead_ms for s in tree.samples}
        return ahead.get(f"{table.name}@{table.version}", 0) + self.context.config.lateness_ms

    def crosses(self, table: RuleTable, before_ms: int, f_ms: int) -> bool:
        """Whether an hour may settle while ``F`` goes from ``before_ms`` to ``f_ms``."""
        if before_ms <= NEVER:
            return True
        past = 1 + self.settle_ms(table)
        return (before_ms - past) // _HOUR_MS < (f_ms - past) // _HOUR_MS
