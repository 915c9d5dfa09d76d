"""Rows on their way into the offline table: samples get the features that they were joined with.

Always holds: rows of rules pass as they are; a sample has the features whose record its row names,
as one column ``features``, and how long was waited for its label; one that was not joined is left
out, and counted.

Not promised: values where the record of features is gone from the archive. Such rows are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from labeling.config.rules import Tree
from labeling.errors import ConfigError
from labeling.io.store import Store
from labeling.io.store.database import Database
from labeling.model.sample import JOINED
from labeling.products.features.files import FeatureFiles
from labeling.products.offline.plan import Due


@dataclass
class SampleFrames:
    """What becomes of the rows of one hour.

    Args:
        files: of features.
        database: says which there are.
        source: of the samples' features; None: the rows are no samples.
        window_ms: by version: how long after the impression its last label is known.
        counts: of what was left out, for the marker file.
    """

    files: FeatureFiles
    database: Database
    source: str | None = None
    window_ms: dict[int, int | None] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, hour: Due, tree: Tree, files: FeatureFiles, store: Store) -> SampleFrames:
        """For the rows of an hour, of samples where the tree says so.

        Raises:
            ConfigError: a version of samples that the tree has not, or versions whose features
                come from several sources.
        """
        rule = hour.extent.rule
        mine = {s.version: s.features.source for s in tree.samples if s.name == rule}
        if not mine:
            return cls(files, store.database)
        missing = [v.version for v in hour.versions if v.version not in mine]
        if missing:
            raise ConfigError(
                f"{rule}@{missing[0]} is shown and not in the tree of rules, so that nobody knows "
                "its features; add it, or activate another version"
            )
        sources = sorted({mine[v.version] for v in hour.versions})
        if len(sources) > 1:
            raise ConfigError(
                f"{rule}: versions shown in one hour have features of {' and '.join(sources)}; "
                f"name one version under [offline] rules, such as {rule}@{max(mine)}"
            )
        windows = {v.version: v.window_ms for v in hour.versions}
        counts = {"no_features": 0, "lost_features": 0}
        return cls(files, store.database, sources[0], windows, counts)

    def whole(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows as they are written.

        Args:
            rows: as the view shows them, sorted.

        Returns:
            Of samples those that were joined, with ``features`` (a struct of the source's columns),
            ``matured_ms`` (Int64, null where the window is a calendar's) and ``final``.
        """
        if self.source is None:
            return rows
        joined = rows.filter(pl.col("status") == JOINED)
        self.counts["no_features"] += rows.height - joined.height
        found = self.files.exact(self.database, self.source, joined)
        lost = found.select(pl.all_horizontal(pl.all().is_null()).cast(pl.Int64).sum()).item()
        self.counts["lost_features"] += int(lost)
        waited = pl.col("rule_version").replace_strict(self.window_ms, return_dtype=pl.Int64)
        return joined.with_columns(
            found.to_struct("features"), matured_ms=waited, final=pl.lit(value=True)
        )
