"""What topics are told: rows, changes and rejects as keys and values.

Always holds: a record says all that is known of a change: ``old`` and ``new`` are whole.

Not promised: an order. Records come as their changes do.
"""

from __future__ import annotations

import polars as pl

from labeling.model.table import RuleTable


def change_records(table: RuleTable, commit: int, changes: pl.DataFrame) -> pl.DataFrame:
    """Changes of a rule as records: ``key`` (the user) and ``value`` (JSON).

    Args:
        table: the rule's version.
        commit: that published them.
        changes: as ``labeling.engine.changes`` makes them.
    """
    value = pl.struct(
        pl.lit(table.name).alias("rule"),
        pl.lit(table.version).alias("version"),
        *table.keys,
        "revision",
        "kind",
        "reason",
        "point_ts",
        "old",
        "new",
        pl.lit(commit).alias("commit"),
    )
    return changes.select(
        key=pl.col("user_id").cast(pl.Binary),
        value=value.struct.json_encode().cast(pl.Binary),
    )


def reject_records(rejects: pl.DataFrame) -> pl.DataFrame:
    """Rejects as records: ``key`` (topic/partition) and ``value`` (JSON, ``raw`` as base64)."""
    texts = rejects.with_columns(pl.col("raw").bin.encode("base64"))
    return texts.select(
        key=pl.format("{}/{}", "topic", "partition").cast(pl.Binary),
        value=pl.struct(pl.all()).struct.json_encode().cast(pl.Binary),
    )
