"""``labeling.toml`` as a frozen value, and where to find it.

Always holds: a ``Config`` that was made is complete: every path is absolute, every duration is
in ms, every mapping was checked against the columns; unknown keys are refused with the nearest
known one.

Not promised: that the files, the store or the rules exist. Reading them says so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import polars as pl
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from labeling.config.cluster import ClusterConfig
from labeling.config.features import FEATURES, KEYS, check_columns, columns_of, schema_of
from labeling.config.health import HealthConfig
from labeling.config.hints import Table, explain, nearest
from labeling.config.live import LiveConfig
from labeling.config.mapcheck import check_source
from labeling.config.offline import OfflineConfig, Webhook
from labeling.config.samples import SampleTopic
from labeling.config.shape import record_shape
from labeling.config.sizes import size
from labeling.config.source import DurationMs, SourceConfig, _list, known_timezone
from labeling.errors import ConfigError
from labeling.model.event import EVENT_SCHEMA, event_schema
from labeling.model.window import duration_ms

FILE_NAME: Final = "labeling.toml"


def _path(value: Any) -> Any:
    return Path(value) if isinstance(value, str) else value


def _keep(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("write a duration such as '30d', or 'all'")  # noqa: TRY004 - pydantic
    return None if value == "all" else duration_ms(value)


class Config(Table):
    """What ``labeling.toml`` says. Attributes ending in ``_ms`` are durations in ms.

    ``path`` is the file itself; ``store`` and ``archive`` are absolute once loaded; ``columns``
    maps declared columns to their types; ``retention`` maps a table to the ms it keeps, None for
    all; ``memory_bytes`` bounds the blocks of a replay.
    """

    path: Path = Path(FILE_NAME)
    rules: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] = "rules:RULES"
    store: Annotated[Path, BeforeValidator(_path)] = Path("store.duckdb")
    archive: Annotated[Path, BeforeValidator(_path)] = Path("archive")
    lateness_ms: Annotated[DurationMs, Field(alias="lateness", ge=0)] = 10 * 60_000
    max_clock_skew_ms: Annotated[DurationMs, Field(alias="max_clock_skew", ge=0)] = 5 * 60_000
    hot_horizon_ms: Annotated[DurationMs, Field(alias="hot_horizon", ge=0)] = 2 * 3_600_000
    memory_bytes: Annotated[int, BeforeValidator(size), Field(alias="memory", ge=1)] = 4 * 10**9
    report_timezone: str = "UTC"
    columns: dict[str, str] = Field(default_factory=dict)
    retention: dict[str, Annotated[int | None, BeforeValidator(_keep)]] = Field(
        default_factory=dict
    )
    sources: Annotated[tuple[SourceConfig, ...], BeforeValidator(_list), Field(alias="source")] = ()
    clusters: Annotated[dict[str, ClusterConfig], Field(alias="cluster")] = Field(
        default_factory=dict
    )
    live: LiveConfig = Field(default_factory=LiveConfig)
    samples: Annotated[tuple[SampleTopic, ...], BeforeValidator(_list)] = ()
    offline: OfflineConfig = Field(default_factory=OfflineConfig)
    webhooks: Annotated[tuple[Webhook, ...], BeforeValidator(_list), Field(alias="webhook")] = ()
    health: HealthConfig = Field(default_factory=HealthConfig)

    @classmethod
    def file_keys(cls) -> list[str]:
        """The keys as they are written in the file; ``path`` is ours."""
        return [key for key in super().file_keys() if key != "path"]

    @property
    def folder(self) -> Path:
        """The folder of the file: what relative paths and ``rules`` are relative to."""
        return self.path.parent

    @field_validator("report_timezone")
    @classmethod
    def _timezone(cls, name: str) -> str:
        return known_timezone(name)

    @model_validator(mode="after")
    def _whole(self) -> Config:
        check_columns(self.columns)
        seen: set[str] = set()
        for source in self.sources:
            if source.name in seen:
                raise ValueError(f"[[source]] {source.name!r} is there twice; names are unique")
            seen.add(source.name)
            if source.topics:
                self.cluster_name(source.cluster, f"[[source]] {source.name!r}")
            schema = schema_of(source, self.columns)
            check_source(source, schema)
            try:
                record_shape(source, schema)
            except ValueError as error:
                raise ValueError(f"[[source]] {source.name!r}: {error}") from None
        live = self.live
        if live.changes_topic or live.rejects_topic or live.markers_topic or self.samples:
            self.cluster_name(live.cluster, "[live]")
        return self

    def cluster_name(self, name: str | None, place: str = "") -> str:
        """The cluster of that name, or the only one where none is named.

        Raises:
            ValueError: no such cluster, or several and none named; ``place`` begins the message.
        """
        if name is None and len(self.clusters) == 1:
            return next(iter(self.clusters))
        if name is None:
            there = "; name one with cluster =" if self.clusters else "; add a [cluster.main]"
            raise ValueError(f"{place}: which Kafka cluster?{there}")
        if name not in self.clusters:
            hint = nearest(name, self.clusters) if self.clusters else "; there is no [cluster.*]"
            raise ValueError(f"{place}: no [cluster.{name}]{hint}")
        return name

    def columns_of(self, source: SourceConfig) -> Mapping[str, str]:
        """The declared columns of what a source gives: those of ``[columns]``, or its features."""
        return columns_of(source, self.columns)

    def event_schema(self) -> dict[str, pl.DataType]:
        """The contract's columns followed by the declared ones."""
        return event_schema(self.columns)

    def source(self, name: str) -> SourceConfig:
        """The source of that name.

        Raises:
            ConfigError: there is none; the message names the nearest.
        """
        for source in self.sources:
            if source.name == name:
                return source
        known = [source.name for source in self.sources]
        hint = nearest(name, known) if known else "; the file has no [[source]]"
        raise ConfigError(f"{self.path}: no [[source]] named {name!r}{hint}")


def parse_config(data: Mapping[str, Any], path: Path) -> Config:
    """A configuration from the data of a TOML file at ``path`` (which is not read).

    Raises:
        ConfigError: names the file, the table and the key, and the fix.
    """
    data = _with_own_names(data)
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explain(error, str(path), data)) from None
    folder = path.parent
    places = {"path": path, "store": folder / config.store, "archive": folder / config.archive}
    offline = config.offline.model_copy(update={"path": folder / config.offline.path})
    return config.model_copy(update={**places, "offline": offline})


def _with_own_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data with a map for each source that has none: fields named as their columns are."""
    sources, columns = data.get("source"), data.get("columns", {})
    if not isinstance(sources, list) or not isinstance(columns, dict):
        return dict(data)
    own = {name: name for name in (*EVENT_SCHEMA, *columns) if name != "props"}
    keys = {name: name for name in KEYS}
    mapped = [
        {**s, "map": keys if s.get("kind") == FEATURES else own}
        if isinstance(s, dict) and not {"map", "emit"} & s.keys()
        else s
        for s in sources
    ]
    return {**data, "source": mapped}


def load_config(path: str | Path) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: no such file, not TOML, or a configuration that makes no sense.
    """
    file = Path(path).resolve()
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{file}: no such file; name one with --config, or run 'labeling init DIR'"
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{file}: a folder; name the file {FILE_NAME} in it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None
    return parse_config(data, file)


def find_config(start: str | Path | None = None) -> Path:
    """The nearest ``labeling.toml`` in ``start`` (the working directory) or above it.

    Raises:
        ConfigError: there is none up to the root.
    """
    here = Path(start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise ConfigError(
        f"no {FILE_NAME} in {here} or above it; name one with --config, or run 'labeling init DIR'"
    )
