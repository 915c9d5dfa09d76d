"""What the store's books say of samples: ownership, watermarks, hours, repairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl
import pytest

from labeling.engine.watermark import NEVER
from labeling.io.store.repairs import Cost, Repaired
from tests.model.samples import Served
from tests.sample_drive import HOUR, MINUTE, T0, T0_MS, TABLE, Drive, State

LOST: Final = ("u0", T0_MS, "a")
KEPT: Final = ("u2", T0_MS + 2 * MINUTE, "a")


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Drive]:
    """A store of its own."""
    with Drive(tmp_path) as one:
        yield one


def shown(key: tuple[str, int, str], clicks: int, reason: str = "point") -> State:
    """A state of a label row."""
    row = {"request_id": "r", "item_id": "i", "clicked": clicks > 0, "clicks": clicks}
    return (key, row, reason)


def test_a_stream_s_books_are_kept_of_samples(drive: Drive) -> None:
    """What began late is the stream's from the first whole hour; F, hours and rows go along."""
    at = T0 + timedelta(minutes=20)
    begun, drive.store.listener = drive.store.listener, drive.heard
    stream(drive, at, [shown(KEPT, 1)])
    assert drive.store.query("SELECT rule FROM streams")["rule"].to_list() == ["shown"]
    drive.store.listener = begun
    stream(drive, T0 + timedelta(minutes=50), [shown(KEPT, 2)])
    later = ("u9", T0_MS + HOUR.seconds * 1000, "a")
    stream(drive, T0 + 3 * HOUR, [shown(later, 1)], {T0: True, T0 + HOUR: True})
    streams = drive.store.query("SELECT rule, since_ts, settle_ms FROM streams ORDER BY 1").rows()
    assert streams == [("shown", None, 60_000), ("shown_samples", T0 + HOUR, 60_000)]
    marks = drive.store.query("SELECT name, f_ms FROM watermarks ORDER BY name")
    assert marks["f_ms"].to_list() == [T0_MS + 3 * HOUR.seconds * 1000] * 2
    noted = drive.store.query("SELECT hour, rows, complete FROM hours WHERE rule <> 'shown'")
    assert noted.rows() == [(T0 + HOUR, 1, True)]
    assert drive.heard.passes == [
        (T0_MS + 20 * MINUTE, T0_MS + 50 * MINUTE),
        (T0_MS + 50 * MINUTE, T0_MS + 3 * HOUR.seconds * 1000),
    ]


def test_repairs_note_hours_and_heal_once(drive: Drive) -> None:
    """A cold rule's samples have its F; an hour that is made is made anew for new features only."""
    stream(drive, T0, [shown(KEPT, 1)])
    with drive.store.commit("turned cold") as commit:
        commit.set_repaired(TABLE, Repaired(T0_MS, 0, Cost()), 0)
    for n in (2, 3, 4):
        repair(drive, T0_MS + n * HOUR.seconds * 1000, [shown(KEPT, n, "late")])
    books = drive.store.query("SELECT rule, f_ms FROM repairs ORDER BY rule").rows()
    assert books == [(name, T0_MS + 4 * HOUR.seconds * 1000) for name in ("shown", "shown_samples")]
    assert drive.store.query("FROM streams").is_empty()
    assert drive.store.query("FROM watermarks").is_empty()
    drive.commit([], [Served("r", "i", KEPT[1], 5, "too_late")])
    repair(drive, T0_MS + 6 * HOUR.seconds * 1000, [shown(LOST, 1, "late")])
    assert drive.rows()[KEPT]["features_key"] == 5
    told = [(t.key[0], t.revision, t.kind, t.reason) for t in drive.heard.told]
    assert told[-2:] == [("u0", 1, "insert", "late"), ("u2", 5, "update", "replay")]
    assert drive.differences().is_empty()


def stream(
    drive: Drive,
    f: datetime,
    states: Sequence[State],
    complete: Mapping[datetime, bool] | None = None,
) -> None:
    """A commit as a flow of one shard makes it."""
    f_ms = round(f.timestamp() * 1000)
    name = {"rule": ["shown"], "version": [1]}
    with drive.store.commit("stream") as commit:
        commit.set_streams(pl.DataFrame({**name, "since_ts": [None], "settle_ms": [60_000]}))
        known = drive.store.query("SELECT f_ms FROM watermarks WHERE name = 'shown@1'")
        mark = {"shard": [0], "kind": ["rule"], "name": ["shown@1"], "f_ms": [f_ms]}
        commit.set_watermarks(pl.DataFrame(mark))
        drive.publish(commit, states)
        if complete:
            number = commit.number
            commit.set_hours(TABLE, complete, archive_commit=number, published_by="stream")
        commit.passed(TABLE, known.item() if known.height else NEVER, f_ms)


def repair(drive: Drive, f_ms: int, states: Sequence[State]) -> None:
    """A commit as a repair makes it, of a complete hour."""
    with drive.store.commit("repair") as commit:
        drive.publish(commit, states)
        commit.set_hours(TABLE, {T0: True}, archive_commit=1)
        commit.set_repaired(TABLE, Repaired(f_ms, 1, Cost()), 0)
