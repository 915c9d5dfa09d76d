"""A store whose markers are kept, and a stream of one rule into it, without a flow.

Always holds: rows go in as the differences to what is stored, hours are noted as the writer notes
them, all through a real commit.

Not promised: events. Rows are what a test says they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

from labeling.config.rules import Tree
from labeling.config.settings import parse_config
from labeling.engine.changes import changes
from labeling.io.store import Commit, Store
from labeling.model.event import TS
from labeling.model.table import table_of
from labeling.products.context import Context
from labeling.products.markers.digests import recounted
from labeling.products.markers.keeper import MarkerKeeper
from tests.replay_project import RULE

HOUR = timedelta(hours=1)
T0 = datetime(2026, 11, 20, 10, tzinfo=UTC)
TABLE = table_of(RULE)
LATENESS_MS = 600_000
#: ``F`` beyond the end of an hour at which it is complete, and settled.
WINDOW_MS = 1_800_000
SETTLE_MS = WINDOW_MS + LATENESS_MS
_STATES = "SELECT hour, revision, state, rows, delta_rows FROM markers ORDER BY hour, revision"


def context(folder: Path, told: list[dict[str, Any]] | None = None, **more: Any) -> Context:
    """What the keeper knows; markers of the topic go to ``told``."""
    config = parse_config(
        {"rules": "tests.replay_project:RULES", "lateness": "10m", **more},
        folder / "labeling.toml",
    )

    def stage(_: Commit, topic: str, records: pl.DataFrame) -> None:
        assert topic == "markers"
        if told is not None:
            told.extend(json.loads(value) for value in records["value"])

    return Context(config, Tree((RULE,)), stage)


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """A store with the keeper."""
    with Store.open(folder / "store.duckdb") as store:
        store.listener = MarkerKeeper(context(folder))
        yield store


Row = tuple[int, int, int | None]


def publish(store: Store, commit: Commit, rows: Sequence[Row], reason: str = "point") -> None:
    """Bring rows of (user, minute after ``T0``) to a count of clicks; None: retracted."""
    frame = pl.DataFrame(
        [
            (f"u{user}", T0 + timedelta(minutes=minute), f"a{user}", "i", user, clicks)
            for user, minute, clicks in dict.fromkeys(rows)
        ],
        schema={
            **{c: TABLE.schema[c] for c in ("user_id", "anchor_ts", "anchor_id", "item_id")},
            "position": TABLE.schema["position"],
            "clicks": pl.Int64(),
        },
        orient="row",
    ).unique(["user_id", "anchor_ts"], keep="last", maintain_order=True)
    asked = frame.with_columns(
        clicked=pl.col("clicks") > 0,
        present=pl.col("clicks").is_not_null(),
        point_ts=pl.col("anchor_ts"),
        reason=pl.lit(reason),
    )
    stored = store.current(TABLE, asked)
    typed = asked.cast({c: TABLE.schema[c] for c in TABLE.values})
    commit.publish(TABLE, changes(stored, typed, TABLE.keys))


def stream(commit: Commit) -> None:
    """The rule is streamed from the beginning."""
    row = {"rule": ["shown"], "version": [1], "since_ts": [None], "settle_ms": [SETTLE_MS]}
    commit.set_streams(pl.DataFrame(row).with_columns(pl.col("since_ts").cast(TS)))


def move(store: Store, commit: Commit, f_ms: int) -> None:
    """``F`` goes on, and hours are noted complete, as the writer does."""
    before = store.query("SELECT f_ms FROM watermarks WHERE kind = 'rule'")["f_ms"]
    row = {"shard": [0], "kind": ["rule"], "name": ["shown@1"], "f_ms": [f_ms]}
    commit.set_watermarks(pl.DataFrame(row))
    base = ms(T0)
    first = 0 if before.is_empty() else max(0, (before.item() - WINDOW_MS - 1 - base) // 3_600_000)
    last = (f_ms - WINDOW_MS - 1 - base) // 3_600_000
    hours = dict.fromkeys((T0 + h * HOUR for h in range(first, last)), True)
    commit.set_hours(TABLE, hours, archive_commit=commit.number, published_by="stream")
    commit.passed(TABLE, base if before.is_empty() else before.item(), f_ms)


def ms(at: datetime) -> int:
    """Epoch ms."""
    return round(at.timestamp() * 1000)


def end(hour: int, more: int = 0) -> int:
    """The end of an hour after ``T0``, epoch ms, and more."""
    return ms(T0 + (hour + 1) * HOUR) + more


def states(store: Store) -> list[tuple[int, int, str, int, int]]:
    """Markers: hour after ``T0``, revision, state, rows, their delta."""
    return [((hour - T0) // HOUR, *rest) for hour, *rest in store.query(_STATES).iter_rows()]


def check_sums(store: Store) -> None:
    """Digests are those of a recount, and each hour's deltas sum to its last marker (M5)."""
    kept = store.query("SELECT hour, rows, digest_hi, digest_lo FROM digests ORDER BY hour")
    assert_frame_equal(kept, recounted(store.database, TABLE), check_dtypes=False)
    off = store.query(
        "SELECT hour FROM (SELECT hour, sum(delta_rows) AS r, sum(delta_hi) AS h, "
        "sum(delta_lo) AS l, arg_max(rows, revision) AS rows, arg_max(digest_hi, revision) AS hi, "
        "arg_max(digest_lo, revision) AS lo FROM markers GROUP BY hour) "
        "WHERE r <> rows OR h <> hi OR l <> lo"
    )
    assert off.is_empty()
