"""``labeling.samples``: what is read of the offline table, in which batches, from where on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

import labeling.samples
from labeling.errors import DataError
from labeling.samples import Batch, read_parquet
from labeling.samples.shards import position_of, shard_of

TOKYO = ZoneInfo("Asia/Tokyo")
FIRST = datetime(2026, 11, 19, 22, tzinfo=UTC)
EVERY = timedelta(minutes=7)
ROWS = 250


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An offline table of a rule with hours of Tokyo, in row groups of three rows."""
    at = [FIRST + EVERY * n for n in range(ROWS)]
    frame = pl.DataFrame({"anchor_ts": at, "n": range(ROWS), "features": [{"ctr": 0.5}] * ROWS})
    frame = frame.with_columns(pl.col("anchor_ts").cast(pl.Datetime("ms", "UTC")))
    hour = pl.col("anchor_ts").dt.convert_time_zone("Asia/Tokyo").dt.strftime("dt=%F/hour=%H")
    for name, rows in frame.group_by(hour.alias("hour")):
        write(tmp_path / "offline" / "clicks" / str(name[0]), rows.drop("hour", strict=False))
    return tmp_path / "offline" / "clicks"


def write(folder: Path, rows: pl.DataFrame) -> None:
    """A file of an hour."""
    folder.mkdir(parents=True, exist_ok=True)
    rows.sort("anchor_ts").write_parquet(folder / "part-0.parquet", row_group_size=3)


def numbers(batches: Iterator[Batch]) -> list[int]:
    """The rows' numbers, in the order in which they were read."""
    return [n for batch in batches for n in batch.frame["n"]]


def test_yesterday_ten_to_today_ten(tree: Path) -> None:
    """The time is exact, first inclusive and last exclusive, in whatever zone it is written."""
    from_ts = datetime(2026, 11, 20, 10, tzinfo=TOKYO)
    to_ts = from_ts + timedelta(days=1)
    expected = [n for n in range(ROWS) if from_ts <= FIRST + EVERY * n < to_ts]
    assert 0 < expected[0] < expected[-1] < ROWS - 1
    assert numbers(read_parquet(tree, from_ts=from_ts, to_ts=to_ts)) == expected
    on_a_row = FIRST + EVERY * 20
    assert numbers(read_parquet(tree, from_ts=on_a_row, to_ts=on_a_row + EVERY)) == [20]
    assert numbers(read_parquet(tree.parent)) == list(range(ROWS))
    with pytest.raises(ValueError, match="has no zone"):
        read_parquet(tree, from_ts=datetime(2026, 11, 20))  # noqa: DTZ001 - the mistake


def test_columns_are_those_asked_for(tree: Path) -> None:
    """In their order, the time only where it is asked for; one that is not there is named."""
    batch = next(read_parquet(tree, columns=["features", "n"], batch_rows=2))
    assert batch.frame.columns == ["features", "n"]
    assert batch.to_arrow().num_rows == len(batch) == 2
    with pytest.raises(DataError, match="no column 'feature'; did you mean 'features'"):
        next(read_parquet(tree, columns=["feature"]))


@pytest.mark.parametrize("shards", [1, 3])
def test_from_every_position_the_same_batches_follow(tree: Path, shards: int) -> None:
    """Shards have no row in common and all together; each goes on exactly, after JSON too."""
    to_ts = FIRST + EVERY * 90
    seen: list[int] = []
    for place in range(shards):

        def read(position: object = None, place: int = place) -> list[Batch]:
            told = None if position is None else json.loads(json.dumps(position))
            shard = (place, shards)
            return list(read_parquet(tree, to_ts=to_ts, batch_rows=2, shard=shard, position=told))

        batches = read()
        seen += numbers(iter(batches))
        for number, batch in enumerate(batches):
            rest = [b.frame.rows() for b in batches[number + 1 :]]
            assert [b.frame.rows() for b in read(batch.position)] == rest
    assert sorted(seen) == list(range(90))


def test_an_hour_exported_anew_is_told(tree: Path) -> None:
    """A position in it means nothing any more; one elsewhere goes on, over hours that came since.

    A position of another number of shards is refused.
    """
    batches = list(read_parquet(tree))
    inside = batches[0]
    folder = (tree / inside.position["file"]).parent
    write(folder, pl.read_parquet(folder / "part-0.parquet")[1:])
    with pytest.raises(DataError, match="exported anew"):
        list(read_parquet(tree, position=inside.position))
    at = FIRST + timedelta(days=9)
    more = batches[-1].frame[:1].with_columns(anchor_ts=pl.lit(at).cast(pl.Datetime("ms", "UTC")))
    write(tree / "dt=2026-11-29" / "hour=07", more)
    assert numbers(read_parquet(tree, position=batches[-1].position)) == [ROWS - len(more)]
    with pytest.raises(DataError, match=r"shard \(0, 1\)"):
        list(read_parquet(tree, position=inside.position, shard=(0, 2)))


def test_a_folder_that_is_none_is_told(tmp_path: Path, tree: Path) -> None:
    """Nothing there, several rules, and a file that is not Parquet."""
    with pytest.raises(DataError, match="labeling export"):
        read_parquet(tmp_path / "nowhere")
    (tree.parent / "orders" / "dt=2026-11-20").mkdir(parents=True)
    with pytest.raises(DataError, match="clicks, orders"):
        read_parquet(tree.parent)
    next(iter(sorted(tree.rglob("*.parquet")))).write_bytes(b"no parquet at all")
    with pytest.raises(DataError, match="cannot be read"):
        list(read_parquet(tree))


@dataclass
class Worker:
    """What torch tells a worker of a data loader."""

    id: int
    num_workers: int


def test_each_worker_has_a_shard_of_its_own() -> None:
    """Over ranks and workers every shard once; positions find their way back to theirs."""
    shards = [shard_of(Worker(w, 3), rank, 2) for rank in range(2) for w in range(3)]
    assert shards == [(n, 6) for n in range(6)]
    assert (shard_of(None), shard_of(None, 1, 2)) == ((0, 1), (1, 2))
    files = [{"shard": [n, 2], "file": f"f{n}"} for n in range(2)]
    assert position_of(files, (1, 2)) == files[1]
    assert position_of([], (1, 2)) is None
    assert position_of([{"0": 5}, {"1": 7}], (0, 2)) == {"0": 5, "1": 7}
    with pytest.raises(ValueError, match="of 2 shards, there are 3"):
        position_of(files, (0, 3))


def test_the_surface_is_what_it_was() -> None:
    """``labeling.samples.__all__`` is this list, and says what each of it is."""
    names = ["Batch", "Position", "SampleDataset", "Shard", "read_parquet", "read_topic", "whole"]
    assert sorted(labeling.samples.__all__) == names
    there = [n for n in names if n != "SampleDataset"]
    assert [n for n in there if getattr(labeling.samples, n).__doc__] == there
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        labeling.samples.nothing  # noqa: B018 - asking is the point


def test_without_torch_the_dataset_says_so() -> None:
    """Asking for it names what is missing; everything else does not need it."""
    if find_spec("torch") is not None:
        pytest.skip("torch is installed here")
    with pytest.raises(ImportError, match="needs torch, which is not installed"):
        labeling.samples.SampleDataset(labeling.samples.read_parquet, "offline/note_samples")


def test_torch_loads_every_sample_once(tree: Path) -> None:
    """A data loader with two workers gives all rows, and goes on where they stood."""
    data = pytest.importorskip("torch.utils.data", reason="torch is no dependency, and not here")
    dataset = labeling.samples.SampleDataset(read_parquet, tree, batch_rows=2)
    batches = list(data.DataLoader(dataset, batch_size=None, num_workers=2))
    assert sorted(numbers(iter(batches))) == list(range(ROWS))
    last = {tuple(b.position["shard"]): b.position for b in batches[: len(batches) // 2]}
    after = labeling.samples.SampleDataset(read_parquet, tree, positions=[*last.values()])
    rest = numbers(iter(data.DataLoader(after, batch_size=None, num_workers=2)))
    assert sorted([*numbers(iter(batches[: len(batches) // 2])), *rest]) == list(range(ROWS))
