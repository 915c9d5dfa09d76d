"""The archived events of a part of a block, each identity once.

Always holds: of one identity the event that was archived first counts, among those that are counted
at all.

Not promised: a look for repeats where there can be none. Imports compare with the archive, a
stream with its memory; what a stream finds too late, and what both took in, may be there twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from backfill.blocks import Block
from labeling.io.archive import Archive, user_bucket
from labeling.model.event import IDENTITY
from labeling.model.kinds import Rule

#: The order in which events were archived: of one identity the first counts.
_ARRIVED: Final = ("archived", "source", "cluster", "topic", "partition", "offset", "index")


@dataclass(frozen=True)
class Read:
    """Events as they are archived.

    ``archived`` has the rule's ``event_columns``, those asked for beside them and, where
    ``repeats`` are possible, what tells which of one identity came first. Where they are not, only
    the types that the rule reads are there.
    """

    rule: Rule
    archived: pl.DataFrame
    repeats: bool

    def events(self, counted: pl.Expr | None = None) -> pl.DataFrame:
        """The events that count, each identity once, with the rule's ``event_columns``.

        Args:
            counted: a condition on what was read; None: all count.
        """
        found = self.archived if counted is None else self.archived.filter(counted)
        if self.repeats:
            found = found.sort(_ARRIVED).unique(IDENTITY, keep="first", maintain_order=True)
        return found.select(sorted(self.rule.event_columns))


def read(
    archive: Archive, rule: Rule, block: Block, bucket: int, beside: Sequence[str] = ()
) -> Read:
    """Read one of the block's parts by users.

    Args:
        archive: where the files lie.
        rule: whose columns are read.
        block: from ``blocks_of``.
        bucket: which part, from 0.
        beside: further columns of the archive.

    Raises:
        DataError: a file is missing or damaged; the message names it.
    """
    users = None if block.buckets == 1 else user_bucket(bucket, block.buckets)

    def scan(*columns: str) -> pl.LazyFrame:
        return archive.scan(
            block.files, columns, from_ts=block.read_from, to_ts=block.read_to, user_keys=users
        )

    columns = [*sorted(rule.event_columns), *beside]
    with archive.damage_explained(block.files):
        repeats = _repeats_possible(scan("arrival", "cluster"))
        if repeats:  # of one identity an event of another type may have come first
            return Read(rule, scan(*dict.fromkeys((*columns, *_ARRIVED))).collect(), repeats)
        of_rule = pl.col("event_type").is_in(sorted(rule.event_types))
        return Read(rule, scan(*columns).filter(of_rule).collect(), repeats)


def _repeats_possible(events: pl.LazyFrame) -> bool:
    """Whether an event may be there twice: some were too late, or streams and imports both wrote.

    Only what a stream read has a cluster, or what was fed again of it, which is compared.
    """
    streamed = pl.col("cluster").fill_null("") != ""
    told = events.select(
        late=(pl.col("arrival") == "too_late").any(),
        both=streamed.any() & ~streamed.all(),
    ).collect()
    return bool(told.item(0, "late") or told.item(0, "both"))
