"""What must be true of a store that a flow wrote, whatever happened on the way.

Always holds: rows are held to ``evaluate`` over the whole archive at once, without the stream's
memory, batches or watermarks but the last, and without the steps of repairs: of them only up to
where the books say that they came; events to the topics, record by record; the change topic to the
rows.

Not promised: that ``evaluate`` is right. The model of tests/model says so elsewhere.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
from polars.testing import assert_frame_equal

from labeling.engine.evaluate import evaluate
from labeling.engine.points import points
from labeling.engine.watermark import FOREVER, NEVER
from labeling.io.archive import Archive
from labeling.io.feature_archive import feature_archives
from labeling.io.store import Store
from labeling.io.store.repairs import repaired_of
from labeling.model.event import IDENTITY, ORIGIN_SCHEMA, TS
from labeling.model.kinds import Rule
from labeling.model.table import ROW_KEY, RuleTable, table_of
from tests.live_project import LiveProject

#: Columns that say when something was written, not what.
_WHEN: Final = ("commit", "first_commit", "archive_commit")
_BOOKS: Final = ("label_changes", "retracted", "hours", "rejects", "conflicts", "watermarks")


def check(project: LiveProject, *, whole: bool = True) -> None:
    """Hold a store to its archive and its positions.

    Args:
        project: whose flow has ended, in whatever way.
        whole: it ended cleanly: nothing lies about, and all shards stand at the same positions.
    """
    with Store.open(project.config.store, read_only=True) as store:
        archive = Archive(project.config.archive, project.config.columns).read(store.files())
        every = _with_features(project, store, archive)
        _check_counts(store, every)
        _check_positions(store, every, whole=whole)
        if whole:
            for rule in project.loaded_rules():
                check_rows(store, rule, archive)
    if whole:
        _check_folders(project)


def _with_features(project: LiveProject, store: Store, archive: pl.DataFrame) -> pl.DataFrame:
    """Events and features together, by what both say: identity, origin and arrival."""
    common = [*IDENTITY, *ORIGIN_SCHEMA]
    frames = [archive.select(common)]
    for source, features in feature_archives(project.config).items():
        frames.append(features.read(store.feature_files(source)).select(common))
    return pl.concat(frames)


def check_rows(store: Store, rule: Rule, archive: pl.DataFrame) -> None:
    """A rule's rows are those of the archived events that count, at the last points.

    Those that were not too late count for a stream; for a repair all that it has read.
    """
    repaired = repaired_of(store.query).get(rule.key)
    if repaired is not None and repaired.f_ms is not None:
        wanted = expected(rule, _read(archive, repaired.archive_commit), repaired.f_ms)
    else:
        healed = dict(
            store.query(
                f"SELECT hour, archive_commit FROM hours WHERE rule = '{rule.name}' "
                f"AND version = {rule.version} AND published_by = 'replay' AND complete"
            ).iter_rows()
        )
        streamed = expected(
            rule, archive.filter(pl.col("arrival") != "too_late"), _passed(store, rule)
        )
        hour = pl.col("anchor_ts").dt.truncate("1h")
        parts = [streamed.filter(~hour.is_in([*healed]))]
        for commit in sorted(set(healed.values())):
            rows = expected(rule, _read(archive, commit), FOREVER)
            parts.append(rows.filter(hour.is_in([h for h, c in healed.items() if c == commit])))
        wanted = pl.concat(parts)
    found = pl.DataFrame(schema=rule.row_schema)
    if table_of(rule).table in store.query("SELECT table_name FROM duckdb_tables()").to_series():
        found = store.query(f'FROM "{table_of(rule).table}"').select(list(rule.row_schema))
    assert_frame_equal(found.sort(rule.row_keys), wanted.sort(rule.row_keys))


def _read(archive: pl.DataFrame, commit: int) -> pl.DataFrame:
    """What a repair has read that read up to a commit: of one event what was archived first."""
    read = archive.filter(pl.col("archived") <= commit)
    return read.sort("archived", "topic", "partition", "offset").unique(IDENTITY, keep="first")


def expected(rule: Rule, archive: pl.DataFrame, passed_ms: int) -> pl.DataFrame:
    """The rows of archived events whose points lie before a watermark."""
    events = archive.select(c for c in rule.event_schema if c in rule.event_columns)
    asked = points(rule, events).filter(pl.col("point_ts").dt.epoch("ms") < passed_ms)
    rows = evaluate(rule, events, asked)
    last = rows.filter(pl.col("point_ts") == pl.col("point_ts").max().over(ROW_KEY))
    return last.filter("present").select(list(rule.row_schema))


def _passed(store: Store, rule: Rule) -> int:
    marks = store.query(f"SELECT f_ms FROM watermarks WHERE name = '{rule.key}'")["f_ms"]
    return min(marks.to_list(), default=NEVER)


def _check_counts(store: Store, archive: pl.DataFrame) -> None:
    """Law 5: the four outcomes add up, and are what lies in the archive and in ``rejects``."""
    assert store.query("SELECT bool_and(adds_up) FROM counts_total").item() in (True, None)
    names = ("rejected", "too_late", "accepted")
    sums = ", ".join(f"CAST(coalesce(sum({n}), 0) AS BIGINT)" for n in names)
    rejected, too_late, accepted = store.query(f"SELECT {sums} FROM counts").row(0)
    assert store.query("SELECT count(*) FROM rejects").item() == rejected
    assert archive.filter(arrival="too_late").height == too_late
    timely = archive.filter(pl.col("arrival") != "too_late")
    assert timely.height == accepted
    assert timely.select(IDENTITY).n_unique() == accepted


def _check_positions(store: Store, archive: pl.DataFrame, *, whole: bool) -> None:
    """Every record below its partition's position is counted once; none at or after it."""
    places = ("topic", "partition")
    read = store.query(
        "SELECT topic, partition, min(next_offset) AS low, max(next_offset) AS high "
        "FROM positions GROUP BY ALL ORDER BY ALL"
    )
    ends = archive.group_by(places).agg(last=pl.col("offset").max())
    beyond = ends.join(read, on=places, how="left").filter(pl.col("last") >= pl.col("high"))
    assert beyond.is_empty()
    assert archive.select(*places, "offset", "index").n_unique() == archive.height
    if whole:
        assert read.filter(pl.col("low") != pl.col("high")).is_empty()
        records = store.query("SELECT CAST(sum(records) AS BIGINT) FROM counts").item()
        gone = store.query("SELECT CAST(sum(to_offset - from_offset) AS BIGINT) FROM gaps").item()
        assert records == read["high"].sum() - (gone or 0)


def _check_folders(project: LiveProject) -> None:
    """No file is left that the store does not name, but of a compaction that the end cut off."""
    named = project.query(
        "SELECT name FROM archive_files UNION ALL "
        "SELECT 'features/' || source || '/' || name FROM feature_files ORDER BY name"
    )["name"].to_list()
    lying = set(project.parquet_files())
    assert lying >= set(named)
    assert not [name for name in lying.difference(named) if "/hour-" not in name]
    waiting = project.query("SELECT name FROM outbox ORDER BY name")["name"].to_list()
    outbox = project.config.store.with_name(project.config.store.name + ".outbox")
    assert sorted(p.name for p in outbox.glob("*")) == waiting


def check_produced(project: LiveProject, values: Sequence[bytes]) -> None:
    """Every event that was produced is archived, and nothing else."""
    told = Counter[tuple[Any, ...]]()
    for value in values:
        try:
            event = json.loads(value)
            told[event["user_id"], event["event_ts"], event["event_id"]] += 1
        except (ValueError, KeyError, TypeError):
            continue
    archived = project.archived().with_columns(pl.col("event_ts").dt.epoch("ms"))
    rejected = project.counts()["rejected"]
    there = set(archived.select(IDENTITY).iter_rows())
    assert there <= told.keys()
    assert len(told.keys() - there) <= rejected


def tables(project: LiveProject) -> Mapping[str, pl.DataFrame]:
    """Rows and books of a store in every column but the commits, in an order of their own."""
    names = [*_BOOKS, *(table_of(r).table for r in project.loaded_rules())]
    with Store.open(project.config.store, read_only=True) as store:
        frames = {name: store.query(f'FROM "{name}"') for name in names}
        frames["counts"] = store.query("FROM counts_total")
    # An hour's rows are counted when it is noted; what undoes some of them may have passed or not.
    undone = [r.name for r in project.loaded_rules() if r.window_ms < r.looks_ahead_ms]
    counted = pl.when(~pl.col("rule").is_in(undone)).then("rows").alias("rows")
    frames["hours"] = frames["hours"].with_columns(counted)
    return {
        name: (f := frame.drop(_WHEN, strict=False)).sort(f.columns)
        for name, frame in frames.items()
    }


def assert_same(project: LiveProject, clean: LiveProject) -> None:
    """Two flows over the same topics ended alike."""
    other = tables(clean)
    for name, frame in tables(project).items():
        try:
            assert_frame_equal(frame, other[name])
        except AssertionError as error:
            raise AssertionError(f"{name}: {frame}\n{other[name]}") from error


def check_consumer(project: LiveProject, topic: str) -> None:
    """A consumer that drops repeats by key and revision has the rows of the store."""
    held: dict[tuple[Any, ...], dict[str, Any]] = {}
    every = project.loaded_tables()
    keys = {table.name: table.keys for table in every}
    for _, value in project.consumed(topic):
        told = json.loads(value)
        key = (told["rule"], told["version"], *(told[c] for c in keys[told["rule"]]))
        known = held.get(key)
        assert known is None or told["revision"] <= known["revision"] + 1
        if known is None:
            assert told["revision"] == 1
        if known is None or told["revision"] == known["revision"] + 1:
            held[key] = told
    for table in every:
        check_held(project, table, [t for t in held.values() if t["rule"] == table.name])


def check_held(project: LiveProject, table: RuleTable, told: Sequence[dict[str, Any]]) -> None:
    """What a consumer holds of a rule or sample rule is what the store does, revisions too."""
    mine = [t for t in told if t["version"] == table.version and t["kind"] != "retract"]
    columns = [*table.keys, "revision", *table.values]
    rows = [{**{c: t[c] for c in (*table.keys, "revision")}, **t["new"]} for t in mine]
    times = [c for c, kind in table.schema.items() if kind == TS]
    schema = {**table.schema, **dict.fromkeys(times, pl.String()), "revision": pl.Int32()}
    held = pl.DataFrame(rows, schema=schema).with_columns(
        pl.col(times).str.to_datetime(time_unit="ms", time_zone="UTC")
    )
    stored = project.query(f'FROM "{table.table}"').select(columns)
    assert_frame_equal(held.select(columns).sort(table.keys), stored.sort(table.keys))
