"""A project whose ranker logs features: a record per request, with the items that it showed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import polars as pl

from labeling.config import Config
from labeling.io.feature_archive import feature_archives
from labeling.io.store import Store
from tests.import_project import CONFIG, T0_MS, Project

#: A source of features; ``files`` or ``topics`` follow.
RANKER: Final = """
[[source]]
name = "ranker"
kind = "features"
{where}
max_disorder = "1m"
features = {{ ctr_7d = "f64", fans = "i64", embedding = "list[f64]", tags = "list[str]" }}
[source.map]
request_id = "request"
served_ts = {{ path = "at", unit = "ms" }}
item_id = "element.id"
fans = "element.author.fans"
[[source.emit]]
explode = "items"
"""
FEATURES: Final = ("ctr_7d", "fans", "embedding", "tags")


def request(name: str, second: float, *items: dict[str, Any]) -> dict[str, Any]:
    """A record of the ranker, some seconds after ten o'clock."""
    return {"request": name, "at": T0_MS + round(1000 * second), "items": list(items)}


def item(name: str, ctr: float | None = 0.5, **more: Any) -> dict[str, Any]:
    """An item of its list."""
    return {"id": name, "ctr_7d": ctr} | more


class FeaturesProject(Project):
    """Events and features from files."""

    def __init__(self, folder: Path, more: str = "") -> None:
        super().__init__(folder, CONFIG + RANKER.format(where='files = "*.ranked"') + more)

    def served(self) -> pl.DataFrame:
        """Every archived record of features, by identity."""
        return archived_features(self.config)


def archived_features(config: Config, source: str = "ranker") -> pl.DataFrame:
    """Every archived record of a source, by identity."""
    with Store.open(config.store, read_only=True) as store:
        frame = feature_archives(config)[source].read(store.feature_files(source))
    return frame.sort("event_ts", "user_id", "event_id", "offset")
