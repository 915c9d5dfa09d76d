"""A store whose commits make samples, with features in an archive of their own.

Always holds: commits, listeners, lookups and files are the real ones.

Not promised: a flow. What shards would make is given: states of label rows, and features judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import polars as pl

from labeling import Event, Features, LabelRule, SampleRule, count, happened
from labeling.config.rules import Tree
from labeling.config.settings import Config, parse_config
from labeling.engine.changes import changes, empty_stored
from labeling.engine.first import first_changes
from labeling.engine.keys import text_key, user_key
from labeling.io.feature_archive import feature_archive
from labeling.io.store import Commit, Store
from labeling.io.store.listener import Listener, Several
from labeling.model.event import TS
from labeling.model.table import ROW_KEY, RuleTable, table_of
from labeling.products.context import Context
from labeling.products.samples.maker import SampleMaker
from labeling.products.samples.recount import differences
from tests.model.samples import Declared, Key, Row, Samples, Served, Told

HOUR: Final = timedelta(hours=1)
T0: Final = datetime(2026, 11, 20, 10, tzinfo=UTC)
T0_MS: Final = int(T0.timestamp() * 1000)
MINUTE: Final = 60_000
LABELS: Final = LabelRule(
    name="shown",
    anchor=Event("show"),
    match=("user_id", "item_id"),
    window="30m",
    early=("1m",),
    labels={"clicked": happened("click"), "clicks": count("click")},
    carry=("request_id", "item_id"),
)
SAMPLES: Final = SampleRule(
    name="shown_samples",
    labels=LABELS,
    label="clicked",
    features=Features("ranker", within="10m"),
    negatives=0.5,
    weight=pl.col("clicks") * 0.25 + 1,
)
TABLE: Final = table_of(LABELS)
STATE: Final = {**TABLE.schema, "present": pl.Boolean(), "point_ts": TS, "reason": pl.String()}
#: A state of a label row: its key, its values (None: it has none), and the reason.
State = tuple[Key, Row | None, str]


def hashed(text: str) -> int:
    """xxh3_64 of a text."""
    return int(pl.select(text_key(pl.lit(text))).item())


def declared(rule: SampleRule = SAMPLES) -> Declared:
    """The rule as the oracle takes it."""
    return Declared(
        name=rule.name,
        label=rule.label,
        within_ms=10 * MINUTE,
        first_delay_ms=MINUTE,
        kept_parts=round(rule.negatives * 10**9),
        weight=lambda row: 1_000_000 + 250_000 * row["clicks"],
        hashed=hashed,
    )


@dataclass
class Heard(Listener):
    """Keeps every change of samples in the order in which it was published."""

    table: RuleTable
    open: list[Told] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    passes: list[tuple[int, int]] = field(default_factory=list)

    def begin(self) -> None:
        """Forget what was not committed."""
        self.open = []

    def publish(self, commit: Commit, table: RuleTable, changes: pl.DataFrame) -> None:
        """Keep changes."""
        del commit
        if table == self.table:
            self.open += [_told(row) for row in changes.iter_rows(named=True)]

    def publish_first(
        self, commit: Commit, table: RuleTable, rows: pl.DataFrame, updates: pl.DataFrame
    ) -> None:
        """Keep the changes that they are."""
        if table == self.table:
            self.publish(commit, table, first_changes(table, rows, updates))

    def passed(self, commit: Commit, table: RuleTable, before_ms: int, f_ms: int) -> None:
        """Keep how ``F`` of the samples goes on."""
        del commit
        if table == self.table:
            self.passes.append((before_ms, f_ms))

    def committed(self) -> None:
        """They stay."""
        self.told += self.open


class Drive:
    """A store with a sample rule, in a folder of its own.

    Args:
        folder: empty.
        rule: of samples of ``LABELS``.
    """

    def __init__(self, folder: Path, rule: SampleRule = SAMPLES) -> None:
        self.rule = rule
        self.config = config(folder)
        self.archive = feature_archive(self.config, self.config.source("ranker"))
        self.context = Context(self.config, Tree((LABELS,), (rule,)), lambda *_: None)
        self.store = Store.open(self.config.store)
        self.heard = Heard(rule.table)
        self.store.listener = Several((SampleMaker(self.context), self.heard))
        self._files = 0

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self.store.close()

    def commit(
        self, states: Sequence[State], served: Sequence[Served] = (), *, fails: bool = False
    ) -> None:
        """One commit as the stream makes it: features, rows, then those whom late ones reach."""
        with self.store.commit("stream") as commit:
            self.serve(commit, served)
            known = {_key(row) for row in self.store.current(TABLE, _states(states)).to_dicts()}
            # Of a key that is new its first state is inserted without a look.
            begun = {key: i for i, (key, *_) in reversed([*enumerate(states)])}
            first = [i for key, i in begun.items() if key not in known and states[i][1]]
            if first:
                rows = (
                    _states([states[i] for i in first])
                    .drop("present")
                    .with_columns(revision=pl.lit(1, pl.Int32))
                )
                commit.publish_first(TABLE, rows, pl.DataFrame())
            self.publish(commit, [s for i, s in enumerate(states) if i not in first])
            late = [s for s in served if s.arrival == "late"]
            commit.features("ranker", self.archive_frame(late))
            if fails:
                raise RuntimeError("a commit that fails at its end")

    def publish(self, commit: Commit, states: Sequence[State]) -> None:
        """States of label rows through ``changes``."""
        rows = _states(states)
        made = changes(self.store.current(TABLE, rows), rows, ROW_KEY)
        if made.height:
            commit.publish(TABLE, made)

    def serve(self, commit: Commit, served: Sequence[Served]) -> None:
        """Archive features."""
        if served:
            self._files += 1
            frame = self.archive_frame(served)
            file = self.archive.write_tail(frame, f"tail-{self._files}")
            commit.add_feature_files("ranker", [file])

    def archive_frame(self, served: Sequence[Served]) -> pl.DataFrame:
        """Features with the columns of their archive; the key is given, not made."""
        known = _events(served).with_columns(
            user_key(),
            source=pl.lit("ranker"),
            arrival=pl.Series([s.arrival for s in served], dtype=pl.String),
            ctr=pl.lit(0.5),
            features_key=pl.Series([s.features_key for s in served], dtype=pl.Int64),
        )
        return known.select(
            (pl.col(c) if c in known.columns else pl.lit(None).alias(c)).cast(kind)
            for c, kind in self.archive.schema.items()
        )

    def replay(self, hour: datetime, states: Sequence[State] = ()) -> None:
        """Publish an hour as replay does: into an empty one all states, else differences."""
        with self.store.commit("replay") as commit:
            if self.store.stored_between(TABLE, hour, hour + HOUR).is_empty():
                rows = _states(states)
                made = changes(empty_stored(TABLE.schema, ROW_KEY), rows, ROW_KEY)
                last = made.sort("revision").unique(ROW_KEY, keep="last", maintain_order=True)
                there = last.filter(pl.col("new").is_not_null()).drop("point_ts", "reason")
                ended = there.select(*ROW_KEY, "revision", "new").unnest("new")
                commit.publish_first(TABLE, ended, made.filter(pl.col("kind") != "insert"))
            else:
                self.publish(commit, states)
            commit.set_hours(TABLE, {hour: True}, archive_commit=self.store.last_commit)

    def rows(self) -> dict[Key, Row]:
        """The current samples."""
        found = self.store.rows_between(self.rule.table, T0 - 24 * HOUR, T0 + 24 * HOUR)
        return {
            _key(row): _values({c: row[c] for c in self.rule.table.values})
            for row in found.iter_rows(named=True)
        }

    def differences(self) -> pl.DataFrame:
        """What counting anew would change, of the hours around ``T0``."""
        hours = [T0, T0 + HOUR]
        return differences(self.store, self.context, self.rule, hours)


def config(folder: Path) -> Config:
    """A configuration with a source of features."""
    source = {"name": "ranker", "kind": "features", "files": "f", "features": {"ctr": "f64"}}
    return parse_config({"source": [source], "store": "s.duckdb"}, folder / "labeling.toml")


def check(drive: Drive, samples: Samples) -> None:
    """The store holds the oracle's rows, and told its changes, each key's in their order."""
    assert drive.rows() == samples.rows
    assert by_key(drive.heard.told) == by_key(samples.told)
    for told in by_key(drive.heard.told).values():
        assert [t.revision for t in told] == list(range(1, len(told) + 1))


def by_key(told: Iterable[Told]) -> dict[Key, list[Told]]:
    """The changes of each key."""
    found: dict[Key, list[Told]] = {}
    for one in told:
        found.setdefault(one.key, []).append(one)
    return found


def _key(row: Mapping[str, Any]) -> Key:
    return (row["user_id"], _ms(row["anchor_ts"]), row["anchor_id"])


def _states(states: Sequence[State]) -> pl.DataFrame:
    """States as ``changes`` takes them: a point for each, in their order."""
    rows = [
        {
            **dict(zip(ROW_KEY, (key[0], _at(key[1]), key[2]), strict=True)),
            **(values or {}),
            "present": values is not None,
            "point_ts": _at(key[1] + MINUTE + place),
            "reason": reason,
        }
        for place, (key, values, reason) in enumerate(states)
    ]
    return pl.DataFrame(rows, schema=STATE)


def _events(served: Sequence[Served]) -> pl.DataFrame:
    """Features as events: S2."""
    columns = {
        "user_id": [s.request_id for s in served],
        "event_id": [s.item_id for s in served],
        "event_ts": [_at(s.served_ms) for s in served],
        "request_id": [s.request_id for s in served],
        "item_id": [s.item_id for s in served],
        "event_type": ["features"] * len(served),
    }
    text = pl.String()
    return pl.DataFrame(columns, schema={c: TS if c == "event_ts" else text for c in columns})


def _told(row: Mapping[str, Any]) -> Told:
    old, new = (None if row[side] is None else _values(row[side]) for side in ("old", "new"))
    return Told(_key(row), row["revision"], row["kind"], row["reason"], old, new)


def _values(row: Mapping[str, Any]) -> Row:
    served = row["served_ts"]
    return {**row, "served_ts": None if served is None else _ms(served)}


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
