"""The archive: atomic files, schema evolution, pruning, damage."""

from __future__ import annotations

import os
import resource
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from labeling.errors import DataError
from labeling.io.archive import Archive, hour_folder, user_bucket
from labeling.io.durable import ROW_GROUP
from tests.store_shapes import T0, at, events, write_hour


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty archive."""
    return Archive(tmp_path / "archive", {})


def test_round_trip_has_the_contract_types(archive: Archive) -> None:
    """What is read has exactly the schema's columns and types, and the written values."""
    frame = events(["u1", "u2", "u1"], experiments=[["a"], None, []], position=[1, None, 3])
    file = write_hour(archive, frame, "one")
    back = archive.read([file]).sort("user_key", "event_ts")
    assert dict(back.schema) == archive.schema
    assert back.equals(frame)
    assert (file.rows, file.min_ts, file.max_ts) == (3, at(0), at(2000))
    assert file.name == "dt=2026-11-20/hour=10/one.parquet"


def test_only_the_final_name_remains(archive: Archive) -> None:
    """After a write the folder holds the file and no temporary one."""
    file = write_hour(archive, events(["u1"]), "one")
    folder = (archive.root / file.name).parent
    assert [p.name for p in folder.iterdir()] == ["one.parquet"]


def test_a_refused_write_leaves_nothing(archive: Archive) -> None:
    """A write that the disk refuses is a DataError and leaves no file, whole or partial."""
    noise = [os.urandom(64).hex() for _ in range(20_000)]
    frame = events(["u"] * 20_000, item_id=noise, step_ms=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match="could not be written"):
            write_hour(archive, frame, "big")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p for p in archive.root.rglob("*") if p.is_file()] == []


def test_a_new_column_is_null_in_old_files(archive: Archive) -> None:
    """A file written before a column was declared reads it as null, beside newer files."""
    old = write_hour(archive, events(["u1"]), "old")
    wider = Archive(archive.root, {"campaign_id": "str"})
    frame = events(["u2"]).with_columns(campaign_id=pl.lit("c")).select(list(wider.schema))
    new = write_hour(wider, frame, "new")
    assert old.schema_digest != new.schema_digest
    back = wider.read([old, new], ["user_id", "campaign_id"]).sort("user_id")
    assert back.rows() == [("u1", None), ("u2", "c")]


def test_a_column_no_longer_declared_is_left_out(archive: Archive) -> None:
    """A file with a column that the configuration dropped reads without it; a merge keeps it."""
    wider = Archive(archive.root, {"campaign_id": "str"})
    frame = events(["u1"]).with_columns(campaign_id=pl.lit("c")).select(list(wider.schema))
    files = [write_hour(wider, frame, "new"), write_hour(archive, events(["u2"]), "other")]
    assert dict(archive.read(files).schema) == archive.schema
    merged = archive.merge(files, "merged")
    assert wider.read([merged], ["user_id", "campaign_id"]).sort("user_id").rows() == [
        ("u1", "c"),
        ("u2", None),
    ]


def test_time_range_is_half_open(archive: Archive) -> None:
    """``from_ts`` is inclusive, ``to_ts`` exclusive, to the millisecond."""
    file = write_hour(archive, events(["u"] * 5), "one")
    back = archive.read([file], ["event_id"], from_ts=at(1000), to_ts=at(3000))
    assert sorted(back["event_id"]) == ["e1", "e2"]


def test_files_out_of_range_are_not_opened(archive: Archive) -> None:
    """A file that cannot hold what is asked for may even be missing."""
    near = write_hour(archive, events(["u1"]), "near")
    far = write_hour(archive, events(["u1"]).with_columns(event_ts=at(hours=5)), "far", hours=5)
    (archive.root / far.name).unlink()
    assert archive.read([near, far], to_ts=at(hours=1)).height == 1
    with pytest.raises(DataError, match=r"far\.parquet: it is missing"):
        archive.read([near, far])


def test_a_user_range_reads_only_its_row_groups(archive: Archive) -> None:
    """Users lie in few row groups by statistics, and a bucket reads a fraction of the bytes."""
    n = 6 * ROW_GROUP
    frame = events([f"u{i}" for i in range(n)], step_ms=1, item_id=[f"item-{i}" for i in range(n)])
    file = write_hour(archive, frame, "one")
    low, high = user_bucket(3, 8)
    meta = pq.ParquetFile(archive.root / file.name).metadata
    stats = [meta.row_group(g).column(0).statistics for g in range(meta.num_row_groups)]
    assert [meta.row_group(g).num_rows for g in range(meta.num_row_groups)] == [ROW_GROUP] * 6
    assert sum(s.max >= low and s.min <= high for s in stats) <= 2
    back = archive.read([file], user_keys=(low, high))
    expected = frame.filter(pl.col("user_key").is_between(low, high))
    assert back.sort("user_key", "event_ts").equals(expected)
    # A page of a row group that the range does not need may be garbage: it is never read.
    group = next(g for g, s in enumerate(stats) if s.max < low or s.min > high)
    column = meta.row_group(group).column(frame.columns.index("item_id"))
    path = archive.root / file.name
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(content)
    assert archive.read([file], user_keys=(low, high)).height == expected.height
    with pytest.raises(DataError, match=r"one\.parquet"):
        archive.read([file])


def test_user_buckets_cover_every_key_once() -> None:
    """Buckets are disjoint and end where the next begins, from 0 to the highest key."""
    ranges = [user_bucket(i, 7) for i in range(7)]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 2**64 - 1
    assert all(a[1] + 1 == b[0] for a, b in pairwise(ranges))


def test_a_file_of_another_size_is_refused(archive: Archive) -> None:
    """A cut file is named, with what to do about it."""
    file = write_hour(archive, events(["u1"]), "one")
    path = archive.root / file.name
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"one.parquet: it has \d+ bytes instead.*--forget"):
        archive.scan([file])


def test_no_files_is_an_empty_frame(archive: Archive) -> None:
    """No files give no rows, with the schema's columns in the order asked for."""
    assert archive.read([], ["event_ts", "user_id"]).schema.names() == ["event_ts", "user_id"]
    assert dict(archive.read([]).schema) == archive.schema


def test_merge_keeps_every_event_sorted(archive: Archive) -> None:
    """A merged file has all events of its parts in the archive's order, of kind ``hour``."""
    parts = [
        write_hour(archive, events(["u1", "u2"], commit=4), "a"),
        write_hour(archive, events(["u3", "u1"], commit=2, event_id=["x", "y"]), "b"),
    ]
    merged = archive.merge(parts, "m")
    back = pl.read_parquet(archive.root / merged.name)
    assert back.equals(back.sort("user_key", "event_ts", "event_id"))
    assert sorted(back["event_id"]) == ["e0", "e1", "x", "y"]
    assert (merged.kind, merged.source, merged.max_archived) == ("hour", "app", 4)


def test_hour_folder_is_in_utc() -> None:
    """The folder follows UTC whatever zone the time is written in."""
    assert (
        hour_folder(datetime.fromisoformat("2026-11-21T00:30:00+05:30")) == "dt=2026-11-20/hour=19"
    )
    assert hour_folder(T0.astimezone(UTC)) == "dt=2026-11-20/hour=10"
