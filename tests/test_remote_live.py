"""Finding the process that holds a store, and copies of a store for other tools."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from labeling.cli.main import group
from labeling.errors import LabelingError, StoreError
from labeling.io.remote import RemoteStore, open_store
from labeling.io.remote.live import Live, live_path, read_live, write_live
from tests.served import Served, served


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Served]:
    """A served store with two rows of ``clicks``."""
    with served(tmp_path / "store.duckdb") as it:
        yield it


def test_nobody_live_opens_the_file(tmp_path: Path) -> None:
    """Without a live file, with a stale one, or with one that is broken, the file is opened."""
    path = tmp_path / "store.duckdb"
    with served(path) as live:
        told = live_path(path).read_text()
        assert json.loads(told)["address"] == live.endpoint.address
    assert not live_path(path).exists()
    for left in (told, "{}", "[]", "half a fi"):
        live_path(path).write_text(left)
        with open_store(path, read_only=True) as store:
            assert not isinstance(store, RemoteStore)
            assert store.last_commit == 1


def test_another_program_at_the_address_is_not_asked(tmp_path: Path) -> None:
    """An endpoint of another store at a stale address does not know the token."""
    path = tmp_path / "mine.duckdb"
    with served(path):
        pass
    with served(tmp_path / "other.duckdb") as other:
        write_live(path, Live(other.endpoint.address, os.getpid(), "stale", 1))
        with open_store(path, read_only=True) as store:
            assert not isinstance(store, RemoteStore)
        assert read_live(path) is not None


def test_a_server_that_ended_is_named(tmp_path: Path) -> None:
    """A store whose server ended meanwhile is an error that says whom to look for."""
    with served(tmp_path / "store.duckdb") as live:
        store = open_store(live.store.path)
    with pytest.raises(StoreError, match=f"process {os.getpid()}.*ended"):
        store.query("SELECT 1")
    with pytest.raises(LabelingError, match="ended"), store.commit("late"):
        pass


def test_snapshot(live: Served, tmp_path: Path) -> None:
    """A copy of a live store and of a closed one: tables and views, for DuckDB 1.2 and later."""
    path, copy = live.store.path, tmp_path / "copies" / "copy.duckdb"
    copy.parent.mkdir()
    with open_store(path, read_only=True) as store:
        assert store.snapshot(copy) == 1
        with live.store.commit("after"):
            pass
        with pytest.raises(StoreError, match="--force"):
            store.snapshot(copy)
        with pytest.raises(StoreError, match="cannot be written"):
            store.snapshot(tmp_path / "nowhere" / "copy.duckdb")
        _check_copy(copy, commits=1)
    args = ["snapshot", str(copy), "--store", str(path), "--force"]
    assert CliRunner().invoke(group, args).output.startswith(f"{copy}: the store up to commit 2,")
    _check_copy(copy, commits=2)
    live.endpoint.stop()
    live.store.close()
    copy.unlink()
    assert CliRunner().invoke(group, args).exit_code == 0
    _check_copy(copy, commits=2)
    assert [p.name for p in copy.parent.iterdir()] == [copy.name]


def _check_copy(copy: Path, *, commits: int) -> None:
    """A plain DuckDB opens it and finds everything."""
    with duckdb.connect(copy, read_only=True) as con:
        tags = con.sql("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchall()[0][0]
        assert tags["storage_version"].startswith("v1.2.0")
        assert con.sql("SELECT count(*) FROM commits").fetchall() == [(commits,)]
        assert con.sql("SELECT user_id, paid FROM clicks ORDER BY 1").fetchall() == [
            ("a", 2.5),
            ("b", 2.5),
        ]
        assert con.sql("SELECT * FROM counts_total").fetchall() == []
