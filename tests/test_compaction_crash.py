"""Compaction and crashes: whatever stops it, nothing is lost and the next one ends it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labeling.errors import StoreError
from labeling.io import compaction, leases, swapping
from labeling.io.archive import Archive
from labeling.io.compaction import Compacted
from labeling.io.remote import open_store
from labeling.io.store import Commit, Store
from labeling.io.store.database import Database
from tests.served import served
from tests.store_shapes import events, write_hour
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


class Crash(BaseException):
    """The process is gone: nothing of ours handles this."""


def crash_at(monkeypatch: pytest.MonkeyPatch, point: int) -> Callable[[], int]:
    """Crash before the durable effect of this number; returns how many there were so far."""
    passed = 0

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **more: Any) -> Any:
            nonlocal passed
            if real is not sql or args[1] == "COMMIT":
                if passed == point:
                    raise Crash
                passed += 1
            return real(*args, **more)

        return step

    sql = Database.run
    monkeypatch.setattr(Path, "rename", guarded(Path.rename))
    monkeypatch.setattr(Path, "unlink", guarded(Path.unlink))
    monkeypatch.setattr(os, "fsync", guarded(os.fsync))
    monkeypatch.setattr(Database, "run", guarded(sql))
    return lambda: passed


def test_a_crash_at_any_effect_loses_nothing(tmp_path: Path) -> None:
    """Before each fsync, rename, COMMIT and unlink in turn: same events, and the next run ends it.

    What lies in the folder afterwards is what the store names, and another store's files.
    """
    whole = Tail(tmp_path / "whole")
    with Store.open(whole.path) as store:
        before = whole.fill(store, seed=6, files=3, hours=2)
        foreign = write_hour(whole.archive, events(["u"]), "hour-0123abcd-000001-x-1").name
    point, ended = 0, False
    while not ended:
        shutil.copytree(whole.path.parent, tmp_path / str(point))
        tail = Tail(tmp_path / str(point))
        with Store.open(tail.path) as store, pytest.MonkeyPatch.context() as patch:
            count = crash_at(patch, point)
            try:
                tail.compact(store, batch_rows=before.height - 1)
                ended = True
            except Crash:
                assert count() == point
        with Store.open(tail.path) as store:
            assert tail.all(store).equals(before), point
            tail.compact(store)
            assert tail.all(store).equals(before), point
            assert all(f.kind == "hour" for f in store.files())
            named = sorted([*(f.name for f in store.files()), foreign])
        assert tail.lying() == named, point
        point += 1
    assert point > 20


@pytest.mark.parametrize(
    ("where", "lying"),
    [("Commit.add_files = die", 9), ("Archive.remove = die", 9), ("Path.unlink = third", 7)],
    ids=["written, not named", "named, nothing deleted", "half deleted"],
)
def test_kill_9_loses_nothing(tail: Tail, where: str, lying: int) -> None:
    """The same with a real end of the process."""
    with Store.open(tail.path) as store:
        before = tail.fill(store, seed=7)
    code = f"""
    import os, signal
    from pathlib import Path
    from labeling.io.archive import Archive
    from labeling.io.store import Commit, Store
    from tests.tail_project import Tail
    tail = Tail(Path({str(tail.path.parent)!r}))
    def die(*args, **more): os.kill(os.getpid(), signal.SIGKILL)
    unlink, calls = Path.unlink, []
    def third(path, **more):
        calls.append(1)
        return die() if len(calls) == 3 else unlink(path, **more)
    with Store.open(tail.path) as store:
        {where}
        tail.compact(store)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        check=False, capture_output=True, text=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(tail.lying()) == lying
    with Store.open(tail.path) as store:
        assert tail.all(store).equals(before)
        assert tail.compact(store).busy is False
        assert tail.all(store).equals(before)
        assert tail.lying() == sorted(f.name for f in store.files())


def test_beside_a_flow(tail: Tail) -> None:
    """Through the endpoint: what the flow writes and has not named yet stays, the rest is moved."""
    with served(tail.path) as live:
        before = tail.fill(live.store, seed=8)
        rng = random.Random(8)
        stem = f"tail-{live.store.store_id}-{live.store.run:06d}-000-99999999"
        coming = tail.archive.write_tail(tail.batch(rng, 5, [0]), stem)
        with open_store(tail.path) as store:
            assert store.run > live.store.run
            assert tail.compact(store).swept.deleted == 6
        assert tail.all(live.store).equals(before)
        with live.store.commit("stream") as commit:
            commit.add_files([coming])
        assert tail.all(live.store).height == before.height + 5
        assert tail.lying() == sorted(f.name for f in live.store.files())


@pytest.mark.parametrize(("where", "left"), [("named, not deleted", 0), ("written, not named", 3)])
def test_an_end_beside_a_flow(tail: Tail, where: str, left: int) -> None:
    """Old files that were swapped go with the next compaction, new ones not named with the flow."""
    with served(tail.path) as live:
        before = tail.fill(live.store, seed=9)
        with open_store(tail.path) as store, pytest.MonkeyPatch.context() as patch:
            target, name = (Archive, "remove") if left == 0 else (Commit, "finish")
            patch.setattr(target, name, _refuse)
            with pytest.raises(StoreError, match="on purpose"):
                tail.compact(store)
        assert len(tail.lying()) == 6 + 3 + 1  # old, new, and the record
        assert tail.all(live.store).equals(before)
        with open_store(tail.path) as store:
            tail.compact(store)
        assert tail.all(live.store).equals(before)
        lost = {*tail.lying()} - {f.name for f in live.store.files()}
        assert len(lost) == left
    with Store.open(tail.path) as store:
        assert swapping.sweep(store, tail.archive).deleted == left
        assert tail.lying() == sorted(f.name for f in store.files())


def _refuse(*_: Any) -> None:
    raise StoreError("refused on purpose")


def test_two_at_once(tail: Tail, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second finds the lock; without it, its commit is refused and nothing is doubled."""
    before = tail.fill(store, seed=10)
    with leases.alone(store.path) as mine:
        assert mine
        assert tail.compact(store) == Compacted(busy=True)
        assert swapping.sweep(store, tail.archive) == swapping.Swept()
    turns: list[Compacted] = []

    def late(*args: Any) -> Any:
        monkeypatch.setattr(compaction, "swap", swapping.swap)
        turns.append(tail.compact(store))
        return swapping.swap(*args)

    monkeypatch.setattr(compaction, "swap", late)
    monkeypatch.setattr(leases, "_lock", lambda *_: os.open(os.devnull, os.O_RDONLY))
    with pytest.raises(StoreError, match="6 of 6 archive files are already compacted"):
        tail.compact(store)
    assert turns[0].tails == 6
    assert tail.all(store).equals(before)
