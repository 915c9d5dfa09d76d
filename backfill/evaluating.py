"""Events of a block as rows of its hours, by the stream's own ``evaluate``.

Always holds: the rows are those of the block's anchors alone, at every point below the mark; the
sequence of revisions is what ``changes`` makes of the points in their order.

Not promised: that the events suffice. Whoever asks gives all within reach, each identity once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from backfill.blocks import Block
from labeling.engine.changes import KEYS, changes, empty_stored
from labeling.engine.evaluate import labels_at, widened
from labeling.engine.points import points
from labeling.engine.watermark import FOREVER, NEVER
from labeling.model.event import TS
from labeling.model.rule import LabelRule


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
class Part:
    """Events of a block, and the labels of its anchors at every point passed.

    ``labels`` is what ``labels_at`` returns, with ``hour`` (of the anchor, Datetime[ms, UTC]).
    """

    rule: LabelRule
    events: pl.DataFrame
    labels: pl.DataFrame

    def shares(self, hours: Sequence[datetime], rows: int) -> Iterator[tuple[datetime, ...]]:
        """The hours cut where more than ``rows`` would come together; never inside an hour."""
        counts = dict(self.labels.group_by("hour").len().iter_rows())
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
        """The labels of the hours' anchors."""
        return self.labels.filter(pl.col("hour").is_in(list(hours))).drop("hour")

    def rows(self, hours: Sequence[datetime]) -> pl.DataFrame:
        """The hours' rows at every point, in full."""
        return widened(self.rule, self.events, self.of_hours(hours)).drop("row")

    def first(self, hours: Sequence[datetime]) -> First:
        """What ``changes`` makes of the hours' rows where nothing is stored.

        Rows of one anchor differ in labels alone, and are told apart by its number: a tenth of
        the work of comparing whole rows by their keys.
        """
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


def evaluated(rule: LabelRule, events: pl.DataFrame, block: Block, mark_ms: int) -> Part:
    """The labels of a block's anchors at every point below the mark.

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
    labels = labels_at(rule, events, asked).with_columns(hour=asked["event_ts"].dt.truncate("1h"))
    return Part(rule, events, labels)
