"""A store whose samples are told to topics, and what was told, read back as a consumer reads it.

Always holds: commits, listeners, features and files beside the store are the real ones; what rows
became at each of their points is made up, and remembered in plain Python.

Not promised: brokers. What waits to be sent is read from the files that would be sent.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import polars as pl

from labeling import Event, Features, LabelRule, SampleRule, count, happened
from labeling.config.rules import Tree
from labeling.config.settings import parse_config
from labeling.engine.changes import changes
from labeling.engine.keys import user_key
from labeling.io.feature_archive import feature_archive
from labeling.io.store import Store
from labeling.io.store.listener import Several
from labeling.live.outbox import SUFFIX, Outbox
from labeling.model.event import TS
from labeling.model.table import ROW_KEY, table_of
from labeling.products.context import Context
from labeling.products.formats.topics import SampleTopics
from labeling.products.samples.maker import SampleMaker

MINUTE: Final = 60_000
T0: Final = datetime(2026, 11, 20, 10, tzinfo=UTC)
T0_MS: Final = int(T0.timestamp() * 1000)
POINTS: Final = (MINUTE, 10 * MINUTE, 30 * MINUTE)
FORMATS: Final = ("changes", "wait", "fnw", "delay_buckets")
LABELS: Final = LabelRule(
    name="shown",
    anchor=Event("show"),
    match=("user_id", "item_id"),
    window="30m",
    early=("1m", "10m"),
    labels={"clicked": happened("click"), "clicks": count("click")},
    carry=("request_id", "item_id"),
)
SAMPLES: Final = SampleRule(
    name="shown_samples",
    labels=LABELS,
    label="clicked",
    features=Features("ranker", within="10m"),
    negatives=0.5,
    weight=pl.col("clicks") * 0.5 + 1,
)
TABLE: Final = table_of(LABELS)
_STATE: Final = {**TABLE.schema, "point_ts": TS, "reason": pl.String(), "present": pl.Boolean()}
Key = tuple[str, datetime, str]


@dataclass
class Life:
    """A label row: when it was shown, and what was published of it, in that order."""

    key: Key
    served: bool
    #: (ms after the anchor of the point, clicked, clicks)
    said: list[tuple[int, bool, int]] = field(default_factory=list)

    def at(self, delay_ms: int) -> bool:
        """The label as published at a delay: the last word of a point up to it."""
        known = [clicked for point, clicked, _ in self.said if point <= delay_ms]
        return known[-1] if known else self.said[0][1]


class Telling:
    """A store, one topic for each format and encoding asked for, and the lives of its rows.

    Args:
        folder: empty.
        seed: of what happens.
        encoding: of all topics.
    """

    def __init__(self, folder: Path, seed: int = 0, encoding: str = "json") -> None:
        self.random = random.Random(seed)
        topics = [
            {"rule": SAMPLES.name, "topic": f, "format": f, "encoding": encoding} for f in FORMATS
        ]
        source = {"name": "ranker", "kind": "features", "files": "f", "features": {"ctr": "f64"}}
        data = {
            "source": [source], "store": "s.duckdb", "samples": topics,
            "cluster": {"main": {"bootstrap": "nowhere:1"}},
        }  # fmt: skip
        self.config = parse_config(data, folder / "labeling.toml")
        self.store = Store.open(self.config.store)
        outbox = Outbox(self.store, {}, None)
        context = Context(self.config, Tree((LABELS,), (SAMPLES,)), outbox.stage)
        self.topics = SampleTopics(context)
        self.store.listener = Several((SampleMaker(context), self.topics, outbox))
        self.archive = feature_archive(self.config, self.config.source("ranker"))
        self.lives: dict[Key, Life] = {}
        self.f_ms = T0_MS
        self._files = 0
        with self.store.commit("begin") as commit:
            since = {"rule": ["shown"], "version": [1], "settle_ms": [31 * MINUTE]}
            commit.set_streams(pl.DataFrame(since).with_columns(since_ts=pl.lit(T0).cast(TS)))

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def show(self, how_many: int, f_ms: int) -> None:
        """New rows, whose anchors ``F`` passes when it comes to ``f_ms``; some are served late."""
        for _ in range(how_many):
            at = self.random.randrange(self.f_ms - MINUTE, f_ms)
            number = len(self.lives)
            key = (f"u{number}", T0 + timedelta(milliseconds=max(at, T0_MS) - T0_MS), f"a{number}")
            self.lives[key] = Life(key, served=False)

    def step(self, f_ms: int, *, late: int = 0, fails: bool = False) -> None:
        """One commit: ``F`` goes to ``f_ms``, rows are published at the points between.

        Args:
            f_ms: where ``F`` goes.
            late: so many rows are corrected at the latest point that they have passed.
            fails: the transaction is rolled back at its end, and nothing has happened.
        """
        fresh, known = self._passing(f_ms)
        served, corrected = self._served(), self._corrected(f_ms, late)
        try:
            with self.store.commit("stream") as commit:
                marks = {"shard": [0], "kind": ["rule"], "name": ["shown@1"], "f_ms": [f_ms]}
                commit.set_watermarks(pl.DataFrame(marks))
                frame = self._features(served)
                if frame.height:
                    self._files += 1
                    file = self.archive.write_tail(frame, f"tail-{self._files}")
                    commit.add_feature_files("ranker", [file])
                if fresh:
                    first = _frame(fresh).drop("present")
                    first = first.with_columns(revision=pl.lit(1, pl.Int32))
                    commit.publish_first(TABLE, first, pl.DataFrame())
                for states in (known, corrected):
                    rows = _frame(states)
                    made = changes(self.store.current(TABLE, rows), rows, ROW_KEY)
                    if made.height:
                        commit.publish(TABLE, made)
                late_ones = frame.filter(pl.col("arrival") == "late")
                commit.features("ranker", late_ones)
                commit.passed(TABLE, self.f_ms, f_ms)
                if fails:
                    raise _Failed  # noqa: TRY301 - the transaction has to see it
        except _Failed:
            return
        for key, *said, _ in (*fresh, *known, *corrected):
            self.lives[key].said.append((said[0], said[1], said[2]))
        for life in served:
            life.served = True
        self.f_ms = f_ms

    def heal(self, hour: datetime, key: Key, *, clicked: bool) -> None:
        """A replay publishes an hour in which one row's label turns out otherwise."""
        with self.store.commit("replay") as commit:
            rows = _frame([(key, POINTS[-1], clicked, int(clicked), "replay")])
            made = changes(self.store.current(TABLE, rows), rows, ROW_KEY)
            commit.publish(TABLE, made)
            commit.set_hours(TABLE, {hour: True}, archive_commit=self.store.last_commit)
        self.lives[key].said.append((POINTS[-1], clicked, int(clicked)))

    # ---- what was told ------------------------------------------------------------------------

    def told(self, topic: str) -> list[dict[str, Any]]:
        """Every record of a topic as a consumer has it, in order."""
        files = self.store.query(
            f"SELECT name FROM outbox WHERE topic = '{topic}' ORDER BY commit, name"
        )["name"]
        folder = self.store.path.with_name(self.store.path.name + SUFFIX)
        values = [v for name in files for v in pl.read_parquet(folder / name)["value"]]
        if values and values[0].startswith(b"{"):
            return [json.loads(value) for value in values]
        frames = [pl.read_ipc_stream(BytesIO(value)) for value in values]
        return [row for frame in frames for row in frame.iter_rows(named=True)]

    # ---- what happens -------------------------------------------------------------------------

    def _passing(self, f_ms: int) -> tuple[list[Any], list[Any]]:
        """States at the points that ``F`` passes: first ones, and others."""
        fresh: list[Any] = []
        known: list[Any] = []
        for life in self.lives.values():
            anchor = _ms(life.key[1])
            passed = [p for p in POINTS if anchor + p < f_ms]
            new = [p for p in passed if anchor + p >= self.f_ms]
            # An anchor that comes late is published at its latest point.
            points = new if life.said or new == passed else passed[-1:]
            begun = bool(life.said)
            for point in points:
                clicked = self.random.random() < 0.4
                state = (life.key, point, clicked, int(clicked), "point")
                (known if begun else fresh).append(state)
                begun = True
        return fresh, known

    def _corrected(self, f_ms: int, late: int) -> list[Any]:
        """States of rows that a late event changes, at the latest point that has passed."""
        there = [life for life in self.lives.values() if life.said]
        chosen = self.random.sample(there, min(late, len(there)))
        found = []
        for life in chosen:
            point = max(p for p in POINTS if _ms(life.key[1]) + p < f_ms)
            clicked = self.random.random() < 0.5
            found.append((life.key, point, clicked, self.random.randrange(3) + clicked, "late"))
        return found

    def _served(self) -> list[Life]:
        """Rows whose features arrive now: of some soon, of some late, of some never."""
        waiting = [life for life in self.lives.values() if not life.served]
        return [life for life in waiting if self.random.random() < 0.5]

    def _features(self, served: list[Life]) -> pl.DataFrame:
        rows = [
            {
                "user_id": f"r-{life.key[0]}", "event_id": "i", "event_ts": life.key[1],
                "request_id": f"r-{life.key[0]}", "item_id": "i", "event_type": "features",
                "source": "ranker", "arrival": "late" if life.said else None,
                "ctr": int(life.key[0][1:]) / 8, "features_key": int(life.key[0][1:]),
            }
            for life in served
        ]  # fmt: skip
        schema = dict(self.archive.schema)
        frame = pl.DataFrame(rows, schema={c: schema[c] for c in schema if c != "user_key"})
        return frame.with_columns(user_key()).select(
            pl.col(c).cast(kind) for c, kind in schema.items()
        )


class _Failed(Exception):  # noqa: N818 - it is no error
    """The transaction is to be rolled back."""


def _frame(states: list[Any]) -> pl.DataFrame:
    """States of label rows as ``changes`` takes them."""
    rows = [
        {
            **dict(zip(ROW_KEY, key, strict=True)), "request_id": f"r-{key[0]}", "item_id": "i",
            "clicked": clicked, "clicks": clicks, "reason": reason, "present": True,
            "point_ts": key[1] + timedelta(milliseconds=point),
        }
        for key, point, clicked, clicks, reason in states
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=_STATE)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
