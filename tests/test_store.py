"""The store: the file, its lock, its commits and their books."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from labeling.errors import StoreError
from labeling.io.archive import Archive
from labeling.io.store import Counts, Store
from labeling.io.store.database import Database
from labeling.io.store.tables import TABLES
from tests.store_shapes import CLICKS, at, changes, events, key, value, write_hour


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store, open for writing."""
    with Store.open(tmp_path / "store.duckdb") as opened:
        yield opened


def child(code: str, path: Path) -> subprocess.Popen[str]:
    """Another Python process running ``code`` with the store's path as its argument."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )


def counts(**given: int) -> Counts:
    """Counts of source ``app``, zero unless given."""
    names = ("records", "events", "rejected", "too_late", "duplicate", "accepted")
    return Counts("app", **{name: given.get(name, 0) for name in names})


def test_file_is_readable_by_duckdb_1_2(tmp_path: Path) -> None:
    """The header's storage version is 65, that of DuckDB 1.2, also after writes and a reopen."""
    path = tmp_path / "store.duckdb"
    for _ in range(2):
        with Store.open(path) as store, store.commit("rows") as commit:
            commit.publish(CLICKS, changes([(key("u", 1), 1, "insert", None, value(1))]))
    header = path.read_bytes()[:20]
    assert header[8:12] == b"DUCK"
    assert int.from_bytes(header[12:20], "little") <= 65


def test_a_store_in_use_says_by_whom(tmp_path: Path) -> None:
    """Opening a store that another process writes names that process and what to do."""
    path = tmp_path / "store.duckdb"
    holder = child(
        """
        import sys
        from labeling.io.store import Store
        store = Store.open(sys.argv[1])
        print("open", flush=True)
        sys.stdin.read()
        """,
        path,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        for read_only in (False, True):
            with pytest.raises(StoreError, match=f"in use by process {holder.pid}.*stop it"):
                Store.open(path, read_only=read_only)
    finally:
        holder.kill()
        holder.communicate()


def test_a_committed_transaction_survives_kill(tmp_path: Path) -> None:
    """After kill -9 the committed rows are there and the open transaction's are not."""
    path = tmp_path / "store.duckdb"
    victim = child(
        """
        import sys, os, signal
        from tests.store_shapes import CLICKS, changes, key, value
        from labeling.io.store import Store
        store = Store.open(sys.argv[1])
        with store.commit("kept") as commit:
            commit.publish(CLICKS, changes([(key("u1", 1), 1, "insert", None, value(1))]))
        with store.commit("lost") as commit:
            commit.publish(CLICKS, changes([(key("u2", 1), 1, "insert", None, value(1))]))
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        path,
    )
    _, complaint = victim.communicate()
    assert victim.returncode == -signal.SIGKILL, complaint
    with Store.open(path) as store:
        assert store.rows_between(CLICKS, at(), at(hours=1))["user_id"].to_list() == ["u1"]
        assert store.query("SELECT commit, what FROM commits").rows() == [(1, "kept")]
        assert store.run == 2


def test_read_only_needs_a_store(tmp_path: Path) -> None:
    """Reading a file that does not exist, or is something else, says so and makes nothing."""
    with pytest.raises(StoreError, match=r"there is no store at .*labeling import"):
        Store.open(tmp_path / "none.duckdb", read_only=True)
    assert not (tmp_path / "none.duckdb").exists()
    other = tmp_path / "other.duckdb"
    con = duckdb.connect(str(other))
    con.execute("CREATE TABLE t (a INT)").fetchall()
    con.close()
    with pytest.raises(StoreError, match="not a store"):
        Store.open(other)
    text = tmp_path / "text.duckdb"
    text.write_text("no database " * 1000)
    with pytest.raises(StoreError, match="not a store"):
        Store.open(text)


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    """A store made by another version of the tables is not touched."""
    path = tmp_path / "store.duckdb"
    Store.open(path).close()
    con = duckdb.connect(str(path))
    con.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'").fetchall()
    con.close()
    with pytest.raises(StoreError, match="schema version 99"):
        Store.open(path)


def test_two_readers_at_once(tmp_path: Path) -> None:
    """With no writer, several processes may read."""
    path = tmp_path / "store.duckdb"
    Store.open(path).close()
    reader = child(
        """
        import sys
        from labeling.io.store import Store
        store = Store.open(sys.argv[1], read_only=True)
        print(store.last_commit, flush=True)
        sys.stdin.read()
        """,
        path,
    )
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "0\n"
        with Store.open(path, read_only=True) as store:
            assert store.last_commit == 0
    finally:
        reader.kill()
        reader.communicate()


def test_a_failed_commit_leaves_nothing_and_its_number(store: Store) -> None:
    """What a raising block wrote is gone, and the next commit takes the same number."""

    def fail() -> None:
        with store.commit("bad") as commit:
            commit.publish(CLICKS, changes([(key("u", 1), 1, "insert", None, value(1))]))
            commit.append_counts(counts(records=1, events=1, accepted=1))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert store.last_commit == 0
    assert store.query("FROM counts").is_empty()
    assert store.query("FROM rules").is_empty()
    with store.commit("good") as commit:
        assert commit.number == 1
    assert store.last_commit == 1


def test_commits_do_not_nest(store: Store) -> None:
    """A commit inside a commit is refused."""
    with (
        store.commit("outer"),
        pytest.raises(StoreError, match="inside another"),
        store.commit("inner"),
    ):
        pass


def test_counts_must_add_up() -> None:
    """Counts whose outcomes are not the events read are refused (law 5)."""
    with pytest.raises(ValueError, match="3 events read, 2 accounted for"):
        counts(records=3, events=3, accepted=2)


def test_counts_total_adds_up_by_source(store: Store) -> None:
    """The view sums commits by source and says that the sums agree."""
    for n in (1, 2):
        with store.commit("events") as commit:
            commit.append_counts(counts(records=n, events=3 * n, rejected=n, accepted=2 * n))
    total = store.query("FROM counts_total").row(0, named=True)
    assert (total["events"], total["rejected"], total["accepted"]) == (9, 3, 6)
    assert total["adds_up"] is True
    assert store.query("SELECT events, archived FROM commits ORDER BY commit").rows() == [
        (3, 2),
        (6, 4),
    ]


def test_rejects_are_listed_once_by_position(store: Store) -> None:
    """The same reject again is not listed again; another one at that place is."""
    row = {"source": "app", "topic": "f", "offset": 7, "index": 0, "reason": "bad_json"}
    rejects = pl.DataFrame([row | {"detail": "x", "raw": b"{", "broker_ts": None}] * 2)
    added = []
    for raw in (b"{", b"{", b"["):
        with store.commit("rejects") as commit:
            added.append(commit.append_rejects(rejects.with_columns(raw=pl.lit(raw))))
    assert added == [1, 0, 1]
    assert store.query(
        'SELECT offset_, n FROM (SELECT "offset" AS offset_, count(*) AS n '
        "FROM rejects GROUP BY ALL)"
    ).rows() == [(7, 2)]


def test_files_come_back_as_they_were_added(store: Store, tmp_path: Path) -> None:
    """Files registered in a commit are listed with every fact, pruned by time, until removed."""
    archive = Archive(tmp_path / "archive", {})
    first = write_hour(archive, events(["u1", "u2"]), "first")
    later = events(["u1"]).with_columns(event_ts=at(hours=2))
    second = write_hour(archive, later, "second", hours=2)
    with store.commit("files") as commit:
        commit.add_files([second, first])
    assert store.files() == [first, second]
    assert store.files(to_ts=at(hours=2)) == [first]
    assert store.files(from_ts=at(hours=2)) == [second]
    assert store.query("SELECT newest_ts FROM commits").item() == at(hours=2)
    with store.commit("swap") as commit:
        commit.remove_files([first.name])
    assert store.files() == [second]


def test_a_source_end_never_goes_back(store: Store) -> None:
    """An end moves forward, and stays at infinity (null) once there."""
    seen = []
    for end in (at(10), at(5), at(20), None, at(30)):
        with store.commit("end") as commit:
            commit.end_source("app", end)
        seen.append(store.source_ends()["app"])
    assert seen == [at(10), at(10), at(20), None, None]


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM counts", "CREATE TABLE x (a INT)", "COPY counts TO 'x.csv'", "SET threads = 1"],
)
def test_query_only_reads(store: Store, sql: str) -> None:
    """Anything but a question is refused before DuckDB sees it."""
    with pytest.raises(StoreError, match="only read here"):
        store.query(sql)


def test_query_explains_itself(store: Store) -> None:
    """Two statements, no statement and a wrong one are each a StoreError with the reason."""
    with pytest.raises(StoreError, match="one statement is expected, 2"):
        store.query("SELECT 1; SELECT 2")
    with pytest.raises(StoreError, match="one statement is expected, 0"):
        store.query("")
    with pytest.raises(StoreError, match="countz"):
        store.query("SELECT * FROM countz")
    assert store.query("SELECT 1 AS a").rows() == [(1,)]


def test_a_full_disk_is_explained_and_nothing_is_half_done(tmp_path: Path) -> None:
    """A commit that the disk refuses is a StoreError; the store opens with what it had."""
    path = tmp_path / "store.duckdb"
    with Store.open(path) as store:
        with store.commit("kept") as commit:
            commit.append_counts(counts(records=1, events=1, accepted=1))
        store.checkpoint()
    size = path.stat().st_size
    rows = pl.DataFrame({"source": "app", "reason": "r", "detail": "d", "offset": range(50_000)})
    noise = pl.Series("raw", [os.urandom(100) for _ in range(50_000)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store.open(path) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100_000, hard))
        try:
            with pytest.raises(StoreError), store.commit("lost") as commit:
                commit.append_rejects(rows.with_columns(noise))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with Store.open(path) as store:
        assert store.query("SELECT what FROM commits").rows() == [("kept",)]
        assert store.query("FROM rejects").is_empty()


def test_a_commit_larger_than_the_memory_is_written_all_the_same(tmp_path: Path) -> None:
    """Rows of 300 MB in one transaction, and those written before, under a limit of 192 MB."""
    more = pl.int_range(1_000_000).cast(pl.String) + pl.lit("x" * 280)
    rows = pl.select(id=pl.int_range(1_000_000), text=more)
    limit = 192 << 20
    with Database(tmp_path / "store.duckdb", read_only=False, memory_bytes=limit) as db:
        db.run("CREATE TABLE big (id BIGINT, text VARCHAR)")
        for number in range(2):
            db.run("BEGIN TRANSACTION")
            with db.given("gone", rows.select("id").filter(pl.col("id") % 2 == number)):
                db.run("DELETE FROM big t USING gone k WHERE t.id = k.id")
            db.append("big", rows)
            db.run("COMMIT")
            assert db.value("SELECT sum(memory_usage_bytes) FROM duckdb_memory()") <= limit
        assert db.value("SELECT count(*) FROM big") == 1_500_000
        assert db.value("SELECT count(DISTINCT id) FROM big") == 1_000_000


def test_every_table_and_column_is_documented() -> None:
    """docs/store.md has a heading per table and a row per column, with the schema's own text."""
    text = (Path(__file__).parent.parent / "docs" / "store.md").read_text()
    for table in TABLES:
        assert f"### `{table.name}`" in text
        assert table.text in text
        for column in table.columns:
            assert f"| `{column.name}` |" in text
            assert column.text in text
