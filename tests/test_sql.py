"""``labeling sql``: formats, files, and clear refusals, of a closed store and of a live one."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from labeling.cli.main import group
from labeling.io.endpoint import Endpoint, Limits
from labeling.io.store import Store
from tests.store_shapes import CLICKS, changes, key, value


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A closed store with two rows of ``clicks``."""
    path = tmp_path / "store.duckdb"
    with Store.open(path) as opened, opened.commit("rows") as commit:
        rows = [(key(u, 1), 1, "insert", None, value(2_500_000)) for u in ("[b]a[/b]", "b")]
        commit.publish(CLICKS, changes(rows))
    return path


def sql(store: Path, *args: str, stdin: str | None = None) -> Result:
    """The command's result."""
    return CliRunner().invoke(group, ["sql", "--store", str(store), *args], input=stdin)


QUESTION = "SELECT user_id, anchor_ts, experiments, paid FROM clicks ORDER BY 1"


def test_table_shows_every_column(store: Path) -> None:
    """The default is a table with names, UTC times and values as they are, markup included."""
    text = sql(store, QUESTION).output
    assert "2026-11-20T10:00:00.001Z" in text
    assert "[b]a[/b]" in text
    assert '["x","y"]' in text
    assert "2.5" in text


def test_long_table_says_what_is_missing(store: Path) -> None:
    """A table cuts after 100 rows and says how many there are more."""
    assert "... 1,900 more rows" in sql(store, "FROM range(2000)").output


def test_csv(store: Path) -> None:
    """CSV has a header and one line per row, lists as JSON."""
    rows = list(csv.DictReader(io.StringIO(sql(store, QUESTION, "--format", "csv").output)))
    assert [r["user_id"] for r in rows] == ["[b]a[/b]", "b"]
    assert json.loads(rows[0]["experiments"]) == ["x", "y"]
    assert rows[0]["anchor_ts"] == "2026-11-20T10:00:00.001Z"


def test_json_is_one_object_per_line(store: Path) -> None:
    """JSON is newline-delimited, lists as lists."""
    lines = sql(store, QUESTION, "--format", "json").output.splitlines()
    assert [json.loads(line)["paid"] for line in lines] == [2.5, 2.5]
    assert json.loads(lines[0])["experiments"] == ["x", "y"]


def test_out_chooses_the_format_by_its_ending(store: Path, tmp_path: Path) -> None:
    """``--out x.parquet`` writes Parquet with the store's types."""
    out = tmp_path / "x.parquet"
    assert sql(store, QUESTION, "--out", str(out)).output == ""
    assert pl.read_parquet(out)["anchor_ts"].dtype == pl.Datetime("ms", "UTC")


def test_statement_from_standard_input(store: Path) -> None:
    """A dash reads the statement from standard input."""
    assert sql(store, "-", "--format", "csv", stdin="SELECT 1 AS a").output == "a\n1\n"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DROP TABLE clicks_v1", "only read here"),
        ("SELECT * FROM clickz", "clickz"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("SELEC", "syntax error"),
    ],
)
def test_refusals_are_one_clear_line(store: Path, statement: str, message: str) -> None:
    """What cannot be answered is one line on stderr and exit status 1; nothing changes."""
    done = sql(store, statement)
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    with Store.open(store, read_only=True) as opened:
        assert opened.query("SELECT count(*) FROM clicks").item() == 2


def test_bytes_are_shown_as_text(store: Path) -> None:
    """Raw bytes that are not UTF-8 do not break any text format."""
    for form in ("table", "csv", "json"):
        done = sql(store, "SELECT '\\xFFa'::BLOB AS raw, NULL::BLOB AS none", "--format", form)
        assert done.exit_code == 0
        assert "\ufffda" in done.output


@pytest.mark.parametrize(
    "args",
    [
        (QUESTION,),
        (QUESTION, "--format", "csv"),
        (QUESTION, "--format", "json"),
        ("FROM clicks ORDER BY ALL", "--out", "x.parquet"),
        ("FROM clicks WHERE false", "--format", "csv"),
        ("SELECT '\\xFFa'::BLOB AS raw, 1.50::DECIMAL(9, 2) AS d, {'a': now()} IS NULL AS s",),
        ('SELECT 1 AS a_1, 2 AS a, 3 AS a, 4 AS "A", 5 AS a_1',),
        ("SELECT INTERVAL 1 DAY AS i",),
        ("SHOW TABLES",),
        ("DESCRIBE clicks", "--format", "csv"),
        ("FROM range(1500000)", "--format", "csv"),
        ("DROP TABLE clicks_v1",),
        ("SELECT * FROM clickz",),
        ("SELECT 1; SELECT 2",),
        ("SELEC",),
        ("FROM read_csv('x.csv')",),
    ],
    ids=" ".join,
)
def test_a_live_store_answers_the_same(
    store: Path, args: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process holds the store, output, files, errors and status are the same."""
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "x.parquet"
    closed = sql(store, *args)
    file = out.read_bytes() if out.exists() else b""
    with Store.open(store) as opened, Endpoint(opened, "127.0.0.1:0"):
        live = sql(store, *args)
    assert (live.exit_code, live.stdout, live.stderr) == (
        closed.exit_code,
        closed.stdout,
        closed.stderr,
    )
    assert (out.read_bytes() if out.exists() else b"") == file


def test_a_live_store_limits_time(store: Path) -> None:
    """What takes too long is stopped by the process that holds the store; the error says so."""
    limits = Limits(timeout_ms=200)
    with Store.open(store) as opened, Endpoint(opened, "127.0.0.1:0", limits=limits):
        done = sql(
            store,
            "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * b.range < 0",
        )
    assert (done.exit_code, "stopped after 0.2 s" in done.stderr) == (1, True)
