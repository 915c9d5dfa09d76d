"""Samples told to topics, in the formats that trainers want.

Always holds: what a commit tells is the difference of the format's view, with features and without
the samples that have none, between before the commit and after it; it is staged in that very
transaction. So what was told of a key last is its row in the view, after any crash, whoever
published: the stream, a replay, a repair. In format ``changes`` each change is told instead.

Not promised: features that retention has dropped; they are null then. Nor samples without features:
they are counted (``left_out``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import polars as pl

from labeling.config.hints import nearest
from labeling.config.rules import Tree
from labeling.config.samples import SampleTopic
from labeling.config.settings import Config
from labeling.engine.first import first_changes
from labeling.errors import ConfigError
from labeling.io.store.commit import Commit
from labeling.io.store.listener import Listener
from labeling.io.store.ownership import REPLAY
from labeling.model.sample import SampleRule
from labeling.model.table import RuleTable
from labeling.model.window import Duration
from labeling.products.context import Context
from labeling.products.formats.encoding import arrow_records, json_records
from labeling.products.formats.moved import Touched, differences
from labeling.products.formats.records import of_changes

_LOG: Final = logging.getLogger("labeling")
_ENCODED: Final = {"json": json_records, "arrow": arrow_records}
#: Formats whose rows change by time alone.
_BY_TIME: Final = ("wait", "delay_buckets")
#: Rows that are joined with their features at a time.
_ROWS: Final = 50_000
_HOUR_MS: Final = 3_600_000


@dataclass
class _Told:
    """One ``[[samples]]``, and what the transaction under way has for it.

    ``at`` counts its records, ``left_out`` samples that are not told of for want of features.
    """

    topic: SampleTopic
    sample: SampleRule
    touched: Touched = field(default_factory=Touched)
    at: int = 0
    left_out: int = 0

    def begin(self) -> None:
        self.touched, self.at, self.left_out = Touched(), 0, 0

    def is_of(self, table: RuleTable) -> bool:
        return (table.name, table.version) == (self.sample.name, self.sample.version)

    def delays(self) -> tuple[int, ...]:
        """The delays whose passing changes rows; none for a calendar window's end."""
        bound = self.sample.labels.bound
        last = (bound.ms,) if isinstance(bound, Duration) else ()
        return last if self.topic.format == "wait" else (*self.sample.labels.early_ms, *last)


class SampleTopics(Listener):
    """Samples told to topics, in the formats that trainers want.

    Args:
        context: what all listeners know.

    Raises:
        ConfigError: a ``[[samples]]`` names a rule that the tree has not, or not as samples.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        config, tree = context.config, context.tree
        self._told = tuple(
            _Told(topic, sample_named(config, tree, topic)) for topic in config.samples
        )

    def begin(self) -> None:
        """See ``Listener``."""
        for told in self._told:
            told.begin()

    def publish(self, commit: Commit, table: RuleTable, changes: pl.DataFrame) -> None:
        """See ``Listener``."""
        for told in self._told:
            if told.is_of(table):
                self._hear(commit, told, changes)

    def publish_first(
        self, commit: Commit, table: RuleTable, rows: pl.DataFrame, updates: pl.DataFrame
    ) -> None:
        """See ``Listener``."""
        for told in self._told:
            if told.is_of(table) and told.topic.format == "changes":
                self._hear(commit, told, first_changes(table, rows, updates))
            elif told.is_of(table):
                told.touched.add(rows)
                if updates.height:
                    told.touched.add(updates)

    def passed(self, commit: Commit, table: RuleTable, before_ms: int, f_ms: int) -> None:
        """See ``Listener``."""
        del commit
        for told in self._told:
            if told.is_of(table) and told.topic.format in _BY_TIME:
                for delay in told.delays():
                    told.touched.pass_over(before_ms - delay, f_ms - delay)

    def hours(
        self,
        commit: Commit,
        table: RuleTable,
        complete: Mapping[datetime, bool],
        through_ts: datetime | None,
        published_by: str,
    ) -> None:
        """See ``Listener``."""
        del commit, through_ts
        for told in self._told:
            # What the stream notes as complete has passed by its watermark, but calendar windows.
            calendar = not isinstance(told.sample.labels.bound, Duration)
            mine = told.is_of(table) and told.topic.format in _BY_TIME
            if mine and (calendar or published_by == REPLAY):
                for hour in complete:
                    low = int(hour.timestamp() * 1000)
                    told.touched.pass_over(low, low + _HOUR_MS)

    def end(self, commit: Commit) -> None:
        """See ``Listener``."""
        waiting = [told for told in self._told if not told.touched.empty]
        if waiting:
            with closing(commit.database.beside()) as before:
                for told in waiting:
                    for rows, left_out in differences(
                        before, commit.database, told.sample, told.topic.format, told.touched
                    ):
                        told.left_out += left_out
                        self._stage(commit, told, rows)
        for told in self._told:
            if told.left_out:
                _LOG.debug(
                    "%s: %s of %d rows had no features and were not told",
                    told.topic.topic, told.sample.key, told.left_out,
                )  # fmt: skip

    @property
    def left_out(self) -> Mapping[str, int]:
        """Topic to how many rows the latest transaction did not tell for want of features."""
        return {told.topic.topic: told.left_out for told in self._told}

    def _hear(self, commit: Commit, told: _Told, changes: pl.DataFrame) -> None:
        """Changes of samples: told as they are, or kept for the end of the transaction."""
        if told.topic.format != "changes":
            told.touched.add(changes)
            return
        rows = of_changes(told.sample, changes)
        told.left_out += changes.height - rows.height
        for part in rows.iter_slices(_ROWS):
            self._stage(commit, told, part)

    def _stage(self, commit: Commit, told: _Told, rows: pl.DataFrame) -> None:
        """Put rows of a format beside the commit, with their features."""
        if rows.is_empty():
            return
        source = told.sample.features.source
        features = self._context.features.exact(commit.database, source, rows)
        records = rows.select(
            pl.lit(told.sample.name).alias("rule"),
            pl.lit(told.sample.version, pl.Int32).alias("version"),
            pl.all(),
            features.to_struct("features"),
            pl.lit(commit.number, pl.Int64).alias("commit"),
            pl.int_range(told.at, told.at + rows.height, dtype=pl.Int64).alias("at"),
        )
        told.at += rows.height
        self._context.stage(commit, told.topic.topic, _ENCODED[told.topic.encoding](records))


def sample_named(config: Config, tree: Tree, topic: SampleTopic) -> SampleRule:
    """The sample rule that a ``[[samples]]`` names; by name alone its newest version.

    Raises:
        ConfigError: the tree has none of that name; the message names the nearest.
    """
    found = [s for s in tree.samples if topic.rule in (s.name, s.key)]
    if not found:
        known = [n for s in tree.samples for n in (s.name, s.key)]
        hint = nearest(topic.rule, known) if known else "; it has no sample rule at all"
        raise ConfigError(
            f"{config.path}: [[samples]] rule = {topic.rule!r}: {config.rules} has no such sample "
            f"rule{hint}"
        )
    return max(found, key=lambda s: s.version)
