"""A project whose hours are exported, and three ways to read the offline table back."""

from __future__ import annotations

import json
import traceback
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.dataset as ds

from labeling import count, happened
from labeling.config import load_tree
from labeling.io.store import Store
from labeling.io.store.product_tables import MARKERS
from labeling.products.offline.exporter import Exported, Exporter
from tests.replay_project import RULE, ReplayProject, event, same_modules
from tests.sample_drive import LABELS, SAMPLES

RULES = (LABELS, SAMPLES)
#: What is exported of the rule ``shown``.
VIEW = "SELECT * EXCLUDE (rule_digest, first_commit, commit) FROM shown ORDER BY ALL"
VERSIONS = (
    RULE,
    replace(RULE, version=2, labels={"clicked": happened("click"), "seen": happened("show")}),
)
CLASHES = (replace(RULE, name="timed", labels={"dt": count("click")}),)
_RANKER = """
[[source]]
name = "ranker"
kind = "features"
files = "*.jsonl"
features = { ctr = "f64", tags = "list[str]" }
[source.map]
request_id = "request"
item_id = "item"
served_ts = { path = "ts", unit = "ms" }
"""


class OfflineProject(ReplayProject):
    """A project with ``[offline]``, row groups of 100."""

    def __init__(self, folder: Path, more: str = "", offline: str = "") -> None:
        super().__init__(folder, more)
        text = (folder / "labeling.toml").read_text()
        self.configure(f"{text}\n[offline]\nrow_group = 100\n{offline}")

    @classmethod
    def there(cls, folder: str) -> OfflineProject:
        """One that another process made."""
        found = cls.__new__(cls)
        found.folder = Path(folder)
        return found

    @property
    def root(self) -> Path:
        """The offline table."""
        return self.config.offline.path

    def shown(self, count: int, hours: int = 1) -> None:
        """Import so many impressions, of which each third is clicked, and replay the first hour."""
        shows = [
            event("show", i * 3600 * hours / count, f"u{i % (count // 2):04}", f"i{i}")
            for i in range(count)
        ]
        clicks = [
            {**show, "type": "click", "id": show["id"] + "c", "ts": show["ts"] + 5_000}
            for show in shows[::3]
        ]
        self.take_in("shown", shows + clicks)
        self.publish()

    def publish(self, hour: int = 10) -> None:
        """Replay one hour: it has a marker then, or another one."""
        done = self.replay(from_=f"2026-11-20T{hour}", to=f"2026-11-20T{hour + 1}")
        assert done.exit_code == 0, "".join(traceback.format_exception(done.exception))

    def mark(self, *hours: datetime, state: str = "settled", rule: str = RULE.name) -> None:
        """Markers of hours as if nothing had changed: one revision more each time."""
        with Store.open(self.config.store) as store:
            mark(store, *hours, state=state, rule=rule)

    def exporter(self, **more: Any) -> Exporter:
        """Of the configuration as it is now."""
        with same_modules():
            return Exporter(self.config, load_tree(self.config), **more)

    def export(self, **more: Any) -> list[Exported]:
        """Export what is due of the closed store."""
        exporter = self.exporter(**more)
        with Store.open(self.config.store, read_only=True) as store:
            return list(exporter.run(store))

    def marker(self, hour: str, table: str = RULE.name) -> dict[str, Any]:
        """The marker file of an hour."""
        told = json.loads((self.root / table / hour / "_marker.json").read_text())
        assert isinstance(told, dict)
        return told

    def part(self, hour: str, table: str = RULE.name) -> Path:
        """The file of an hour."""
        return self.root / table / hour / "part-0.parquet"


class SampleProject(OfflineProject):
    """A project with the samples of ``tests.sample_drive`` and a source of features."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        text = (folder / "labeling.toml").read_text() + _RANKER
        text = text.replace('position = "slot"\n', 'request_id = "request"\n')
        self.configure(text.replace("tests.replay_project:RULES", "tests.offline_project:RULES"))

    def serve(self, name: str, *records: dict[str, Any]) -> None:
        """Import features."""
        self.load(self.file(f"{name}.jsonl", records), source="ranker")


def mark(store: Store, *hours: datetime, state: str = "settled", rule: str = RULE.name) -> None:
    """See ``OfflineProject.mark``."""
    last = store.query(
        f"FROM markers WHERE rule = '{rule}' QUALIFY row_number() OVER "
        "(PARTITION BY version, hour ORDER BY revision DESC) = 1"
    )
    with store.commit("markers") as commit:
        again = last.filter(pl.col("hour").is_in(hours)).with_columns(
            pl.col("revision") + 1,
            pl.lit(0, pl.Int64).alias("delta_rows"),
            state=pl.lit(state),
        )
        commit.append(MARKERS, again)


def by_polars(table: Path) -> pl.DataFrame:
    """What Polars reads of a folder of hours, with the columns of the folders."""
    return pl.scan_parquet(f"{table}/**/*.parquet", hive_partitioning=True).collect()


def by_duckdb(table: Path) -> pl.DataFrame:
    """What DuckDB reads."""
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        frame: pl.DataFrame = db.sql(
            f"FROM read_parquet('{table}/**/*.parquet', hive_partitioning = true)"
        ).pl()
    return frame


def by_arrow(table: Path) -> pl.DataFrame:
    """What pyarrow reads of the folder itself; names that begin with ``_`` are left out."""
    frame = pl.from_arrow(ds.dataset(table, partitioning="hive").to_table())
    assert isinstance(frame, pl.DataFrame)
    return frame
