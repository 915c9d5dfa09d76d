"""What the store's books say of a sample rule: the same as of its label rule.

Always holds: who owns an hour of a sample, how far its ``F`` has come and which hours are complete
follows its label rule, in the same commit; so views, ownership and retention need not know what a
sample is. A sample that begins on a store whose stream has published label rows is the stream's
from the first whole hour on that it may make whole; earlier hours are replay's.

Not promised: that the books of a rule that nobody publishes any more go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import polars as pl

from labeling.engine.watermark import NEVER
from labeling.errors import StoreError
from labeling.io.store import lookup, views
from labeling.io.store.live_tables import WATERMARKS
from labeling.io.store.ownership import REPLAY, STREAM, streams_of
from labeling.io.store.repairs import Cost, Repaired, repaired_of
from labeling.model.event import TS
from labeling.model.sample import SampleRule
from labeling.model.table import table_of

if TYPE_CHECKING:
    from labeling.io.store.commit import Commit
    from labeling.io.store.database import Database
    from labeling.io.store.schema import Table

_HOUR_MS: Final = 3_600_000
_HOUR: Final = timedelta(hours=1)


def begin(commit: Commit, sample: SampleRule) -> None:
    """Make the table of a sample rule, unless it is there, and say from when on it is the stream's.

    Called for each publication, before anything of it is a sample.

    Raises:
        StoreError: the version is known with another digest, or its name is taken.
    """
    if lookup.known(commit.database, sample.table):
        return
    views.register(commit.database, sample.table, commit.number)
    _make_status(commit.database, sample)
    _follow_stream(commit, sample, _first_whole(commit, sample))


def follow(commit: Commit, sample: SampleRule) -> None:
    """Bring ``streams``, ``watermarks`` and ``repairs`` to what they say of the label rule."""
    begin(commit, sample)
    labels = sample.labels
    repaired = repaired_of(commit.database.frame)
    mine, theirs = repaired.get(sample.key), repaired.get(labels.key)
    if theirs is not None and theirs.f_ms is not None:
        if mine is None or mine.f_ms != theirs.f_ms:
            # Commit 0: what its hours say of features is noted hour by hour.
            told = Repaired(theirs.f_ms, 0, Cost())
            commit.set_repaired(sample.table, told, labels.looks_ahead_ms)
        return
    _follow_stream(commit, sample, None)
    marks = commit.database.frame(
        "SELECT shard, kind, f_ms FROM watermarks WHERE kind = 'rule' AND name = ?", [labels.key]
    )
    commit.set_watermarks(marks.with_columns(name=pl.lit(sample.key)).select(*_names(WATERMARKS)))


def note_hours(
    commit: Commit,
    sample: SampleRule,
    complete: Mapping[datetime, bool],
    through_ts: datetime | None,
    published_by: str,
) -> None:
    """Note hours as those of the label rule have just been noted."""
    if published_by == STREAM:
        stream = streams_of(commit.database.frame).by_rule.get(sample.key)
        complete = {h: c for h, c in complete.items() if stream is not None and stream.began(h)}
    labels = table_of(sample.labels)
    noted = commit.database.frame(
        "SELECT max(archive_commit) AS read FROM hours WHERE rule = ? AND version = ? "
        "AND commit = ?",
        [labels.name, labels.version, commit.number],
    )["read"]
    commit.set_hours(
        sample.table,
        complete,
        archive_commit=noted.item() or 0,
        through_ts=through_ts,
        published_by=published_by,
    )


def healed(db: Database, sample: SampleRule, rows: pl.DataFrame) -> pl.Series:
    """Whether each row is of an hour whose samples replay has made, of all features.

    Args:
        db: the store's file.
        sample: whose hours.
        rows: with ``anchor_ts``.
    """
    hours = healed_hours(db, sample)
    if hours.is_empty():
        return pl.repeat(value=False, n=rows.height, dtype=pl.Boolean(), eager=True)
    at = rows["anchor_ts"].dt.truncate("1h")
    return at.is_in(hours.implode())


def healed_hours(db: Database, sample: SampleRule) -> pl.Series:
    """The hours whose samples replay has made."""
    return db.frame(
        "SELECT hour FROM hours WHERE rule = ? AND version = ? AND published_by = ?",
        [sample.name, sample.version, REPLAY],
    )["hour"].cast(TS)


def is_made(commit: Commit, sample: SampleRule, hour: datetime) -> bool:
    """Whether replay has made the samples of an hour, and nothing is left for it to do.

    Asked of rules that repairs publish: they note an hour anew for each late event. What they have
    published of it in this commit has been heard, and has seen all features.
    """
    db, labels = commit.database, table_of(sample.labels)
    repaired = repaired_of(db.frame).get(sample.labels.key)
    noted = db.frame(
        "SELECT commit FROM hours WHERE rule = ? AND version = ? AND hour = ? "
        "AND published_by = ? AND complete",
        [sample.name, sample.version, hour, REPLAY],
    )
    if repaired is None or repaired.f_ms is None or noted.is_empty():
        return False
    # Label rows of other commits since then were published where no sample rule was declared.
    since = "commit > ? AND commit < ? AND anchor_ts >= ? AND anchor_ts < ?"
    unheard = db.frame(
        f'SELECT 1 FROM "{labels.table}" WHERE {since} UNION ALL '
        f"SELECT 1 FROM retracted WHERE rule = ? AND version = ? AND {since} LIMIT 1",
        [
            *(given := [noted.item(), commit.number, hour, hour + _HOUR]),
            *(labels.name, labels.version),
            *given,
        ],
    )
    return unheard.is_empty() and not newer_features(db, sample, hour)


def newer_features(db: Database, sample: SampleRule, hour: datetime) -> bool:
    """Whether features of about an hour were archived after its samples had been noted."""
    files = db.frame(
        "SELECT 1 FROM feature_files f, hours h WHERE f.source = ? AND h.rule = ? "
        "AND h.version = ? AND h.hour = ? AND f.max_archived > h.commit "
        "AND epoch_ms(f.max_ts) >= epoch_ms(h.hour) - ? "
        "AND epoch_ms(f.min_ts) < epoch_ms(h.hour) + 3600000 + ? LIMIT 1",
        [
            *(sample.features.source, sample.name, sample.version, hour),
            *(sample.features.within_ms, sample.served_after_ms),
        ],
    )
    return not files.is_empty()


def outlived(commit: Commit, sample: SampleRule, rows: pl.DataFrame) -> bool:
    """Whether samples of the hours of some rows are there though no label row was.

    So it is after a retention that keeps samples longer than label rows.

    Args:
        commit: in which the rows came.
        sample: of the rows.
        rows: new label rows, with ``anchor_ts``.
    """
    db, of_hour = commit.database, "first_commit < ? AND anchor_ts >= ? AND anchor_ts < ? LIMIT 1"
    for hour in rows["anchor_ts"].dt.truncate("1h").unique().sort():
        given = [commit.number, hour, hour + _HOUR]
        tables = (table_of(sample.labels).table, sample.table.table)
        labels, samples = (db.frame(f'SELECT 1 FROM "{t}" WHERE {of_hour}', given) for t in tables)
        if labels.is_empty() and not samples.is_empty():
            return True
    return False


def passed_ms(db: Database, key: str) -> int | None:
    """``F`` of a rule, epoch ms; None where neither a stream nor a repair publishes it."""
    stream = streams_of(db.frame).by_rule.get(key)
    if stream is not None:
        return stream.f_ms
    repaired = repaired_of(db.frame).get(key)
    return None if repaired is None else repaired.f_ms


def _first_whole(commit: Commit, sample: SampleRule) -> int | None:
    """Epoch ms: the first hour whose rows a sample that begins now hears all; None: every hour."""
    labels = table_of(sample.labels)
    if not lookup.known(commit.database, labels):
        return None
    older = commit.database.frame(
        f'SELECT 1 FROM "{labels.table}" WHERE first_commit < ? LIMIT 1', [commit.number]
    )
    f_ms = passed_ms(commit.database, sample.labels.key)
    # Of an anchor that F has not passed no row has been published.
    return None if older.is_empty() or f_ms is None else -(-f_ms // _HOUR_MS) * _HOUR_MS


def _follow_stream(commit: Commit, sample: SampleRule, since_ms: int | None) -> None:
    """Note what the stream owns of a sample: what it owns of its label rule, from then on."""
    streams = streams_of(commit.database.frame).by_rule
    theirs, mine = streams.get(sample.labels.key), streams.get(sample.key)
    if theirs is None:
        return
    own = NEVER if mine is None else mine.since_ms
    since = max(theirs.since_ms, own, NEVER if since_ms is None else since_ms)
    if mine is not None and (mine.since_ms, mine.settle_ms) == (since, theirs.settle_ms):
        return
    at = None if since == NEVER else since
    row = {
        "rule": [sample.name],
        "version": [sample.version],
        "since_ts": pl.Series([at], dtype=pl.Int64).cast(TS),
        "settle_ms": pl.Series([theirs.settle_ms], dtype=pl.Int64),
    }
    commit.set_streams(pl.DataFrame(row))


def _make_status(db: Database, sample: SampleRule) -> None:
    """The view of how many samples of each hour were joined: clause S12.

    Raises:
        StoreError: its name is taken.
    """
    name = f"{sample.name}_status"
    taken = db.frame(
        "SELECT rule FROM rules WHERE rule = $1 "
        "UNION ALL SELECT table_name FROM duckdb_tables() WHERE table_name = $1",
        [name],
    )
    if taken.height:
        raise StoreError(
            f"sample rule {sample.name}: the store already has a table or rule named {name}, which "
            "tells how many samples are joined; give one of them another name"
        )
    # Whole milliseconds: other tools' sessions may lack what truncates a TIMESTAMPTZ.
    db.run(
        f'CREATE OR REPLACE VIEW "{name}" AS '
        "SELECT to_timestamp(epoch_ms(anchor_ts) // 3600000 * 3600) AS hour, rule_version, "
        f'status, count(*) AS rows, count(*) FILTER ("{sample.label}") AS positives '
        f'FROM "{sample.name}" GROUP BY ALL ORDER BY ALL'
    )


def _names(table: Table) -> list[str]:
    return [name for name in table.schema if name != "commit"]
