"""What counts for rows, of features on disk, held against plain Python.

Always holds: neither how records lie in files, nor what memory holds, changes what is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeling.config import Config
from labeling.engine.keys import user_key
from labeling.io.archive import SORTED_BY, ArchiveFile
from labeling.io.feature_archive import FeatureArchive, feature_archives, prepared
from labeling.io.store import Store
from labeling.products.features.files import FOUND, FeatureFiles
from labeling.products.features.index import RequestIndex
from tests.features_project import FEATURES, FeaturesProject
from tests.store_shapes import T0

SECOND: Final = timedelta(seconds=1)


class Served(NamedTuple):
    """A record as a test thinks of it."""

    request: str
    item: str
    second: int
    ctr: float | None
    arrival: str = "on_time"

    @property
    def ts(self) -> datetime:
        """When it was served."""
        return T0 + self.second * SECOND


class Asking(NamedTuple):
    """A row that wants features, of ``[low, high]`` seconds."""

    request: str | None
    item: str | None
    low: int
    high: int


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Of an archive that files are written into."""
    return FeaturesProject(tmp_path_factory.mktemp("features")).config


def records(archive: FeatureArchive, served: Sequence[Served]) -> pl.DataFrame:
    """Records as the archive has them."""
    frame = pl.DataFrame(
        {
            "user_id": [s.request for s in served],
            "event_id": [s.item for s in served],
            "event_ts": [s.ts for s in served],
            "ctr_7d": [s.ctr for s in served],
            "arrival": [s.arrival for s in served],
        },
        schema={
            n: archive.schema[n] for n in ("user_id", "event_id", "event_ts", "ctr_7d", "arrival")
        },
    )
    missing = [
        pl.lit(None, t).alias(c) for c, t in archive.schema.items() if c not in frame.columns
    ]
    return prepared(archive, frame.with_columns(missing).with_columns(user_key())).select(
        pl.col(c).cast(t) for c, t in archive.schema.items()
    )


def stems() -> Iterator[str]:
    """Names that no other test uses."""
    number = 0
    while True:
        number += 1
        yield f"test-{number:06d}"


STEMS: Final = stems()


def written(archive: FeatureArchive, groups: Sequence[Sequence[Served]]) -> list[ArchiveFile]:
    """A tail file of each group."""
    return [archive.write_tail(records(archive, group), next(STEMS)) for group in groups if group]


def wanted(rows: Sequence[Asking]) -> pl.DataFrame:
    """The rows as a frame."""
    return pl.DataFrame(
        [(r.request, r.item, T0 + r.low * SECOND, T0 + r.high * SECOND) for r in rows],
        schema={"request_id": pl.String, "item_id": pl.String, "low_ts": pl.Datetime("ms", "UTC"),
                "high_ts": pl.Datetime("ms", "UTC")},
        orient="row",
    )  # fmt: skip


def twin(
    served: Sequence[tuple[Served, int]], rows: Sequence[Asking], *, replay: bool
) -> list[tuple[int, datetime, int, float | None]]:
    """Clause S3, word by word; ``served`` beside their keys."""
    found = []
    for n, row in enumerate(rows):
        count = [
            (s.ts, key, s.ctr)
            for s, key in served
            if (s.request, s.item) == (row.request, row.item)
            and row.low <= s.second <= row.high
            and (replay or s.arrival != "too_late")
        ]
        if count:
            found.append((n, *min(count, key=lambda c: c[:2])))
    return found


REQUESTS: Final = st.sampled_from(["", "r1", "r2", "r3", "r4"])
ITEMS: Final = st.sampled_from(["", "a", "b"])
SERVED: Final = st.builds(
    Served, REQUESTS, ITEMS, st.integers(0, 9), st.sampled_from([None, 0.0, 0.5, 1.0]),
    st.sampled_from(["on_time", "late", "too_late"]),
)  # fmt: skip
ASKING: Final = st.builds(
    Asking, st.none() | REQUESTS, st.none() | ITEMS, st.integers(-1, 10), st.integers(-1, 10)
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(SERVED, max_size=8), max_size=4),
    st.lists(ASKING, max_size=8),
    st.booleans(),
    st.sampled_from([1, 10**8]),
)
def test_what_counts_is_what_plain_python_finds(
    config: Config,
    groups: list[list[Served]],
    rows: list[Asking],
    replay: bool,  # noqa: FBT001 - drawn by hypothesis
    memory: int,
) -> None:
    """Once, and again from memory, whatever of it is left; with columns, and exactly."""
    archive = feature_archives(config)["ranker"]
    files = written(archive, groups)
    every = [s for group in groups for s in group]
    keyed = list(zip(every, records(archive, every)["features_key"], strict=True))
    reader = FeatureFiles(config, memory_bytes=memory)
    expected = twin(keyed, rows, replay=replay)
    for _ in range(2):
        found = reader.find(files, "ranker", wanted(rows), replay=replay, columns=["ctr_7d"])
        assert found.schema == {**FOUND, "ctr_7d": pl.Float64()}
        assert found.rows() == expected
    keys = wanted(rows).with_row_index("row").join(found, on="row").drop("ctr_7d")
    told = reader.exact(files, "ranker", keys)
    assert told.columns == list(FEATURES)
    assert told["ctr_7d"].to_list() == found["ctr_7d"].to_list()


def test_files_of_a_transaction_are_found_and_gone_ones_are_null(config: Config) -> None:
    """The list is that of the session; a record that is not there has no features."""
    archive = feature_archives(config)["ranker"]
    (file,) = written(archive, [[Served("q", "a", 0, 0.25), Served("q", "b", 0, None)]])
    rows = wanted([Asking("q", "a", -5, 5), Asking("q", "b", 1, 5)])
    reader = FeatureFiles(config)
    with Store.open(config.store) as store:
        with store.commit("names it") as commit:
            assert reader.find(commit.database, "ranker", rows, replay=False).is_empty()
            commit.add_feature_files("ranker", [file])
            found = reader.find(commit.database, "ranker", rows, replay=False)
            assert found.rows()[0][:2] == (0, T0)
        keys = found.select(pl.lit("q").alias("request_id"), pl.lit("a").alias("item_id"), pl.all())
        other = keys.with_columns(features_key=pl.lit(5, pl.Int64))
        with reader.reading("ranker"):
            told = reader.exact(store.feature_files("ranker"), "ranker", pl.concat([other, keys]))
        assert told["ctr_7d"].to_list() == [None, 0.25]
        assert reader.exact(store.database, "ranker", keys)["ctr_7d"].to_list() == [0.25]
    assert reader.schema("ranker")["embedding"] == pl.List(pl.Float64)


def test_a_sorted_hour_of_many_groups(config: Config) -> None:
    """Only the row groups that can hold a request are read, and once, as far as memory goes."""
    archive = feature_archives(config)["ranker"]
    served = [Served(f"m{n}", "a", 0, n / 7) for n in range(150_000)]
    frame = records(archive, served).sort(SORTED_BY)
    file = archive.write(frame, T0, next(STEMS), kind="hour", source="ranker")
    assert (file.kind, file.rows) == ("hour", 150_000)
    reader = FeatureFiles(config)
    rows = wanted([Asking("m149999", "a", 0, 0), Asking("m7", "b", 0, 0)])
    found = reader.find([file], "ranker", rows, replay=False, columns=["ctr_7d"])
    assert found["ctr_7d"].to_list() == [149_999 / 7]
    tally = reader._keys["ranker"].tally  # noqa: SLF001 - what was read is seen nowhere else
    before = tally.groups
    assert reader.find([file], "ranker", rows, replay=False).height == 1
    assert tally.groups == before, "the keys are in memory"
    other = FeatureFiles(config)
    assert other.find([file], "ranker", rows, replay=True).height == 1
    assert 0 < other._keys["ranker"].tally.groups <= 2  # noqa: SLF001 - as said


@given(
    st.lists(st.lists(st.integers(0, 30), unique=True), max_size=12), st.sets(st.integers(0, 30))
)
def test_the_index_names_every_holder(files: list[list[int]], asked: set[int]) -> None:
    """However runs are merged."""
    index = RequestIndex()
    for n, keys in enumerate(files):
        index.add(str(n), np.array(sorted(keys), np.uint64))
    found = index.holders(np.array(sorted(asked), np.uint64))
    told: dict[str, Any] = {name: keys.tolist() for name, keys in found.items()}
    both = {str(n): sorted(asked & {*keys}) for n, keys in enumerate(files)}
    assert told == {name: keys for name, keys in both.items() if keys}
