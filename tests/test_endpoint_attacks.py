"""What the endpoint must not do, tried."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling.errors import StoreError
from labeling.io.endpoint import Endpoint, Limits
from labeling.io.remote.live import live_path
from labeling.io.store import Store
from tests.served import Served, served


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A served store beside a file with a secret in it."""
    folder = tmp_path_factory.mktemp("attacked")
    (folder / "x.csv").write_text("secret\n42\n")
    with served(folder / "store.duckdb", limits=Limits(timeout_ms=10_000)) as it:
        yield it


FILES = [
    "FROM '{0}/x.csv'",
    'FROM "{0}/x.csv"',
    "FROM '{0}/../{1}/x.csv'",
    "FROM 'file://{0}/x.csv'",
    "FROM '{0}/*.csv'",
    "FROM 'x.csv'",
    "FROM 'https://127.0.0.1/x.csv'",
    "FROM 's3://bucket/x.parquet'",
    "FROM '{0}/store.duckdb.live'",
    "DESCRIBE '{0}/x.csv'",
    "SUMMARIZE '{0}/x.csv'",
    "FROM read_csv('{0}/x.csv')",
    "FROM read_csv_auto(['{0}/x.csv'])",
    "FROM \"read_text\"('{0}/x.csv')",
    "FROM system.main.read_text('{0}/x.csv')",
    "FROM READ_BLOB /* a /* b */ c */ ('{0}/x.csv')",
    "SELECT (SELECT content FROM read_text('{0}/x.csv'))",
    "SELECT * FROM commits, LATERAL (FROM read_text('{0}/x.csv'))",
    "FROM (DESCRIBE FROM read_csv('{0}/x.csv'))",
    "WITH a AS (FROM read_text('{0}/x.csv')) FROM a",
    "EXPLAIN ANALYZE FROM read_text('{0}/x.csv')",
    "EXPLAIN (ANALYZE, FORMAT JSON) FROM read_text('{0}/x.csv')",
    "explain/**/analyze --\n FROM read_text('{0}/x.csv')",
    "FROM glob('{0}/*')",
    "FROM read_json('{0}/x.csv')",
    "FROM read_parquet('{0}/x.parquet')",
    "FROM parquet_metadata('{0}/x.parquet')",
    "FROM sniff_csv('{0}/x.csv')",
    "FROM read_duckdb('{0}/store.duckdb')",
    "FROM query('FROM read_text(''{0}/x.csv'')')",
    "FROM query_table('{0}/x.csv')",
    "FROM json_execute_serialized_sql(json_serialize_sql('FROM ''{0}/x.csv'''))",
    "PRAGMA json_execute_serialized_sql('x')",
    "SELECT getenv('HOME')",
    "SELECT getvariable('x')",
    "FROM duckdb_secrets()",
    "FROM duckdb_logs()",
    "FROM duckdb_extensions()",
    "FROM arrow_scan(1, 2, 3)",
    "FROM pandas_scan(1)",
    "FROM python_map_function(1)",
]
WRITES = [
    "INSERT INTO commits FROM commits",
    "DELETE FROM commits",
    "WITH a AS (DELETE FROM commits RETURNING *) FROM a",
    "WITH a AS (INSERT INTO commits FROM commits RETURNING *) FROM a",
    "WITH a AS (UPDATE commits SET run = 9 RETURNING *) FROM a",
    "WITH a AS (COPY commits TO '{0}/out.csv') FROM a",
    "EXPLAIN ANALYZE DELETE FROM commits",
    "EXPLAIN ANALYZE INSERT INTO commits FROM commits",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE MACRO range(a) AS TABLE FROM read_text(a)",
    "COPY commits TO '{0}/out.csv'",
    "EXPORT DATABASE '{0}/out'",
    "ATTACH '{0}/out.duckdb'",
    "DETACH store",
    "USE memory",
    "SET threads = 1",
    "SET enable_external_access = true",
    "RESET enable_external_access",
    "PRAGMA enable_profiling",
    "INSTALL httpfs",
    "LOAD httpfs",
    "CALL force_checkpoint()",
    "FROM force_checkpoint()",
    "FROM checkpoint('store')",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "COMMIT",
    "PREPARE a AS SELECT 1",
    "FROM enable_logging()",
    "FROM enable_profiling(save_location := '{0}/out.json')",
    "SELECT write_log('x')",
    "SELECT nextval('s')",
    "SELECT 1; DELETE FROM commits",
    "PIVOT commits ON run USING count(*)",
]
BOMBS = [
    "SELECT length(repeat('x', 3000000000))",
    "SELECT 'x'.repeat(3000000000)",
    "SELECT main.repeat(5, 3000000000)",
    "SELECT system.main.repeat('x', 3000000000)",
    "SELECT repeat('x', 10 * 1000000000)",
    "SELECT repeat('x', commit * 1000000000) FROM commits",
    "SELECT lpad('x', 2000000000, 'y')",
    "SELECT len(range(2000000000))",
    "SELECT list_transform(range(2000000000), lambda x: x)",
    "SELECT generate_series(1, 2000000000)",
    "SELECT list_resize([1], 2000000000)",
    "SELECT sleep_ms(60000)",
    "SELECT " + "(" * 3000 + "1" + ")" * 3000,
    "SELECT " + "+".join(["1"] * 50_000),
    "SELECT " + "[" * 900 + "1" + "]" * 900,
]


@pytest.mark.parametrize("sql", [*FILES, *WRITES, *BOMBS], ids=lambda s: s[:60])
def test_refused(live: Served, sql: str) -> None:
    """Each is an error in words, the secret is not in it, and nothing has changed."""
    folder = live.store.path.parent
    reply = live.sql(sql.replace("{0}", str(folder)).replace("{1}", folder.name), format="json")
    assert reply.status == 400, reply.body
    assert b"42" not in reply.body
    assert live.store.query("SELECT count(*), max(run) FROM commits").row(0) == (1, 1)
    assert not list(folder.glob("out*"))


def test_the_lock_survives(live: Served) -> None:
    """Nothing above opened the store a second time, which would have dropped its lock."""
    path = live.store.path
    for sql in (f"FROM '{path}'", f"FROM read_blob('{path}')", f"DESCRIBE '{path}'"):
        assert live.sql(sql).status == 400
    code = f"import duckdb; duckdb.connect({str(path)!r})"
    opened = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert b"Conflicting lock" in opened.stderr


def test_what_is_allowed_stays_allowed(live: Served) -> None:
    """The refusals do not reach honest questions."""
    for sql in (
        "SHOW TABLES",
        "DESCRIBE clicks",
        "SUMMARIZE clicks",
        "EXPLAIN ANALYZE FROM clicks",
        "EXPLAIN (FORMAT JSON) FROM clicks",
        "SELECT lpad('7', 2, '0'), '-'.repeat(3), range(3)",
        "SELECT x FROM clicks, unnest(experiments) t(x)",
        "WITH RECURSIVE r AS (SELECT 1 n UNION ALL SELECT n + 1 FROM r WHERE n < 9) FROM r",
        "SELECT user_id, count(*) OVER (PARTITION BY clicked) FROM clicks QUALIFY true",
        "FROM clicks PIVOT (count(*) FOR clicked IN (true, false))",
        "FROM (VALUES (1), (2)) t(x) -- ; DELETE FROM commits",
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'commits'",
        "SELECT 'read_text(' || user_id AS \"read_blob\" FROM clicks",
    ):
        assert live.sql(sql).status == 200, sql


WRITING = ("/commit", "/run", "/retain", "/snapshot")


@pytest.mark.parametrize("path", WRITING)
@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer x"}, {"Authorization": "x"}])
def test_writing_needs_the_token(live: Served, path: str, header: dict[str, str]) -> None:
    """Without it nothing is even read."""
    assert live.request(path, {}, header).status == 401


def test_only_the_owner_reads_the_token(live: Served) -> None:
    """The live file is the owner's alone, and the token is in no answer."""
    assert live_path(live.store.path).stat().st_mode & 0o777 == 0o600
    token = live.endpoint.live.token.encode()
    for path in ("/health", "/status", "/metrics", "/store", "/nothing"):
        assert token not in live.request(path).body


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
def test_a_web_page_cannot_ask(live: Served, headers: dict[str, str]) -> None:
    """A browser that was sent here by another site's name, or by its page, is refused."""
    assert live.request("/sql", {"sql": "SELECT 1"}, headers).status == 403


def test_beyond_this_machine_questions_need_the_token(tmp_path: Path) -> None:
    """An endpoint on all addresses tells strangers its health and metrics, and nothing else."""
    with Store.open(tmp_path / "s.duckdb") as store, Endpoint(store, "0.0.0.0:0") as endpoint:
        live = Served(store, endpoint)
        for path in ("/status", "/store"):
            assert live.request(path).status == 401
        assert live.sql("SELECT 1").status == 401
        assert live.request("/sql", {"sql": "SELECT 1"}, live.token).status == 200
        assert live.request("/health").status == live.request("/metrics").status == 200


def test_questions_to_the_file_obey_the_same(tmp_path: Path) -> None:
    """`Store.query` refuses what the endpoint refuses, on a writer too."""
    (tmp_path / "x.csv").write_text("secret\n42\n")
    with Store.open(tmp_path / "s.duckdb") as store:
        for sql in [*FILES, *WRITES]:
            with pytest.raises(StoreError):
                store.query(sql.replace("{0}", str(tmp_path)).replace("{1}", tmp_path.name))
