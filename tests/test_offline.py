"""The offline table: which hours, which rows, as of which commit, whatever happens meanwhile."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from labeling.errors import ConfigError
from labeling.io.store import Store
from tests.offline_project import (
    VIEW,
    OfflineProject,
    SampleProject,
    by_arrow,
    by_duckdb,
    by_polars,
)
from tests.replay_project import T0, event

HOUR = timedelta(hours=1)
KEY = ["user_id", "anchor_ts", "anchor_id"]


@pytest.fixture
def project(tmp_path: Path) -> OfflineProject:
    """300 rows of 150 users in an hour, replayed."""
    one = OfflineProject(tmp_path)
    one.shown(300)
    return one


def test_what_is_read_back_is_what_the_view_shows(project: OfflineProject) -> None:
    """Polars, DuckDB and Arrow read the view's rows, with the columns of the folders beside."""
    (done,) = project.export(part_rows=40)
    assert (done.table, done.hour, done.rows) == ("shown", "dt=2026-11-20/hour=10", 300)
    view = project.query(VIEW)
    for read in (by_polars, by_duckdb, by_arrow):
        frame = read(project.root / "shown")
        assert frame.columns == [*view.columns, "dt", "hour"]
        folders = frame.select(pl.col("dt").cast(pl.String), pl.col("hour").cast(pl.Int64))
        assert folders.unique().rows() == [("2026-11-20", 10)]
        rows = frame.drop("dt", "hour").with_columns(
            pl.col("anchor_ts").cast(view["anchor_ts"].dtype)
        )
        assert rows.equals(view)
    assert project.export() == []


def test_the_file_is_as_promised(project: OfflineProject) -> None:
    """Sorted, in row groups of the size asked for, zstd, with statistics and no folder columns."""
    project.export(part_rows=40)
    file = pq.ParquetFile(project.part("dt=2026-11-20/hour=10"))
    meta = file.metadata
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [100, 100, 100]
    column = meta.row_group(0).column(0)
    assert (column.compression, column.is_stats_set) == ("ZSTD", True)
    assert meta.row_group(0).sorting_columns
    frame = pl.from_arrow(file.read())
    assert isinstance(frame, pl.DataFrame)
    assert frame.equals(frame.sort(KEY))
    assert not {"dt", "hour"} & set(frame.columns)
    told = project.marker("dt=2026-11-20/hour=10")
    assert told["rows"] == 300
    assert list(told["schema"]) == frame.columns
    newest = project.query("FROM markers ORDER BY revision").tail(1).row(0, named=True)
    (marker,) = told["markers"]
    assert {**marker, "hour": newest["hour"]} == newest
    assert told["settled"] is (newest["state"] != "complete")
    assert told["versions"] == [{"version": 1, "digest": told["versions"][0]["digest"]}]


def test_an_hour_follows_its_markers(project: OfflineProject) -> None:
    """A correction is there with the next marker; without one the file stays; deleted, it returns.

    Who has the old file open reads it on.
    """
    hour = "dt=2026-11-20/hour=10"
    project.export()
    file, inode = project.part(hour), project.part(hour).stat().st_ino
    clicked = pl.read_parquet(file)["clicked"].sum()
    project.mark(T0)
    (done,) = project.export()
    assert (done.marker_only, file.stat().st_ino) == (True, inode)
    assert project.marker(hour)["markers"][0]["state"] == "settled"
    assert project.export() == []
    before = pq.ParquetFile(file)
    project.take_in("late", [event("click", 20, "u0001", "i1")])
    project.publish()
    assert [d.marker_only for d in project.export()] == [False]
    assert project.marker(hour)["markers"][0]["state"] == "republished"
    assert pl.read_parquet(file)["clicked"].sum() == clicked + 1
    assert pl.DataFrame(before.read().to_pydict())["clicked"].sum() == clicked
    view = project.query(VIEW)
    assert pl.read_parquet(file).equals(view)
    for gone in (file, file.with_name("_marker.json")):
        gone.unlink()
        assert [d.rows for d in project.export()] == [300]
    file.write_bytes(b"half")
    assert [d.rows for d in project.export()] == [300]


def test_an_hour_waits_for_all_its_markers(tmp_path: Path) -> None:
    """In a zone of half hours the rows of two UTC hours come together; times stay UTC's."""
    project = OfflineProject(tmp_path, 'report_timezone = "Asia/Kolkata"\n')
    project.shown(240, hours=2)
    assert project.export() == []
    project.publish(11)
    (done,) = project.export()
    frame = by_polars(project.root / "shown")
    low, high = T0 + HOUR / 2, T0 + HOUR * 3 / 2
    expected = project.query(VIEW).filter(pl.col("anchor_ts").is_between(low, high, closed="left"))
    assert (done.hour, done.rows) == ("dt=2026-11-20/hour=16", 120)
    assert frame.drop("dt", "hour").equals(expected)
    text = (tmp_path / "labeling.toml").read_text()
    project.configure(text.replace("Asia/Kolkata", "Asia/Calcutta"))
    with pytest.raises(ConfigError, match="is an hour of Asia/Kolkata"):
        project.export()


def test_an_hour_shows_the_version_that_is_active(project: OfflineProject) -> None:
    """Another version activated, the hour is exported again; one that is named is apart."""
    hour, text = "dt=2026-11-20/hour=10", (project.folder / "labeling.toml").read_text()
    project.export()
    project.configure(text.replace("tests.replay_project:RULES", "tests.offline_project:VERSIONS"))
    done = project.replay("--rule", "shown@2", to="2026-11-20T11")
    assert done.exit_code == 0, repr(done.exception)
    (again,) = project.export()
    both = pl.read_parquet(project.part(hour))
    assert again.marker_only is False
    assert both["rule_version"].unique().to_list() == [2]
    assert [v["version"] for v in project.marker(hour)["versions"]] == [2]
    assert "seen" in both.columns
    with Store.open(project.config.store) as store, store.commit("back") as commit:
        commit.activate("shown", 1, None)
    assert [d.marker_only for d in project.export()] == [False]
    assert pl.read_parquet(project.part(hour)).equals(project.query(VIEW))
    named = (project.folder / "labeling.toml").read_text() + 'rules = ["shown@2"]\n'
    project.configure(named)
    assert [d.table for d in project.export()] == ["shown_v2"]
    assert pl.read_parquet(project.part(hour, "shown_v2")).equals(both)


def test_a_column_cannot_be_a_folder(project: OfflineProject) -> None:
    """A label by the name of a folder is refused by name, before anything is written."""
    text = (project.folder / "labeling.toml").read_text()
    project.configure(text.replace("tests.replay_project:RULES", "tests.offline_project:CLASHES"))
    project.publish()
    with pytest.raises(ConfigError, match=r"rule timed: column dt is a folder"):
        project.export()
    assert not (project.root / "timed").exists()


def test_names_zones_and_days_are_held_to_what_there_is(project: OfflineProject) -> None:
    """One exporter at a time; rules that there are; retention's hours stay, or are left out."""
    text = (project.folder / "labeling.toml").read_text()
    exporter = project.exporter()
    with Store.open(project.config.store) as store:
        running = exporter.run(store)
        next(running)
        with pytest.raises(ConfigError, match="another process exports"):
            list(project.exporter().run(store))
        running.close()
        store.retain({"shown": 0, "label_changes": None})
        with store.commit("a day later") as commit:
            commit.database.run("UPDATE commits SET newest_ts = newest_ts + INTERVAL 3 DAY")
        store.retain({"shown": 0})
        assert store.query("FROM shown").is_empty()
    project.mark(T0)
    project.export()
    assert by_polars(project.root / "shown").height == 300
    project.part("dt=2026-11-20/hour=10").unlink()
    assert project.export() == []
    project.configure(text + 'rules = "show"\n')
    with pytest.raises(ConfigError, match=r"'show'.*did you mean 'shown'"):
        project.export()


def test_samples_have_their_features(tmp_path: Path) -> None:
    """Joined ones, with typed features and how long was waited; the others are counted."""
    project = SampleProject(tmp_path)
    shows = [event("show", i, f"u{i:02}", f"i{i}", request=f"r{i}") for i in range(20)]
    clicks = [event("click", i + 5, f"u{i:02}", f"i{i}", request=f"r{i}") for i in range(0, 20, 2)]
    served = [
        {
            "request": s["request"],
            "item": s["item"],
            "ts": s["ts"] - 1000,
            "ctr": i / 4,
            "tags": ["a", str(i)],
        }
        for i, s in enumerate(shows[:15])
    ]
    project.serve("served", *served)
    project.take_in("shown", shows + clicks)
    project.publish()
    assert {d.table for d in project.export(part_rows=6)} == {"shown", "shown_samples"}
    told = project.marker("dt=2026-11-20/hour=10", "shown_samples")
    view = project.query("FROM shown_samples ORDER BY user_id")
    joined = view.filter(pl.col("status") == "joined")
    assert (told["rows"], told["no_features"]) == (joined.height, view.height - joined.height)
    assert told["lost_features"] == 0
    assert told["rows"] > 8
    assert told["no_features"] > 0
    for read in (by_polars, by_duckdb, by_arrow):
        frame = read(project.root / "shown_samples")
        number = frame["user_id"].str.slice(1).cast(pl.Int64)
        values = frame.unnest("features")
        assert values["ctr"].to_list() == [n / 4 for n in number]
        assert values["tags"].to_list() == [["a", str(n)] for n in number]
        assert frame.select("matured_ms", "final").unique().rows() == [(1_800_000, True)]
        assert frame["weight"].to_list() == joined["weight"].to_list()
        assert frame["kept"].to_list() == joined["kept"].to_list()


def test_attributions_are_two_tables(tmp_path: Path) -> None:
    """Actions without what is said of touches alone, and touches, as the two views show them."""
    project = OfflineProject(tmp_path)
    text = (tmp_path / "labeling.toml").read_text()
    text = text.replace('position = "slot"\n', 'order_id = "order"\nvalue = "value"\n')
    project.configure(text.replace("tests.replay_project", "tests.attribution_project"))
    clicks = [event("click", i, f"u{i % 9}", f"i{i}") for i in range(40)]
    orders = [event("order", 60 + i, f"u{i}", order=f"o{i}", value=3_500_000) for i in range(12)]
    project.take_in("orders", clicks + orders)
    project.publish()
    assert {d.table for d in project.export(part_rows=7)} == {"orders", "orders_touches"}
    for name, keys in (("orders", KEY), ("orders_touches", [*KEY, "touch_ts", "touch_id"])):
        view = project.query(f"SELECT * EXCLUDE (rule_digest, first_commit, commit) FROM {name}")
        assert view.height >= 12
        found = by_polars(project.root / name).drop("dt", "hour")
        assert found.equals(view.sort(keys))
        assert project.marker("dt=2026-11-20/hour=10", name)["sorted_by"] == keys
