"""The rule ``note_labels`` in hand-written SQL: a third opinion on what ``evaluate`` makes.

Always holds: the logs are dense (few users and items; coarse times, hence ties; missing ids and
wrong references), so that every clause that the rule needs decides some row.

Not promised: other rules. The oracles of tests/model hold every word to its meaning.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pytest

from benchmarks import sql_twin, twin
from labeling.engine.keys import user_key
from labeling.io.archive import user_bucket
from labeling.testing.simulator import World, disturb, simulate
from rules.note_labels import NOTE_LABELS

START: Final = datetime(2026, 11, 20, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
WORLD: Final = World(
    users=3, items=24, items_per_author=12, with_view_id=0.5, with_view_end=0.7, background=0.4,
    click_bias=0.0, double_click=0.2, like=0.5, unlike=0.6, favorite=0.2, comment=0.2, share=0.2,
    follow=0.5, unfollow=0.7, unfollow_ms=90_000, hide=0.1, references=0.5, action_references=0.4,
)  # fmt: skip
#: How coarse event times are: at 1 s ties are many, at 20 s nearly everything is one.
COARSE: Final = ("1ms", "1s", "20s")
TYPES: Final = sorted(NOTE_LABELS.event_types)


def dense_log(seed: int) -> pl.DataFrame:
    """A log of three users in which nothing is tidy."""
    made = pl.concat(list(simulate(WORLD, events=2_500, hours=2.5, seed=seed, start=START)))
    rng = np.random.default_rng(seed)
    n = made.height

    def some(share: float) -> pl.Series:
        return pl.Series(rng.random(n) < share)

    other = pl.Series(rng.permutation(n))
    ids = pl.Series([f"e{i:05d}" for i in rng.permutation(n)])
    names = made.filter(event_type="impression").select(
        "impression_id", named=ids.filter(made["event_type"] == "impression")
    )
    by_id = made.join(names, on="impression_id", how="left", maintain_order="left")["named"]
    is_act = made["event_type"] != "impression"
    anything = pl.Series(rng.choice(TYPES, n))
    return made.with_columns(
        event_id=ids,
        event_ts=pl.col("event_ts").dt.truncate(COARSE[seed % len(COARSE)]),
        event_type=pl.when(some(0.1)).then(anything).otherwise("event_type"),
        # By the anchor's own id, by another's, or as it was: by its impression_id.
        impression_id=pl.when(is_act & some(0.3)).then(by_id)
        .when(is_act & some(0.1)).then(pl.col("impression_id").gather(other))
        .otherwise("impression_id"),
        view_id=pl.when(some(0.1)).then(pl.col("view_id").gather(other)).otherwise("view_id"),
        item_id=pl.when(some(0.03)).then(None).otherwise("item_id"),
        author_id=pl.when(some(0.03)).then(None).otherwise("author_id"),
    )  # fmt: skip


def archived(log: pl.DataFrame, folder: Path) -> list[Path]:
    """The log as archive files, one per hour."""
    keyed = log.with_columns(user_key()).sort("user_key", "event_ts", "event_id")
    files = []
    for number in range(3):
        low = START + number * HOUR
        frame = keyed.filter(pl.col("event_ts").is_between(low, low + HOUR, closed="left"))
        files.append(folder / f"{number}.parquet")
        frame.write_parquet(files[-1])
    return files


def by_sql(
    files: list[Path], from_ts: datetime, to_ts: datetime, parts: int = 1
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows and changes as the SQL has them."""
    with twin.connect(memory="1GB") as db:
        for part in range(parts):
            users = user_bucket(part, parts)
            twin.label(db, files, from_ts, to_ts, users=users)
        return twin.rows(db), twin.changes(db)


def differing(
    ours: tuple[pl.DataFrame, pl.DataFrame], sql: tuple[pl.DataFrame, pl.DataFrame]
) -> list[int]:
    """How many rows, and how many changes, are not the same."""
    return [
        twin.differing(ours[0], sql[0]),
        twin.differing(sql_twin.as_changes(ours[1]), sql[1]),
    ]


@pytest.mark.parametrize("seed", range(9))
def test_sql_makes_the_same_rows_and_changes(seed: int, tmp_path: Path) -> None:
    """Every row, its early and final labels and its revision are the same in SQL."""
    log = dense_log(seed)
    ours = sql_twin.tables(log.sample(fraction=1.0, shuffle=True, seed=seed))
    sql = by_sql(archived(log, tmp_path), START, START + 3 * HOUR)
    assert ours[0].height > 300
    assert ours[1].height > 20
    assert differing(ours, sql) == [0, 0]


def test_dense_logs_leave_no_label_unused() -> None:
    """Over the logs above every label takes several values, and so do their changes."""
    both = [sql_twin.tables(dense_log(seed)) for seed in range(9)]
    rows, moved = pl.concat(b[0] for b in both), pl.concat(b[1] for b in both)
    for label, dtype in NOTE_LABELS.label_schema.items():
        counts = rows[label].value_counts()["count"]
        assert len(counts) >= 2, label
        if dtype == pl.Boolean():
            assert min(counts.to_list()) > 20, label
        assert moved.filter(pl.col(label).ne_missing(pl.col(f"{label}_early"))).height, label
    dwells = rows["dwell_ms"]
    assert dwells.null_count()
    assert (dwells == 0).any()
    assert (dwells == 600_000).any()


def test_sql_of_one_hour_and_of_parts_of_users(tmp_path: Path) -> None:
    """Anchors of one hour alone, users in parts: the rows that the whole log gives in that hour."""
    log = dense_log(1)
    rows, moved = sql_twin.tables(log)
    inside = pl.col("anchor_ts").is_between(START + HOUR, START + 2 * HOUR, closed="left")
    sql = by_sql(archived(log, tmp_path), START + HOUR, START + 2 * HOUR, parts=3)
    assert rows.filter(inside).height > 100
    assert differing((rows.filter(inside), moved.filter(inside)), sql) == [0, 0]


def test_repeats_and_disorder_change_nothing(tmp_path: Path) -> None:
    """What arrives in disorder and twice, repeats removed, gives the rows of the log in order."""
    log = dense_log(3)
    arrived = pl.concat(
        list(
            disturb([log.sort("event_ts", "event_id")], seed=3, disorder_ms=30_000, duplicates=0.2)
        )
    )
    assert arrived.height > log.height
    kept = arrived.unique(["user_id", "event_ts", "event_id"], keep="first", maintain_order=True)
    assert not kept["event_ts"].is_sorted()
    sql = by_sql(archived(log, tmp_path), START, START + 3 * HOUR)
    assert differing(sql_twin.tables(kept), sql) == [0, 0]


def test_a_difference_is_seen(tmp_path: Path) -> None:
    """One like more or less makes the comparison say so: it can fail."""
    log = dense_log(4)
    sql = by_sql(archived(log, tmp_path), START, START + 3 * HOUR)
    ours = sql_twin.tables(log.filter(pl.col("event_type") != "like"))
    assert min(differing(ours, sql)) > 0
