"""A store that another process has open: the same questions, commits and commands."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from backfill.plan import plan
from backfill.replay import replay
from labeling.errors import ConfigError, StoreError
from labeling.io.archive import Archive
from labeling.io.importing import Importer, Plan
from labeling.io.remote import RemoteStore, open_store
from labeling.io.store import Counts, Store
from labeling.io.store.tables import REJECTS, TABLES
from labeling.model.table import RuleTable
from tests.import_project import Project
from tests.replay_project import RULE, T0, ReplayProject, event
from tests.served import Served, served
from tests.store_shapes import CLICKS, VALUES, at, changes, key, keys, value

#: Tables without a rule, but for what tells writers apart.
BOOKS: Final = [t.name for t in TABLES if t.name != "meta"]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Served]:
    """A served store with two rows of ``clicks``."""
    with served(tmp_path / "store.duckdb") as it:
        yield it


def publish_some(store: Store) -> dict[datetime, int]:
    """A commit with every call that another process may make; the rows of its hours."""
    moved = changes(
        [
            (key("a", 1), 2, "update", value(2_500_000), value(7, clicked=True)),
            (key("b", 1), 2, "retract", value(2_500_000), None),
            (key("c", 5), 1, "insert", None, value()),
        ]
    )
    rows = keys(key("d", 9)).with_columns(
        pl.Series("revision", [1], pl.Int32()),
        *(pl.Series(n, [value(3)[n]], t) for n, t in VALUES.items()),
    )
    rejects = pl.DataFrame(
        {
            "source": ["app"],
            "offset": [7],
            "reason": ["bad_json"],
            "detail": ["?"],
            "raw": [b"\xff"],
        }
    )
    with store.commit("everything") as commit:
        known = store.stored_between(CLICKS, at(), at(hours=1))
        assert known.filter("present")["user_id"].to_list() == ["a", "b"]
        assert commit.publish(CLICKS, moved).changes == 3
        commit.publish_first(CLICKS, rows, moved.clear())
        commit.append_rejects(rejects)
        commit.append_counts(Counts("app", 3, 3, 1, 0, 0, 2))
        commit.append_imports(
            pl.DataFrame(
                {
                    "source": ["app"],
                    "file": ["f"],
                    "digest": ["d"],
                    "bytes": [1],
                    "records": [3],
                    "events": [3],
                    "until_ts": [None],
                }
            )
        )
        commit.end_source("app", at(hours=2))
        hours = commit.set_hours(CLICKS, {at(): True}, archive_commit=4)
    with store.commit("again") as commit:
        commit.mark_retried(REJECTS.conform(rejects))
        commit.activate("clicks", 1)
    return hours


def test_a_remote_commit_equals_a_local_one(live: Served, tmp_path: Path) -> None:
    """The same calls give the same tables, and the same results once the commit is made."""
    other = tmp_path / "local.duckdb"
    with served(other):
        pass
    with Store.open(other) as local, open_store(live.store.path) as remote:
        assert isinstance(remote, RemoteStore)
        assert local.run == remote.run == 2
        assert publish_some(local) == publish_some(remote) == {at(): 3}
        for table in [*BOOKS, "clicks_v1"]:
            question = f"FROM {table} ORDER BY ALL"
            assert_frame_equal(local.query(question), remote.query(question))
        asked = keys(key("a", 1), key("b", 1), key("nobody", 1))
        assert_frame_equal(local.current(CLICKS, asked), remote.current(CLICKS, asked))
        for read in ("rows_between", "stored_between"):
            here, there = (getattr(s, read)(CLICKS, at(), at(hours=1)) for s in (local, remote))
            assert_frame_equal(here, there)
        assert_frame_equal(local.hours(CLICKS), remote.hours(CLICKS))
        assert local.source_ends() == remote.source_ends() == {"app": at(hours=2)}
        assert (local.store_id == remote.store_id, local.last_commit) == (False, remote.last_commit)


def test_a_remote_import_equals_a_local_one(tmp_path: Path) -> None:
    """An import through the endpoint archives the same events, once, with the commit's number."""
    events = [
        {
            "id": f"e{i % 90}",
            "ts": int(at(i % 90 * 60_000).timestamp() * 1000),
            "type": "click",
            "user": "u",
        }
        for i in range(100)
    ]
    projects = []
    for name in ("local", "remote"):
        (tmp_path / name).mkdir()
        project = Project(tmp_path / name)
        project.file("a.jsonl", [*events, "{bad", {"id": "x"}])
        projects.append(project)
    local, remote = projects
    local.load(local.folder / "a.jsonl")
    with served(remote.config.store), open_store(remote.config.store) as store:
        importer = Importer(store, remote.config)
        job = Plan(remote.config.source("app"), [remote.folder / "a.jsonl"])
        totals = importer.run(job)
        assert importer.run(job).accepted == 0
        assert_frame_equal(
            store.query("SELECT name, rows FROM archive_files WHERE max_archived = 0"),
            pl.DataFrame(schema={"name": pl.String(), "rows": pl.Int64()}),
        )
    assert (totals.accepted, totals.duplicate, totals.rejected) == (90, 10, 2)
    mine, yours = (p.archived().drop("archived", "topic") for p in projects)
    assert_frame_equal(mine, yours)
    assert remote.archived()["archived"].null_count() == 0
    assert remote.parquet_files() == remote.registered()


def test_a_remote_replay_equals_a_local_one(tmp_path: Path) -> None:
    """A replay, and one over filled hours after more events, give the same rows and changes."""
    some = [event("show", n * 60, f"u{n % 7}", f"i{n % 3}") for n in range(100)]
    more = [event("click", n * 60 + 30, f"u{n % 7}", f"i{n % 3}") for n in range(0, 100, 2)]
    projects = []
    for name in ("local", "remote"):
        (tmp_path / name).mkdir()
        project = ReplayProject(tmp_path / name)
        for file, events in (("a", some), ("b", more)):
            project.take_in(file, events)
            where = served(project.config.store) if name == "remote" else nullcontext()
            with where, open_store(project.config.store) as store:
                assert isinstance(store, RemoteStore) == (name == "remote")
                archive = Archive(project.config.archive, project.config.columns)
                todo = plan(store, RULE, T0, at(hours=2), sources=["app"], memory_bytes=10**9)
                done = list(replay(store, archive, todo))
                assert sum(hour.rows for hour in done) == 100
        projects.append(project)
    local, remote = projects
    assert_frame_equal(
        local.rows().drop("commit", "first_commit"), remote.rows().drop("commit", "first_commit")
    )
    assert local.changes() == remote.changes()
    assert remote.rows().filter("clicked").height == 50


def test_what_the_writer_refuses_is_raised_here(live: Served) -> None:
    """An error of a call arrives as what it was; nothing of the commit is written."""
    other = RuleTable("clicks", 1, "another digest", VALUES, frozenset({"paid"}))
    changed = changes([(key("z", 1), 1, "insert", None, value())])
    with open_store(live.store.path) as store:

        def commit(*calls: tuple[str, object, object]) -> None:
            with store.commit("x") as c:
                for name, *arguments in calls:
                    getattr(c, name)(*arguments)

        end = ("end_source", "app", None)
        with pytest.raises(StoreError, match="give the changed rule version 2"):
            commit(end, ("publish", other, changed))
        with pytest.raises(StoreError, match="only the process that writes"):
            commit(end, ("set_delivered", "topic", 1))
        with pytest.raises(ZeroDivisionError), store.commit("x"):
            _ = 1 // 0
        with pytest.raises(StoreError, match="inside another"), store.commit("x"):
            commit(end)
        with pytest.raises(ConfigError, match="kept whole"):
            store.retain({"commits": 1})
        assert store.last_commit == 1
        assert store.source_ends() == {}


def test_retention_from_outside(live: Served) -> None:
    """``retain`` drops what a local one drops."""
    with open_store(live.store.path) as store:
        assert store.retain({}) == {}
        assert store.retain({"label_changes": 1}) == {}


KILLED = """
import os, sys
from pathlib import Path
from labeling.io.remote import open_store
from tests.store_shapes import CLICKS, changes, key, value
store = open_store(Path(sys.argv[1]))
with store.commit("half") as commit:
    commit.end_source("app", None)
    commit.publish(CLICKS, changes([(key("k", 1), 1, "insert", None, value())]))
    print("recorded", flush=True)
    sys.stdin.readline()
"""


def test_a_killed_client_leaves_nothing(live: Served) -> None:
    """A client killed inside its commit has written nothing and keeps nobody waiting."""
    command = [sys.executable, "-c", KILLED, str(live.store.path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=_environment()) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"recorded\n"
        client.send_signal(signal.SIGKILL)
    with open_store(live.store.path) as store, store.commit("next"):
        pass
    assert live.store.query("SELECT what FROM commits")["what"].to_list() == ["rows", "next"]
    assert live.store.source_ends() == {}
    assert not list(live.store.database.spill.iterdir())


def test_half_a_body_writes_nothing(live: Served) -> None:
    """A connection that ends within a commit, or a body that is no parcel, changes nothing."""
    host, _, port = live.endpoint.address.rpartition(":")
    head = f"POST /commit HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n"
    head += "".join(f"{name}: {text}\r\n" for name, text in live.token.items())
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + b"\r\n" + b"x" * 500)
    reply = live.request("/commit", b"x" * 500, live.token)
    assert (reply.status, "no whole parcel" in reply.json["error"]) == (400, True)
    assert live.store.last_commit == 1


def test_commits_of_many_processes_take_turns(live: Served) -> None:
    """The flow's and others' commits, all at once: each is there once, numbers have no gap."""

    def outside(name: str) -> None:
        with open_store(live.store.path) as store:
            for n in range(5):
                with store.commit(f"{name} {n}") as commit:
                    change = changes([(key(f"{name}{n}", n), 1, "insert", None, value())])
                    commit.publish(CLICKS, change)

    with ThreadPoolExecutor() as pool:
        done = [pool.submit(outside, name) for name in ("x", "y")]
        for n in range(20):
            with live.store.commit(f"flow {n}") as commit:
                change = changes([(key(f"f{n}", n), 1, "insert", None, value())])
                commit.publish(CLICKS, change)
        for each in done:
            each.result()
    commits = live.store.query("FROM commits ORDER BY commit")
    assert commits["commit"].to_list() == list(range(1, 32))
    assert commits["run"].n_unique() == 3
    assert live.store.query("SELECT count(*), count(DISTINCT user_id) FROM clicks").row(0) == (
        32,
        32,
    )


def test_who_asks_first_commits_first(live: Served) -> None:
    """A commit from outside that waits goes before a later one of the flow."""
    begun = threading.Event()

    def outside() -> None:
        with live.store.beside() as mine:
            begun.set()
            with mine.commit("outside"):
                pass

    with live.store.commit("first"):
        other = threading.Thread(target=outside)
        other.start()
        begun.wait()
        while len(live.store._turns._waiting) < 2:  # noqa: SLF001 - it waits, as nobody else sees
            pass
    with live.store.commit("last"):
        pass
    other.join()
    what = live.store.query("SELECT what FROM commits ORDER BY commit")["what"].to_list()
    assert what == ["rows", "first", "outside", "last"]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
