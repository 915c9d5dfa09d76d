"""Positions and watermarks as the store keeps them, and the watermarks that follow from them.

Always holds: what is read back is what was written; a rule that is new starts where the sources
that feed it have come to.

Not promised: that a source which is no longer configured keeps its watermark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from labeling.config.features import carries
from labeling.config.settings import Config
from labeling.engine.watermark import Source, Watermarks
from labeling.io.store import Store
from labeling.live.items import Place, Position
from labeling.model.kinds import Rule

#: ``F`` by (kind, name), epoch ms.
Passed = Mapping[tuple[str, str], int]


def live_sources(config: Config) -> list[Source]:
    """The sources that a flow reads, as watermarks know them; partitions come with the items."""
    return [
        Source(
            s.name,
            s.max_disorder_ms,
            (),
            carries(s),
        )
        for s in config.sources
        if s.topics
    ]


def watermarks_of(
    config: Config,
    rules: Sequence[Rule],
    positions: Mapping[Place, Position],
    passed: Passed,
    waits: Mapping[str, frozenset[str]],
) -> Watermarks:
    """The watermarks of a shard, from its positions and ``F`` as committed.

    ``waits``: of ``labeling.config.features.waits_of``.
    """
    sources = live_sources(config)
    names = {s.name for s in sources}
    mine = {p: at for p, at in positions.items() if p.source in names}
    return Watermarks.resume(
        sources,
        rules,
        {(place.source, place.name): at.mark_ms for place, at in mine.items()},
        [(place.source, place.name) for place, at in mine.items() if at.idle],
        {name: f for (_, name), f in passed.items()},
        waits,
    )


def position_rows(positions: Mapping[int, Mapping[Place, Position]]) -> pl.DataFrame:
    """Rows of the store's ``positions`` but ``commit``."""
    rows = [
        (*place, shard, at.next_offset, at.mark_ms, at.idle, at.topic_id)
        for shard, places in positions.items()
        for place, at in places.items()
    ]
    names = ("source", "cluster", "topic", "partition", "shard")
    schema = [*names, "next_offset", "mark_ms", "idle", "topic_id"]
    return pl.DataFrame(rows, schema=schema, orient="row", infer_schema_length=None)


def read_positions(store: Store) -> dict[int, dict[Place, Position]]:
    """Every shard's positions."""
    found: dict[int, dict[Place, Position]] = {}
    for row in store.query("FROM positions ORDER BY ALL").iter_rows(named=True):
        place = Place(row["source"], row["cluster"], row["topic"], row["partition"])
        at = Position(row["next_offset"], row["mark_ms"], row["idle"], row["topic_id"])
        found.setdefault(row["shard"], {})[place] = at
    return found


def watermark_rows(passed: Mapping[int, Passed]) -> pl.DataFrame:
    """Rows of the store's ``watermarks`` but ``commit``."""
    rows = [(shard, *name, f) for shard, marks in passed.items() for name, f in marks.items()]
    schema = ["shard", "kind", "name", "f_ms"]
    return pl.DataFrame(rows, schema=schema, orient="row", infer_schema_length=None)


def read_passed(store: Store) -> dict[int, dict[tuple[str, str], int]]:
    """Every shard's ``F`` of sources and rules."""
    found: dict[int, dict[tuple[str, str], int]] = {}
    for row in store.query("FROM watermarks ORDER BY ALL").iter_rows(named=True):
        found.setdefault(row["shard"], {})[row["kind"], row["name"]] = row["f_ms"]
    return found
