"""Leases: no file is deleted under a reader, and a dead reader holds nothing."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from labeling.errors import DataError
from labeling.io import leases, swapping
from labeling.io.store import Store
from tests.tail_project import Tail


@pytest.fixture
def tail(tmp_path: Path) -> Tail:
    """An empty store and archive."""
    return Tail(tmp_path)


@pytest.fixture
def store(tail: Tail) -> Iterator[Store]:
    """Its store, open."""
    with Store.open(tail.path) as opened:
        yield opened


def test_a_reader_keeps_its_files(tail: Tail, store: Store) -> None:
    """Files of a lease stay until it ends; a lease taken afterwards does not hold them."""
    before = tail.fill(store, seed=4)
    with ExitStack() as early:
        early.enter_context(leases.reading(tail.archive.root))
        files = store.files()
        assert tail.compact(store).swept == swapping.Swept(waiting=6)
        with leases.reading(tail.archive.root):
            assert tail.archive.read(files).sort("event_id").equals(before)
            assert swapping.sweep(store, tail.archive) == swapping.Swept(waiting=6)
            early.close()
            assert swapping.sweep(store, tail.archive) == swapping.Swept(deleted=6)
    with pytest.raises(DataError, match="missing"):
        tail.archive.read(files)
    assert tail.lying() == [f.name for f in store.files()]


def test_a_dead_reader_holds_nothing(tail: Tail, store: Store) -> None:
    """A lease of a process that was killed is none, and its file goes; one that lives is seen."""
    tail.fill(store, seed=5)
    code = f"""
    from pathlib import Path
    from labeling.io import leases
    with leases.reading(Path({str(tail.archive.root)!r})):
        print("held", flush=True)
        input()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"held\n"
        assert tail.compact(store).swept.waiting == 6
        reader.kill()
        reader.wait()
    assert swapping.sweep(store, tail.archive).deleted == 6
    assert not list((tail.archive.root / leases.READERS).iterdir())


def test_a_lease_is_never_lost_before_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look between a lease's file and its lock takes the file away: another one is made."""
    real = fcntl.flock
    looked: list[int] = []

    def flock(handle: int, operation: int) -> None:
        if operation == fcntl.LOCK_SH and not looked:
            looked.append(1)
            assert leases.live(tmp_path) == frozenset()
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with leases.reading(tmp_path) as lease:
        assert looked
        assert leases.live(tmp_path) == {lease}
        with leases.reading(tmp_path) as second:
            assert leases.live(tmp_path) == {lease, second}
    assert leases.live(tmp_path) == frozenset()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A reader that cannot take a lease does not read without one."""
    (tmp_path / "archive").write_text("a file")
    with (
        pytest.raises(DataError, match="no lease can be taken"),
        leases.reading(tmp_path / "archive"),
    ):
        pass
