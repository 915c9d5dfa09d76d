"""Rejects fed again after a fix of the mapping.

Always holds: a reject that now gives an event, or that the mapping now passes over, is marked
with the commit that took it in, and is never taken in again; the others stay as they are. Good
neighbours of a reject, archived when its record was first read, are neither counted nor archived
again. Where nothing has changed there is no commit.

Not promised: that a reject can be fed again at all. One whose bytes were cut, or whose source is
no longer configured, cannot; the result counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from labeling.config.rules import load_rules
from labeling.config.settings import Config
from labeling.config.source import SourceConfig
from labeling.io import leases
from labeling.io.decode import Decoded, RecordBatch
from labeling.io.decoders import open_decoder
from labeling.io.feature_archive import archive_of
from labeling.io.importing import Totals, counts_of, intake_of, record, stems
from labeling.io.store import Store
from labeling.io.store.columns import POSITION
from labeling.io.store.ownership import live_since
from labeling.io.store.tables import REJECTS
from labeling.model.reject import POSITION_SCHEMA

#: Records decoded, and taken in under one commit, at a time.
BLOCK: Final = 20_000
_RECORD: Final = tuple(c for c in POSITION if c != "index")


@dataclass
class Retried:
    """What feeding rejects again did: ``totals`` of what was taken in; the rest count rejects."""

    totals: Totals
    resolved: int = 0
    left: int = 0
    cut: int = 0
    unknown_source: int = 0


def retry(
    store: Store,
    config: Config,
    *,
    source: str | None = None,
    reason: str | None = None,
    progress: Callable[[int], None] | None = None,
    now: datetime | None = None,
) -> Retried:
    """Feed listed rejects through the mapping as it is now.

    Args:
        store: open for writing.
        config: with the fixed mapping.
        source: only this source's.
        reason: only records with a reject of this reason code.
        progress: called with the number of rejects looked at.
        now: the clock, as for an import.

    Raises:
        ConfigError: a mapping cannot work.
        DataError: an archived file is damaged, or the disk refuses.
    """
    rejects = _open_rejects(store, source, reason)
    result = Retried(Totals())
    configured = {s.name: s for s in config.sources}
    job = _Job(store, config, result, now)
    for (name,), part in sorted(rejects.partition_by("source", as_dict=True).items()):
        if name not in configured:
            result.unknown_source += part.height
            continue
        for block in _blocks(part):
            job.run(configured[str(name)], block)
            if progress:
                progress(block.height)
    return result


def _open_rejects(store: Store, source: str | None, reason: str | None) -> pl.DataFrame:
    """Rejects not taken in yet, of records that have one of the reason."""
    listed = REJECTS.conform(store.query("FROM rejects WHERE retried_commit IS NULL"))
    if source is not None:
        listed = listed.filter(pl.col("source") == source)
    if reason is not None:
        hit = listed.filter(pl.col("reason") == reason).select(_RECORD).unique()
        listed = listed.join(hit, on=_RECORD, how="semi", nulls_equal=True)
    return listed.sort(*_RECORD, "index", "commit")


def _blocks(rejects: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Rejects in blocks of whole records; sorted by record."""
    number = rejects.select(pl.struct(_RECORD).rle_id() // BLOCK).to_series()
    for block in number.unique().sort().to_list():
        yield rejects.filter(number == block)


@dataclass
class _Job:
    """Taking in blocks of one run, adding to its result."""

    store: Store
    config: Config
    result: Retried
    now: datetime | None

    def __post_init__(self) -> None:
        self._stems = stems(self.store)
        self._live_since = live_since(self.store.query, lambda: load_rules(self.config))

    def run(self, source: SourceConfig, rejects: pl.DataFrame) -> None:
        """Feed one block of one source's rejects again."""
        whole = rejects.filter(
            pl.col("raw").is_not_null() & ~pl.col("truncated").fill_null(value=False)
        )
        records = whole.unique(_RECORD, keep="last", maintain_order=True)
        listed = rejects.join(records, on=_RECORD, how="semi", nulls_equal=True)
        self.result.cut += rejects.height - listed.height
        decoder = open_decoder(self.config, source)
        batch = RecordBatch(records["raw"].to_list(), records.select(list(POSITION_SCHEMA)))
        decoded = decoder.decode(batch, self.now)
        still = decoded.rejects.select(list(POSITION))
        resolved = listed.join(still, on=list(POSITION), how="anti", nulls_equal=True)
        new = decoded.rejects.join(listed, on=list(POSITION), how="anti", nulls_equal=True)
        self.result.resolved += resolved.height
        self.result.left += listed.height - resolved.height
        if resolved.height:
            self._commit(source, decoded, resolved, new)

    def _commit(
        self, source: SourceConfig, decoded: Decoded, resolved: pl.DataFrame, new: pl.DataFrame
    ) -> None:
        """Take in what the resolved rejects gave."""
        place = list(POSITION)
        # Of records with nothing resolved there is nothing new either.
        touched = resolved.select(_RECORD).unique()
        events = decoded.events.join(
            touched, on=_RECORD, how="semi", nulls_equal=True, maintain_order="left"
        )
        archive = archive_of(self.config, source)
        what = f"rejects of {source.name} fed again"
        with leases.reading(archive.root), self.store.commit(what) as commit:
            intake = intake_of(self.store, archive, commit.number, self._stems, self._live_since)
            taken = intake.take(events)
            mine = taken.repeated.join(resolved, on=place, how="semi", nulls_equal=True)
            dropped = [f"dropped_{c}" for c in place]
            conflicts = taken.conflicts.join(
                resolved, left_on=dropped, right_on=place, how="semi", nulls_equal=True
            )
            record(commit, archive, taken, conflicts)
            commit.append_rejects(new)
            commit.mark_retried(resolved)
            totals = Totals(
                records=touched.height,
                events=taken.accepted + taken.too_late + mine.height + new.height,
                rejected=new.height,
                too_late=taken.too_late,
                duplicate=mine.height,
                accepted=taken.accepted,
                conflicts=conflicts.height,
            )
            commit.append_counts(counts_of(source.name, totals))
        self.result.totals.add(totals)
