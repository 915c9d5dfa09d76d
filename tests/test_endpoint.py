"""The endpoint: answers, limits, and what stands beside SQL."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import polars as pl
import pytest
from prometheus_client import CollectorRegistry, Counter

from labeling.errors import StoreError
from labeling.io.endpoint import Endpoint, Limits
from labeling.io.endpoint.server import Pages
from labeling.io.store import Store
from tests.served import Served, served
from tests.store_shapes import CLICKS, changes, key, value

#: More than any test waits for.
ENDLESS: Final = (
    "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * b.range < 0"
)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Served]:
    """A served store with two rows of ``clicks``."""
    with served(tmp_path / "store.duckdb", limits=Limits(timeout_ms=20_000, rows=10)) as it:
        yield it


def test_json_has_columns_rows_and_the_commit(live: Served) -> None:
    """An answer in JSON: typed columns, an object per row, times in ISO 8601, and which commit."""
    reply = live.sql("SELECT user_id, anchor_ts, paid, experiments FROM clicks ORDER BY 1")
    assert (reply.status, reply.headers["X-Labeling-Commit"]) == (200, "1")
    assert reply.json["rows"][0] == {
        "user_id": "a",
        "anchor_ts": "2026-11-20T10:00:00.001Z",
        "paid": 2.5,
        "experiments": ["x", "y"],
    }
    assert [c["name"] for c in reply.json["columns"]][:2] == ["user_id", "anchor_ts"]
    assert (reply.json["row_count"], reply.json["truncated"]) == (2, False)


def test_arrow_is_what_the_store_answers(live: Served) -> None:
    """An answer in Arrow equals the one of the open file."""
    reply = live.sql("FROM clicks ORDER BY user_id", format="arrow")
    frame = pl.read_ipc_stream(io.BytesIO(reply.body))
    expected = live.store.query("FROM clicks ORDER BY user_id")
    assert frame.with_columns(pl.col("anchor_ts").cast(pl.Datetime("ms", "UTC"))).equals(expected)


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT 'a\\xFF'::BLOB", "Yf8="),
        ("SELECT 1.50::DECIMAL(9, 2)", "1.50"),
        ("SELECT 170141183460469231731687303715884105727", str(2**127 - 1)),
        ("SELECT DATE '2026-11-20'", "2026-11-20"),
        ("SELECT 'b'::ENUM('a', 'b')", "b"),
        ("SELECT 'nan'::DOUBLE", None),
        ("SELECT {'a': [1, NULL]}", {"a": [1, None]}),
    ],
)
def test_json_of_other_types(live: Served, sql: str, value: object) -> None:
    """Each type has one JSON; none is shown as something else."""
    assert list(live.sql(f"{sql} AS x").json["rows"][0].values()) == [value]


@pytest.mark.parametrize("sql", ["SELECT INTERVAL 1 DAY AS x", "SELECT {'a': now()} AS x"])
def test_what_has_no_json_is_said(live: Served, sql: str) -> None:
    """A column without a JSON is refused with the way out, in JSON alone."""
    assert "cast it" in live.sql(sql).json["error"]
    assert live.sql(sql, format="arrow").status == 200


def test_rows_are_cut_and_the_answer_says_so(live: Served) -> None:
    """The limit on rows cuts; more is said, exactly the limit is not a cut, the token lifts it."""
    cut = live.sql("FROM range(11)")
    assert (cut.json["row_count"], cut.json["truncated"]) == (10, True)
    assert "query_rows" in cut.json["message"]
    assert cut.headers["X-Labeling-Truncated"] == "true"
    assert live.sql("FROM range(10)").json["truncated"] is False
    assert live.sql("FROM range(10)", rows=3).json["row_count"] == 3
    assert live.sql("FROM range(50)", rows=40).json["row_count"] == 10
    whole = live.request("/sql", {"sql": "FROM range(200000)"}, live.token)
    assert (whole.json["row_count"], whole.json["truncated"]) == (200_000, False)


def test_large_answers_are_refused_without_the_token(tmp_path: Path) -> None:
    """The limit on bytes is an error that says what to do."""
    limits = Limits(answer_bytes=100_000)
    with served(tmp_path / "store.duckdb", limits=limits) as live:
        reply = live.sql("SELECT range, repeat('x', 100) FROM range(100000)")
        assert (reply.status, "fewer columns or rows" in reply.json["error"]) == (400, True)


def test_time_ends_a_question(tmp_path: Path) -> None:
    """A question that takes too long is stopped and told so; the next is answered."""
    with served(tmp_path / "store.duckdb", limits=Limits(timeout_ms=300)) as live:
        reply = live.sql(ENDLESS)
        assert "stopped after 0.3 s" in reply.json["error"]
        assert live.sql("SELECT 1 AS x").json["rows"] == [{"x": 1}]


def test_memory_ends_a_question(tmp_path: Path) -> None:
    """A question that collects too much is stopped and told so, and leaves nothing behind."""
    limits = Limits(timeout_ms=60_000, memory_bytes=100_000_000)
    with served(tmp_path / "store.duckdb", limits=limits) as live:
        for what in ("list(range)", "count(DISTINCT range)", "string_agg(range)"):
            error = live.sql(f"SELECT {what} FROM range(1000000000)").json["error"]
            assert "bytes of memory" in error
        assert live.sql("SELECT sum(range) AS x FROM range(10000000)").status == 200
    assert [p.name for p in tmp_path.iterdir()] == ["store.duckdb"]


def test_too_many_questions_are_told_to_wait(tmp_path: Path) -> None:
    """Beyond the number answered at once a question waits for its time, then gets 429."""
    limits = Limits(timeout_ms=1000, together=1)
    with served(tmp_path / "store.duckdb", limits=limits) as live, ThreadPoolExecutor() as pool:
        statuses = sorted(r.status for r in pool.map(live.sql, [ENDLESS] * 3))
        assert statuses[0] == 400
        assert statuses[-1] == 429


def test_a_commit_does_not_wait_for_a_question(live: Served) -> None:
    """A commit and a checkpoint end while a question that began before is still running."""
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(live.sql, f"SELECT (FROM commits SELECT count(*)), ({ENDLESS})")
        _until(live, "SELECT count(*) > 0 AS x FROM duckdb_memory()")
        for _ in range(3):
            with live.store.commit("beside"):
                pass
        live.store.checkpoint()
        assert not asked.done()
        live.endpoint.stop()
        assert "about to end" in asked.result().json["error"]
        # The fixture stops it again; that is no error.


def test_answers_are_of_one_commit(live: Served) -> None:
    """While commits go on, no answer shows a half of one, and its number is the one it shows."""
    pair = "SELECT (SELECT max(commit) FROM commits) AS a, (SELECT max(commit) FROM clicks_v1) AS b"
    done = threading.Event()

    def ask() -> int:
        count = 0
        while not done.is_set():
            reply = live.sql(pair)
            (row,) = reply.json["rows"]
            assert row["a"] == row["b"] == int(reply.headers["X-Labeling-Commit"])
            count += 1
        return count

    with ThreadPoolExecutor() as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        for n in range(2, 60):
            with live.store.commit("more") as commit:
                change = changes([(key(f"u{n}", n), 1, "insert", None, value())])
                commit.publish(CLICKS, change)
        done.set()
        assert all(a.result() > 0 for a in asking)


def test_pages_of_the_flow(tmp_path: Path) -> None:
    """Health is 200 or 503 with its JSON, metrics are Prometheus text, status is JSON."""
    registry = CollectorRegistry()
    Counter("events", "Events read.", registry=registry).inc(3)
    well = [True]
    pages = Pages(lambda: (well[0], {"lag_ms": 5}), lambda: {"shards": [1, 2]}, registry)
    with served(tmp_path / "store.duckdb", pages=pages) as live:
        health = live.request("/health")
        assert (health.status, health.json) == (200, {"lag_ms": 5})
        well[0] = False
        assert live.request("/health").status == 503
        assert live.sql("SELECT 1").status == 200
        assert live.sql("SELEC").status == 400
        metrics = live.request("/metrics").body
        assert b"events_total 3.0" in metrics
        assert b'labeling_questions_total{outcome="answered"} 1.0' in metrics
        assert b'labeling_questions_total{outcome="refused"} 1.0' in metrics
        assert live.request("/status").json == {"shards": [1, 2]}
        assert live.request("/nothing").status == 404


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "no JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "send {"),
        (json.dumps({"sql": "SELECT 1", "format": "xml"}).encode(), "send {"),
        (json.dumps({"sql": "SELECT 1", "rows": 0}).encode(), "from 1 on"),
        (json.dumps({"sql": "SELECT '\ud800'"}).encode(), "surrogates"),
        (b'{"a":' + b"[" * 400_000 + b"}", "no JSON"),
        (b" " * 1_100_000, "at most"),
    ],
)
def test_bad_requests_are_answered(live: Served, body: bytes, message: str) -> None:
    """A body that makes no sense is an error that says what is wrong, and no traceback."""
    reply = live.request("/sql", body)
    assert 400 <= reply.status < 500
    assert message in reply.json["error"]


def test_an_address_in_use_is_named(tmp_path: Path) -> None:
    """The error names the address and the setting."""
    with socket.socket() as other, Store.open(tmp_path / "store.duckdb") as store:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(StoreError, match=rf"{address} is in use.*\[live\] endpoint"):
            Endpoint(store, address)
        with pytest.raises(StoreError, match=r"cannot listen at 192\.0\.2\.1:0"):
            Endpoint(store, "192.0.2.1:0")


def _until(live: Served, sql: str) -> None:
    """Wait until a question is answered: the one asked before has its place by then."""
    assert live.sql(sql).json["rows"] == [{"x": True}]
