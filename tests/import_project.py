"""A small project on disk for the tests of import and rejects."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
from click.testing import CliRunner, Result

from labeling.cli.main import group
from labeling.config import Config, load_config
from labeling.io.archive import Archive
from labeling.io.importing import Importer, Plan, Totals
from labeling.io.store import Store
from tests.store_shapes import T0

T0_MS = int(T0.timestamp() * 1000)
CONFIG = """
store = "store.duckdb"
archive = "archive"
[[source]]
name = "app"
files = "*.jsonl"
[source.map]
event_id = "id"
event_ts = { path = "ts", unit = "ms" }
event_type = "type"
user_id = "user"
item_id = "item"
position = "slot"
"""


class Project:
    """A folder with a configuration, a store and an archive."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        self.folder = folder
        self.configure(config)

    def configure(self, text: str) -> None:
        """Write the configuration anew."""
        (self.folder / "labeling.toml").write_text(text)

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return load_config(self.folder / "labeling.toml")

    def file(self, name: str, rows: Iterable[dict[str, Any] | str]) -> Path:
        """Write JSON lines; a text is a line as it is."""
        path = self.folder / name
        path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
        return path

    def load(self, *paths: Path, source: str = "app", **more: Any) -> Totals:
        """Import files."""
        config = self.config
        with Store.open(config.store) as store:
            return Importer(store, config).run(Plan(config.source(source), paths, **more))

    def query(self, sql: str) -> pl.DataFrame:
        """Ask the store."""
        with Store.open(self.config.store, read_only=True) as store:
            return store.query(sql)

    def archived(self) -> pl.DataFrame:
        """Every archived event, by identity."""
        config = self.config
        with Store.open(config.store, read_only=True) as store:
            frame = Archive(config.archive, config.columns).read(store.files())
        return frame.sort("event_ts", "user_id", "event_id")

    def parquet_files(self) -> list[str]:
        """Names of the files that lie in the archive's hours, temporary ones too."""
        root = self.config.archive
        return sorted(p.relative_to(root).as_posix() for p in root.glob("dt=*/**/*") if p.is_file())

    def registered(self) -> list[str]:
        """Names that the store has."""
        return self.query("SELECT name FROM archive_files ORDER BY name")["name"].to_list()

    def command(self, *args: str) -> Result:
        """Run ``labeling``."""
        config = ["--config", str(self.folder / "labeling.toml")]
        return CliRunner().invoke(group, [*args, *config])


def row(n: int, *, ms: int | None = None, user: str = "u", **more: Any) -> dict[str, Any]:
    """Event ``e<n>``, ``n`` seconds after ``T0`` unless ``ms`` says otherwise."""
    at = T0_MS + (1000 * n if ms is None else ms)
    return {"id": f"e{n}", "ts": at, "type": "click", "user": user, "item": f"i{n}", **more}
