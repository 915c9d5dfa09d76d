"""What a sample is at a state of its label row: clauses S3, S6 and S7 of docs/samples.md.

Always holds: which rows exist depends on the label and the row's key alone, and what they say on
the label row and the features found for it; no frame is looked at row by row in Python.

Not promised: that the features found are all. Whoever asks says which files there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import polars as pl

from labeling.engine.keys import text_key
from labeling.engine.points import point_times
from labeling.io.archive import ArchiveFile
from labeling.io.store.database import Database
from labeling.model.credit import WHOLE
from labeling.model.event import TS
from labeling.model.sample import JOINED, NO_FEATURES, SAMPLE_SCHEMA, SampleRule
from labeling.products.features.files import FeatureFiles

_HASHES: Final = 2**64


@dataclass(frozen=True)
class SampleRows:
    """Makes sample rows of one rule.

    Args:
        sample: the rule.
        features: where its features lie.
    """

    sample: SampleRule
    features: FeatureFiles

    @cached_property
    def kept(self) -> pl.Expr:
        """Whether a negative is kept, from the key of its row: clause S6.

        ``u * 10^9 // 2^64 < kept_parts`` without its 94 bits: ``u`` is below the least that fails.
        """
        if self.sample.kept_parts == WHOLE:
            return pl.lit(value=True)
        least = -(-self.sample.kept_parts * _HASHES // WHOLE)
        ts = pl.col("anchor_ts").dt.epoch("ms")
        text = pl.format(f"{self.sample.name}|{{}}|{{}}|{{}}", "user_id", ts, "anchor_id")
        return text_key(text) < pl.lit(least, pl.UInt64)

    def exists(self, label: pl.Expr | None = None) -> pl.Expr:
        """Whether a label row has a sample.

        Args:
            label: its label; None: the column of that name.
        """
        return ~self._negative(label) | self.kept

    def _negative(self, label: pl.Expr | None = None) -> pl.Expr:
        """Whether a row is a negative; one whose label is null is none."""
        value = pl.col(self.sample.label) if label is None else label
        return (~value).fill_null(value=False)

    def rows(
        self,
        files: Database | Sequence[ArchiveFile],
        labels: pl.DataFrame,
        *,
        replay: pl.Series | bool = False,
    ) -> pl.DataFrame:
        """Samples of label rows that have one.

        Args:
            files: what ``FeatureFiles.find`` takes.
            labels: key and values of label rows; other columns stay.
            replay: whether features count that were too late for the stream: of all, or of each.

        Returns:
            The columns of ``labels``, and ``SAMPLE_SCHEMA``; in the same order where ``replay`` is
            one for all.
        """
        if not isinstance(replay, bool) and not replay.any():
            replay = False
        if not isinstance(replay, bool):
            alike = [
                (labels.filter(mask), each) for mask, each in ((replay, True), (~replay, False))
            ]
            parts = [self.rows(files, rows, replay=each) for rows, each in alike if rows.height]
            return pl.concat(parts) if parts else self.rows(files, labels)
        joined = pl.col("served_ts").is_not_null()
        told = labels.hstack(self._found(files, labels, replay=replay)).with_columns(
            status=pl.when(joined).then(pl.lit(JOINED)).otherwise(pl.lit(NO_FEATURES)),
            kept=pl.when(self._negative())
            .then(pl.lit(self.sample.kept_parts, pl.Int64))
            .otherwise(pl.lit(WHOLE, pl.Int64)),
            weight=self.sample.weights(),
        )
        return told.select(*labels.columns, *SAMPLE_SCHEMA)

    def _found(
        self, files: Database | Sequence[ArchiveFile], labels: pl.DataFrame, *, replay: bool
    ) -> pl.DataFrame:
        """``served_ts`` and ``features_key`` of each row; null where there are none."""
        places = pl.int_range(labels.height, dtype=pl.UInt32, eager=True).alias("row").to_frame()
        if labels.is_empty():
            return labels.select(
                served_ts=pl.lit(None, TS), features_key=pl.lit(None, pl.Int64)
            ).clear()
        source, wanted = self.sample.features.source, self._wanted(labels)
        found = self.features.find(files, source, wanted, replay=replay)
        return places.join(found, on="row", how="left", maintain_order="left").drop("row")

    def _wanted(self, labels: pl.DataFrame) -> pl.DataFrame:
        """What ``FeatureFiles.find`` is asked for; one row for each label row."""
        at = pl.col("anchor_ts")
        back = pl.duration(milliseconds=self.sample.features.within_ms)
        return labels.select(
            "request_id",
            "item_id",
            low_ts=at - back,
            high_ts=at + pl.duration(milliseconds=self.sample.served_after_ms),
        )

    def latest_point(self, f_ms: int | None) -> pl.Expr:
        """The last point of a row that ``F`` has passed, else the first; None: all are passed."""
        points = point_times(self.sample.labels, pl.col("anchor_ts"))
        if f_ms is None:
            return points[-1]
        f = pl.lit(f_ms, pl.Int64).cast(TS)
        passed = [pl.when(point < f).then(point) for point in points]
        return pl.coalesce(*reversed(passed), *points)
