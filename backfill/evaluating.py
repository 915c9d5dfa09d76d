"""Events of a block as rows of its hours, by the stream's own ``evaluate``.

Always holds: the rows are those of the block's anchors alone, at every point below the mark; the
sequence of revisions is what ``changes`` makes of the points in their order.

Not promised: that the events suffice. Whoever asks gives all within reach, each identity once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from backfill.blocks import Block
from labeling.engine.attribution.points import takes_back
from labeling.engine.changes import KEYS, changes, empty_stored
from labeling.engine.evaluate import evaluate, labels_at, widened
from labeling.engine.keys import user_key
from labeling.engine.points import points
from labeling.engine.watermark import FOREVER, NEVER
from labeling.model.attribution import AttributionRule
from labeling.model.event import TS
from labeling.model.kinds import Rule
from labeling.model.rule import LabelRule
from labeling.model.table import ROW_KEY

#: The hour of a row's anchor, beside labels of any name.
_HOUR: Final = "#hour"


@dataclass(frozen=True)
class First:
    """The first publication of hours.

    ``rows``: key, values and ``revision`` as they end; ``updates``: the changes but the inserts, as
    ``changes`` returns them; ``kinds``: ``kind`` and ``hour`` of every change.
    """

    rows: pl.DataFrame
    updates: pl.DataFrame
    kinds: pl.DataFrame


@dataclass(frozen=True)
class Part(ABC):
    """What was evaluated of a block's anchors at every point passed, by the anchor's hour."""

    evaluated: pl.DataFrame

    def shares(self, hours: Sequence[datetime], rows: int) -> Iterator[tuple[datetime, ...]]:
        """The hours cut where more than ``rows`` would come together; never inside an hour."""
        counts = dict(self.evaluated.group_by(_HOUR).len().iter_rows())
        share: list[datetime] = []
        held = 0
        for hour in hours:
            if share and held + counts.get(hour, 0) > rows:
                yield tuple(share)
                share, held = [], 0
            share.append(hour)
            held += counts.get(hour, 0)
        yield tuple(share)

    def of_hours(self, hours: Sequence[datetime]) -> pl.DataFrame:
        """What was evaluated of the hours' anchors."""
        return self.evaluated.filter(pl.col(_HOUR).is_in(list(hours))).drop(_HOUR)

    @abstractmethod
    def rows(self, hours: Sequence[datetime]) -> pl.DataFrame:
        """The hours' rows at every point, in full."""

    @abstractmethod
    def first(self, hours: Sequence[datetime]) -> First:
        """What ``changes`` makes of the hours' rows where nothing is stored."""


@dataclass(frozen=True)
class LabelPart(Part):
    """Of a label rule: ``evaluated`` is what ``labels_at`` finds among ``events``.

    Rows of one anchor differ in labels alone, and are told apart by its number: a tenth of the work
    of comparing whole rows by their keys.
    """

    rule: LabelRule
    events: pl.DataFrame

    def rows(self, hours: Sequence[datetime]) -> pl.DataFrame:
        """See ``Part``."""
        return widened(self.rule, self.events, self.of_hours(hours)).drop("row")

    def first(self, hours: Sequence[datetime]) -> First:
        """See ``Part``."""
        labels = self.of_hours(hours).with_columns(reason=pl.lit("point"))
        made = changes(empty_stored(labels.schema, ("row",)), labels, ("row",))
        later = made.filter(pl.col("kind") != "insert")
        moved = pl.col("row").is_in(later["row"].unique().implode())
        moving = made.filter(moved).sort("row", "revision")
        ends = moving.unique("row", keep="last", maintain_order=True)
        # In the archive's order: what belongs to a user lies together, reads and packs well.
        last = pl.concat([made.filter(~moved), ends.filter(pl.col("kind") != "retract")]).sort(
            "row"
        )
        rows = pl.concat(
            [last.select("row", "revision"), last["new"].struct.unnest()], how="horizontal"
        )
        at = self.events["event_ts"].gather(made["row"]).dt.truncate("1h")
        return First(
            rows=self._wide(rows).drop("row", "present"),
            updates=self._wide(later).select(
                *KEYS,
                *("revision", "kind", "reason", "point_ts"),
                self._in_full("old"),
                self._in_full("new"),
            ),
            kinds=made.select("kind", hour=at),
        )

    def _wide(self, rows: pl.DataFrame) -> pl.DataFrame:
        return widened(self.rule, self.events, rows.with_columns(present=pl.lit(value=True)))

    def _in_full(self, side: str) -> pl.Expr:
        carried = [pl.col(c) for c in self.rule.carry]
        labels = [pl.col(side).struct.field(c) for c in self.rule.label_schema]
        return pl.when(pl.col(side).is_not_null()).then(pl.struct(*carried, *labels)).alias(side)


@dataclass(frozen=True)
class ActionPart(Part):
    """Of an attribution rule: ``evaluated`` has the rows of actions and touches in full."""

    rule: AttributionRule

    def rows(self, hours: Sequence[datetime]) -> pl.DataFrame:
        """See ``Part``."""
        return self.of_hours(hours)

    def first(self, hours: Sequence[datetime]) -> First:
        """See ``Part``. Most actions have one point, at which all that is there is inserted."""
        rows, keys = self.of_hours(hours), self.rule.row_keys
        back = takes_back(rows.select("point_ts", event_ts="anchor_ts"))
        undone = rows.select(ROW_KEY).filter(back).unique()
        reason = pl.when(back).then(pl.lit("undo")).otherwise(pl.lit("point"))
        told = rows.with_columns(reason=reason).join(undone, on=ROW_KEY, how="semi")
        made = changes(empty_stored(rows.schema, keys), told, keys, whole=ROW_KEY)
        ends = made.sort(*keys, "revision").unique(keys, keep="last", maintain_order=True)
        ends = ends.filter(pl.col("kind") != "retract")
        last = ends.select(*keys, "revision", pl.col("new").struct.unnest())
        once = rows.join(undone, on=ROW_KEY, how="anti").filter("present")
        new = once.drop("point_ts", "present").with_columns(revision=pl.lit(1, pl.Int32))
        both = pl.concat([new, last.select(new.columns)])
        at = pl.col("anchor_ts").dt.truncate("1h")
        return First(
            # In the archive's order: what belongs to a user lies together, reads and packs well.
            rows=both.sort(user_key(), *keys),
            updates=made.filter(pl.col("kind") != "insert"),
            kinds=pl.concat(
                [once.select(kind=pl.lit("insert"), hour=at), made.select("kind", hour=at)]
            ),
        )


def evaluated(rule: Rule, events: pl.DataFrame, block: Block, mark_ms: int) -> Part:
    """What a rule says of a block's anchors at every point below the mark.

    Args:
        rule: what to evaluate.
        events: with the rule's ``event_columns``, each identity once.
        block: whose hours' anchors are meant.
        mark_ms: ``F``, epoch ms.
    """
    mark = pl.lit(max(NEVER, min(mark_ms, FOREVER)), dtype=pl.Int64).cast(TS)
    asked = points(rule, events).filter(
        pl.col("event_ts").is_between(block.from_ts, block.to_ts, closed="left"),
        pl.col("point_ts") < mark,
    )
    if isinstance(rule, AttributionRule):
        return ActionPart(_in_hours(evaluate(rule, events, asked), pl.col("anchor_ts")), rule)
    return LabelPart(_in_hours(labels_at(rule, events, asked), asked["event_ts"]), rule, events)


def _in_hours(rows: pl.DataFrame, anchor_ts: pl.Expr | pl.Series) -> pl.DataFrame:
    return rows.with_columns(anchor_ts.dt.truncate("1h").alias(_HOUR))
