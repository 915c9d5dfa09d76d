"""Where a run begins: what the store says of the last one.

Always holds: a run goes on exactly where the last commit stands, whatever ended the run before; an
archive without its store, a rule that changed under its version, and another number of shards
after a crash are refused with the way out.

Not promised: that a file written and not named by a commit still exists after the start.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

import polars as pl

from labeling.config.settings import Config
from labeling.engine.watermark import NEVER, Watermarks
from labeling.errors import StoreError
from labeling.io.archive import Archive, ArchiveFile
from labeling.io.feature_archive import archives
from labeling.io.shelf import named
from labeling.io.store import Store
from labeling.io.swapping import lying
from labeling.live.books import (
    Passed,
    live_sources,
    position_rows,
    read_passed,
    read_positions,
    watermark_rows,
    watermarks_of,
)
from labeling.live.features import recent_files
from labeling.live.items import Place, Position
from labeling.live.reach import files_reached
from labeling.model.kinds import Rule
from labeling.model.table import table_of

_HOUR_MS: Final = 3_600_000
#: Rule key to what its watermark waits for.
Waits = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Resume:
    """What a run starts from.

    ``since_ms``: by rule key, the first anchor time that the stream owns. ``positions`` and
    ``passed`` (``F`` by (kind, name)): by shard. ``compared_ms``: by rule key; rows of points
    before it may be published although they come as new, after a change of shards. ``files``:
    those of the archive that can hold an event that still matters. ``features``: by source those
    of features that can hold a record whose repeat is not too late. ``waits``: by rule key what its
    watermark waits for beside what it reads.
    """

    run: int
    store_id: str
    shards: int
    since_ms: Mapping[str, int]
    positions: Mapping[int, Mapping[Place, Position]]
    passed: Mapping[int, Passed]
    compared_ms: Mapping[str, int]
    files: tuple[ArchiveFile, ...]
    features: Mapping[str, tuple[ArchiveFile, ...]] = field(default_factory=dict)
    waits: Waits = field(default_factory=dict)


def resume(
    store: Store, config: Config, rules: Sequence[Rule], waits: Waits | None = None
) -> Resume:
    """Read where the last run ended, and note what this one owns.

    Args:
        store: open for writing.
        config: the configuration.
        rules: those that are streamed.
        waits: what their watermarks wait for beside what they read
            (``labeling.config.features.waits_of``).

    Raises:
        StoreError: a rule changed under its version, the number of shards after a crash, or an
            archive whose store is not this one.
    """
    waits = waits or {}
    _refuse_lost(store, config)
    for rule in rules:
        store.hours(table_of(rule))  # refuses a changed digest
    shards = config.live.shards
    positions = read_positions(store)
    passed: dict[int, Passed] = dict(read_passed(store))
    compared = {r.key: NEVER for r in rules}
    if not passed:
        passed = dict.fromkeys(range(shards), _imported(store, config, rules))
    if set(passed) != set(range(shards)):
        _refuse_uneven(positions, len(passed), shards)
        highest = {name: max(p.get(name, NEVER) for p in passed.values()) for name in passed[0]}
        compared |= {r.key: highest.get(("rule", r.key), NEVER) for r in rules}
        lowest = {name: min(p.get(name, NEVER) for p in passed.values()) for name in passed[0]}
        positions = dict.fromkeys(range(shards), positions.get(0, {}))
        passed = dict.fromkeys(range(shards), lowest)
    marks = {
        n: watermarks_of(config, rules, positions.get(n, {}), p, waits) for n, p in passed.items()
    }
    since = _since(store, rules, marks.values())
    with store.commit(f"start of run {store.run}") as commit:
        commit.forget_positions()
        commit.set_positions(position_rows(positions))
        commit.set_watermarks(watermark_rows(passed))
        commit.set_streams(_stream_rows(rules, since, config.lateness_ms))
    return Resume(
        store.run,
        store.store_id,
        shards,
        since,
        positions,
        passed,
        compared,
        files_reached(store, rules, config.lateness_ms, marks.values()),
        recent_files(store, config, marks.values()),
        waits,
    )


def follow(
    store: Store, config: Config, rules: Sequence[Rule], run: int, waits: Waits | None = None
) -> Resume:
    """What ``resume`` gave the process that holds the store, as read by another process.

    Args:
        store: spoken to over its endpoint.
        config: the same as there.
        rules: likewise.
        run: the number of the run, as the live file tells it.
        waits: as there.
    """
    waits = waits or {}
    positions = read_positions(store)
    passed: dict[int, Passed] = dict(read_passed(store))
    marks = {
        n: watermarks_of(config, rules, positions.get(n, {}), p, waits) for n, p in passed.items()
    }
    return Resume(
        run=run,
        store_id=store.store_id,
        shards=len(passed),
        since_ms=_since(store, rules, marks.values()),
        positions=positions,
        passed=passed,
        compared_ms={},
        files=files_reached(store, rules, config.lateness_ms, marks.values()),
        features=recent_files(store, config, marks.values()),
        waits=waits,
    )


def _imported(store: Store, config: Config, rules: Sequence[Rule]) -> Passed:
    """``F`` before the first batch of a store: what was imported has been read."""
    newest = [int(f.max_ts.timestamp() * 1000) + 1 for f in store.files()]
    ends = [int(e.timestamp() * 1000) for e in store.source_ends().values() if e is not None]
    mark = max([*newest, *ends], default=NEVER) if newest else NEVER
    names = [("source", s.name) for s in live_sources(config)]
    return dict.fromkeys([*names, *(("rule", r.key) for r in rules)], mark)


def _refuse_lost(store: Store, config: Config) -> None:
    """A store that names no file beside an archive of another: that one was lost.

    Raises:
        StoreError: says so, and what to do.
    """
    for archive in archives(config):
        if named(store, archive):
            continue
        foreign = sum(file.store_id != store.store_id for file in lying(archive.root))
        if foreign:
            _refuse_archive(store, archive, foreign)


def _refuse_archive(store: Store, archive: Archive, foreign: int) -> NoReturn:
    raise StoreError(
        f"the store {store.path} names no archive file, but {archive.root} holds {foreign} "
        "of another store: restore that store; or name another folder in `archive =`; or move "
        "the folder away and read the topics again from their start"
    )


def _refuse_uneven(
    positions: Mapping[int, Mapping[Place, Position]], before: int, now: int
) -> None:
    """Another number of shards needs all of them at the same positions, as a clean stop leaves.

    Raises:
        StoreError: they are not.
    """
    stands = {
        frozenset((place, at.next_offset) for place, at in shard.items())
        for shard in positions.values()
    }
    if len(stands) > 1:
        raise StoreError(
            f"the flow was running with {before} shards and did not stop cleanly: start it once "
            f"with shards = {before}, stop it with SIGTERM, then start it with {now}"
        )


def _since(store: Store, rules: Sequence[Rule], marks: Collection[Watermarks]) -> dict[str, int]:
    """From when on the stream owns each rule: as noted, or the first whole hour from here."""
    noted = {
        f"{row['rule']}@{row['version']}": row["since_ts"]
        for row in store.query("FROM streams").iter_rows(named=True)
    }
    since = {}
    for rule in rules:
        if rule.key in noted:
            at = noted[rule.key]
            since[rule.key] = NEVER if at is None else int(at.timestamp() * 1000)
        else:
            mark = max(m.of_rule(rule) for m in marks)
            since[rule.key] = NEVER if mark == NEVER else -(-mark // _HOUR_MS) * _HOUR_MS
    return since


def _stream_rows(
    rules: Sequence[Rule], since_ms: Mapping[str, int], lateness_ms: int
) -> pl.DataFrame:
    at = [None if since_ms[r.key] == NEVER else since_ms[r.key] for r in rules]
    return pl.DataFrame(
        {
            "rule": [r.name for r in rules],
            "version": [r.version for r in rules],
            "since_ts": pl.Series(at, dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")),
            "settle_ms": [r.looks_ahead_ms + lateness_ms for r in rules],
        }
    )
