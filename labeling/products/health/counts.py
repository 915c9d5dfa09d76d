"""What changes of a label rule's rows add to ``health_counts``: clause H1 of docs/health.md.

Always holds: a change is known from its point on: it moves the counts of every delay that is not
shorter than its point's, and of null, by what the row says now less what it said. One without a
point is of the time of the change before it, and without such of the rule's first point; one by
which a replay takes a row back is of the window's end.

Not promised: an opinion on attributions and samples. They wait for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import polars as pl

from labeling.engine.first import first_changes
from labeling.model.event import TS
from labeling.model.rule import LabelRule
from labeling.model.table import RuleTable, table_of
from labeling.model.window import Duration

_HOUR_MS: Final = 3_600_000
#: The columns of ``health_counts`` that name a count.
KEYS: Final = ("rule", "version", "hour", "label", "delay_ms")


@dataclass(frozen=True)
class Counted:
    """What is counted of a label rule.

    ``labels``: its Boolean labels; ``delays``: those of its points, increasing, that are the same
    for all rows, in ms.
    """

    rule: LabelRule
    table: RuleTable
    labels: tuple[str, ...]
    delays: tuple[int, ...]

    @classmethod
    def of(cls, rule: LabelRule) -> Self:
        """What is counted of a rule."""
        labels = tuple(c for c, kind in rule.label_schema.items() if kind == pl.Boolean())
        end = (rule.bound.ms,) if isinstance(rule.bound, Duration) else ()
        return cls(rule, table_of(rule), labels, (*rule.early_ms, *end))

    def of_changes(self, changes: pl.DataFrame) -> pl.DataFrame:
        """What changes add; as for ``Commit.publish``, those of a key by its revisions."""
        return self._counts(changes.with_columns(self._point()))

    def _point(self) -> pl.Expr:
        """When a change counts from."""
        back = (pl.col("kind") == "retract") & (pl.col("reason") == "replay")
        ends = pl.col("anchor_ts") + pl.duration(milliseconds=self.rule.window_ms)
        return pl.when(back).then(ends).otherwise("point_ts").alias("point_ts")

    def _counts(self, timed: pl.DataFrame) -> pl.DataFrame:
        """What changes add that count from ``point_ts``; null: from the first point."""
        each = timed.select(
            _hour(),
            self._bucket(),
            (_there("new") - _there("old")).alias("rows"),
            *((_true("new", c) - _true("old", c)).alias(c) for c in self.labels),
        )
        return self._by_delay(each.group_by("hour", "bucket").agg(pl.all().sum()))

    def of_first(self, rows: pl.DataFrame, updates: pl.DataFrame) -> pl.DataFrame:
        """What a first publication adds; as for ``Commit.publish_first``."""
        if updates.height:
            moving = updates.select(self.table.keys).unique()
            some = rows.join(moving, on=self.table.keys, how="semi")
            walked = first_changes(self.table, some, updates).sort(*self.table.keys, "revision")
            walked = walked.with_columns(self._point()).with_columns(
                pl.col("point_ts").forward_fill().over(self.table.keys)
            )
            rows = rows.join(moving, on=self.table.keys, how="anti")
            return pl.concat([self._counts(walked), self.of_first(rows, updates.clear())])
        bucket = self._bucket() if "point_ts" in rows.columns else pl.lit(0).alias("bucket")
        labels = (pl.col(c).fill_null(value=False).alias(c) for c in self.labels)
        each = rows.select(_hour(), bucket.cast(pl.Int64), *labels)
        sums = (pl.col(c).sum().cast(pl.Int64) for c in self.labels)
        return self._by_delay(
            each.group_by("hour", "bucket").agg(pl.len().cast(pl.Int64).alias("rows"), *sums)
        )

    def _bucket(self) -> pl.Expr:
        """The place of the first delay that is not shorter than the point's."""
        after = (pl.col("point_ts") - pl.col("anchor_ts")).dt.total_milliseconds()
        place = pl.sum_horizontal(pl.lit(0), *((after > d).cast(pl.Int64) for d in self.delays))
        return place.cast(pl.Int64).alias("bucket")

    def _by_delay(self, grouped: pl.DataFrame) -> pl.DataFrame:
        """Sums by hour and bucket as counts by label and delay."""
        each = [
            grouped.filter(pl.col("bucket") <= place)
            .unpivot(self.labels, index=["hour", "rows"], variable_name="label")
            .select(
                pl.lit(self.rule.name).alias("rule"),
                pl.lit(self.rule.version, pl.Int32).alias("version"),
                (pl.col("hour") * _HOUR_MS).cast(TS),
                "label",
                pl.lit(delay, pl.Int64).alias("delay_ms"),
                "rows",
                pl.col("value").alias("positives"),
            )
            for place, delay in enumerate((*self.delays, None))
        ]
        return pl.concat(each)


def _hour() -> pl.Expr:
    return (pl.col("anchor_ts").dt.epoch("ms") // _HOUR_MS).alias("hour")


def _there(side: str) -> pl.Expr:
    return pl.col(side).is_not_null().cast(pl.Int64)


def _true(side: str, label: str) -> pl.Expr:
    return pl.col(side).struct.field(label).cast(pl.Int64).fill_null(0)
