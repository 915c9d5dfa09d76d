"""An hour that is read in parts, while others write it, is that of one commit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.errors import StoreError
from labeling.io.store import Store
from labeling.io.store.views import Shown
from labeling.products.offline.reading import Extent, take
from tests.store_shapes import CLICKS, T0, Change, changes, key, value

HOUR = timedelta(hours=1)
KEY = ["user_id", "anchor_ts", "anchor_id"]
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["write", "retract"]), st.integers(0, 9), st.integers(0, 3)),
    max_size=4,
)


@pytest.fixture(scope="module")
def hours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Iterator[int]]]:
    """One store, and an hour of its own for whoever asks."""
    with Store.open(tmp_path_factory.mktemp("hours") / "store.duckdb") as store:
        yield store, count()


@settings(max_examples=30, deadline=None)
@given(
    first=st.sets(st.integers(0, 39)),
    # So few that a third reading finds nothing more that is written.
    between=st.lists(OPERATIONS, max_size=4),
    size=st.integers(4, 9),
)
def test_rows_are_of_one_commit(
    hours: tuple[Store, Iterator[int]],
    first: set[int],
    between: list[list[tuple[str, int, int]]],
    size: int,
) -> None:
    """Whatever is written and retracted between parts, what is taken is the rows of a commit."""
    store, hour = hours[0], next(hours[1])
    there: dict[tuple[str, datetime, str], int] = {}
    last: dict[tuple[str, datetime, str], int] = {}

    def commit(operations: list[tuple[str, int, int]]) -> None:
        rows: list[Change] = []
        for kind, user, ms in dict.fromkeys(operations):
            at = key(f"u{user}", hour * 3_600_000 + ms)
            if any(at == r[0] for r in rows) or (kind == "retract" and at not in there):
                continue
            revision = last[at] = last.get(at, 0) + 1
            old = value(there[at]) if at in there else None
            if kind == "retract":
                del there[at]
                rows.append((at, revision, kind, old, None))
            else:
                there[at] = revision
                rows.append((at, revision, "update" if old else "insert", old, value(revision)))
        with store.commit("changes") as one:
            one.publish(CLICKS, changes(rows))

    commit([("write", n // 4, n % 4) for n in first])
    waiting = list(between)

    def stopping() -> bool:
        if waiting:
            commit(waiting.pop(0))
        return False

    extent = Extent("clicks", (Shown(1, T0 + hour * HOUR, T0 + (hour + 1) * HOUR),))
    with TemporaryDirectory() as folder:
        taken = take(store.database, extent, Path(folder), size, stopping)
        assert taken is not None
        found = pl.concat(taken.frames())
    assert taken.commit == store.last_commit
    assert found.equals(found.sort(KEY))
    told = {(u, t, a): r for u, t, a, r in found.select(*KEY, "revision").iter_rows()}
    assert (told, found.height) == (there, len(there))


def test_an_hour_that_is_published_anew_all_the_time(
    hours: tuple[Store, Iterator[int]], tmp_path: Path
) -> None:
    """Where more than a part changes during each of three readings, it says so, and gives up."""
    store, hour = hours[0], next(hours[1])
    revisions = count(1)

    def publish() -> bool:
        revision = next(revisions)
        kind, old = ("insert", None) if revision == 1 else ("update", value(revision - 1))
        keys = [key(f"u{n}", hour * 3_600_000) for n in range(9)]
        with store.commit("again") as one:
            one.publish(CLICKS, changes([(k, revision, kind, old, value(revision)) for k in keys]))
        return False

    publish()
    extent = Extent("clicks", (Shown(1, T0 + hour * HOUR, T0 + (hour + 1) * HOUR),))
    with pytest.raises(StoreError, match="published anew while an hour of it was read, 3 times"):
        take(store.database, extent, tmp_path, 4, publish)
    assert next(revisions) > 4
