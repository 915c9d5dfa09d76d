"""Which hours of which tables there are to export, told by the store's markers.

Always holds: an hour is due when each UTC hour that it touches has a marker of the version that the
rule's views show of it; it is due again when one of those has a new marker, or another version is
shown.

Not promised: the first hour of a rule where the zone's hours begin inside UTC's: a part of it lies
before the first marker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from labeling.config.hints import nearest
from labeling.config.rules import Tree
from labeling.config.settings import Config
from labeling.errors import ConfigError
from labeling.io.store.database import Database
from labeling.io.store.views import Shown, shown
from labeling.products.markers.rows import markers_told
from labeling.products.offline.hours import LocalHour, covered
from labeling.products.offline.reading import Extent

_NEWEST: Final = (
    "SELECT * FROM markers WHERE rule = ? QUALIFY row_number() OVER "
    "(PARTITION BY version, hour ORDER BY revision DESC) = 1 ORDER BY hour, version"
)


@dataclass(frozen=True, slots=True)
class Version:
    """What the store knows of a version of a rule; ``window_ms`` None: a calendar window."""

    version: int
    digest: str
    window_ms: int | None


@dataclass(frozen=True)
class Due:
    """An hour of one table, as it stands in the store.

    Args:
        table: the folder's name: the rule's, ``<rule>_touches``, or ``<rule>_v<version>`` where
            the configuration names a version.
        hour: which.
        extent: its rows.
        versions: those that are shown in the hour.
        markers: of the UTC hours that it touches, by time: the newest of each, as JSON.
    """

    table: str
    hour: LocalHour
    extent: Extent
    versions: tuple[Version, ...]
    markers: tuple[Mapping[str, Any], ...]

    def of_same(self, told: Mapping[str, Any]) -> bool:
        """Whether a marker file tells of the same markers."""
        return _revisions(told.get("markers", ())) == _revisions(self.markers)


def _revisions(markers: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(m.get(name) for name in ("version", "hour", "revision")) for m in markers]


def chosen(config: Config, tree: Tree) -> tuple[tuple[str, int | None], ...]:
    """Names of the rules and samples to export, each with a version where one is named.

    Raises:
        ConfigError: the configuration names one that the tree has not.
    """
    there = [*tree.rules, *tree.samples]
    if not config.offline.rules:
        return tuple(dict.fromkeys((rule.name, None) for rule in there))
    keys = {rule.key for rule in there}
    names = {rule.name for rule in there}
    found = []
    for named in config.offline.rules:
        name, _, version = named.partition("@")
        if named not in keys | names:
            raise ConfigError(
                f"{config.path}: [offline] rules: {config.rules} has no {named!r}"
                f"{nearest(named, sorted(keys | names))}"
            )
        found.append((name, int(version) if version else None))
    return tuple(dict.fromkeys(found))


def due(db: Database, zone: str, rule: str, version: int | None) -> Iterator[Due]:
    """Every hour of a rule's tables that is covered by markers, exported or not, by time.

    Args:
        db: the store.
        zone: the IANA name of the hours' zone.
        rule: its name; without a table or markers there is nothing.
        version: whose rows; None: those that the views show.
    """
    known = db.frame("FROM rules WHERE rule = ?", [rule]).rows(named=True)
    versions = {r["version"]: Version(r["version"], r["digest"], r["window_ms"]) for r in known}
    parts = shown(db, rule) if version is None else [Shown(version, None, None)]
    parts = [part for part in parts if part.version in versions]
    if not parts:
        return
    of_touches = any(r["touch_only"] is not None for r in known)
    folder = rule if version is None else f"{rule}_v{version}"
    tables = [(folder, False), *([(f"{folder}_touches", True)] if of_touches else [])]
    newest = db.frame(_NEWEST, [rule])
    markers = {
        hour: marker
        for hour, marker in zip(newest["hour"], markers_told(newest), strict=True)
        if _shown_at(parts, hour) == marker["version"]
    }
    for hour in covered(zone, frozenset(markers)):
        seen = tuple(markers[utc] for utc in hour.utc)
        mine = tuple(versions[v] for v in sorted({m["version"] for m in seen}))
        for table, touches in tables:
            extent = Extent(rule, tuple(_cut(parts, hour)), touches, of_touches)
            yield Due(table, hour, extent, mine, seen)


def _shown_at(parts: Sequence[Shown], hour: datetime) -> int | None:
    for part in parts:
        if (part.from_ts is None or part.from_ts <= hour) and (
            part.to_ts is None or hour < part.to_ts
        ):
            return part.version
    return None


def _cut(parts: Sequence[Shown], hour: LocalHour) -> Iterator[Shown]:
    """What is shown in an hour, by time."""
    for low, high in hour.spans:
        for part in parts:
            begin = low if part.from_ts is None else max(low, part.from_ts)
            end = high if part.to_ts is None else min(high, part.to_ts)
            if begin < end:
                yield Shown(part.version, begin, end)


def instant(at: datetime) -> str:
    """A time of whole seconds as it is written in marker files.

    >>> instant(datetime(2026, 11, 20, 10, tzinfo=UTC))
    '2026-11-20T10:00:00Z'
    """
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
