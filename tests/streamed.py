"""A store as a stream leaves it: the engine's ``step`` by hand, one commit for each batch.

Always holds: rows, archive, watermarks and ownership of a batch are one transaction, as in the
flow; what is archived lies in tail files in the order of arrival.

Not promised: more than one shard and one partition, or a restart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
from click.testing import Result

from labeling.engine.changes import changes
from labeling.engine.keys import user_key
from labeling.engine.step import start, step
from labeling.engine.watermark import NEVER, Item, Source, Watermarks
from labeling.io.archive import Archive, hour_start
from labeling.io.store import Commit, Store
from labeling.model.event import TS
from labeling.model.kinds import Rule
from labeling.model.table import table_of
from tests.import_project import CONFIG
from tests.replay_project import RULE, ReplayProject, same_modules

LATENESS_MS = 600_000
DISORDER_MS = 60_000
_HOUR_MS = 3_600_000
_SOURCE, _PARTITION = "app", "0"
_NAMES = {"id": "event_id", "ts": "event_ts", "type": "event_type", "user": "user_id"}
_MORE = {"item": "item_id", "slot": "position", "order": "order_id", "value": "value"}
_CLUSTER = '[cluster.main]\nbootstrap = "127.0.0.1:1"\n'


class StreamedProject(ReplayProject):
    """A project with a source of a topic, ``app``, and one of files, ``old``."""

    def __init__(self, folder: Path, more: str = "") -> None:
        super().__init__(folder, more)
        live = CONFIG[CONFIG.index("[[source]]") :].replace('files = "*.jsonl"', 'topics = ["t"]')
        text = (folder / "labeling.toml").read_text().replace('name = "app"', 'name = "old"')
        self.configure(text + live + _CLUSTER)

    @contextmanager
    def stream(self, *rules: Rule, since: Mapping[str, datetime] | None = None) -> Iterator[Stream]:
        """A stream into the store, as long as the block lasts."""
        config = self.config
        with Store.open(config.store) as store:
            yield Stream(store, Archive(config.archive, {}), rules or (RULE,), since or {})

    def verify(self, *args: str, from_: str = "2026-11-20T10", to: str = "2026-11-20T11") -> Result:
        """Run ``labeling verify``."""
        with same_modules():
            return self.command("verify", "--from", from_, "--to", to, *args)

    def sql(self, statement: str) -> None:
        """Tamper with the store."""
        with Store.open(self.config.store) as store:
            store._db.run(statement)  # noqa: SLF001 - no commit does what these tests need


class Stream:
    """A stream of one shard."""

    def __init__(
        self,
        store: Store,
        archive: Archive,
        rules: Sequence[Rule],
        since: Mapping[str, datetime],
    ) -> None:
        self.store = self._store = store
        self._archive, self._rules = archive, rules
        self._since = {key: int(at.timestamp() * 1000) for key, at in since.items()}
        source = Source(_SOURCE, DISORDER_MS, (_PARTITION,))
        self._marks = Watermarks.start((source,), rules)
        self._state = start(rules, lateness_ms=LATENESS_MS, since_ms=self._since)
        self._offsets = count()

    def take(self, *events: dict[str, Any]) -> None:
        """One batch, committed."""
        batch = self._frame(events)
        item = Item(_SOURCE, _PARTITION, batch, max(e["ts"] for e in events))
        before = self._marks
        self._marks, judged = before.judge(item, LATENESS_MS)
        self._state, out = step(self._rules, self._state, judged, self._marks)
        archived = pl.concat([out.accepted, out.too_late])
        frame = archived.with_columns(user_key(), archived=pl.lit(None, pl.Int64))
        with self._store.commit("stream") as commit:
            if frame.height:
                stem = f"{self._store.store_id}-{self._store.last_commit}"
                file = self._archive.write_tail(frame.select(list(self._archive.schema)), stem)
                commit.add_files([file])
            commit.append_late(archived.filter(pl.col("arrival") != "on_time"))
            self._note(commit)
            for rule in self._rules:
                rows = out.rows[rule.key].drop("fresh")
                table = table_of(rule)
                stored = self._store.current(table, rows)
                commit.publish(table, changes(stored, rows, table.keys, whole=table.whole))
                self._close(commit, rule, before.of_rule(rule))

    def _frame(self, events: Sequence[dict[str, Any]]) -> pl.DataFrame:
        schema = {n: t for n, t in self._archive.schema.items() if n not in ("user_key", "arrival")}
        names = _NAMES | _MORE
        rows = [{names[k]: v for k, v in e.items()} for e in events]
        origin = {"source": _SOURCE, "cluster": "main", "topic": "t", "partition": 0, "index": 0}
        full = [r | origin | {"offset": next(self._offsets)} for r in rows]
        made = pl.DataFrame(full, schema={**schema, "event_ts": pl.Int64()}, orient="row")
        return made.cast({"event_ts": TS})

    def _note(self, commit: Commit) -> None:
        """Watermarks, and whose the hours are."""
        marks = [
            *((0, "source", name, f) for name, f in self._marks.sources.items()),
            *((0, "rule", key, f) for key, f in self._marks.rules.items()),
        ]
        schema = ["shard", "kind", "name", "f_ms"]
        commit.set_watermarks(pl.DataFrame(marks, schema=schema, orient="row"))
        since = [self._since.get(r.key) for r in self._rules]
        owned = {
            "rule": [r.name for r in self._rules],
            "version": [r.version for r in self._rules],
            "since_ts": pl.Series(since, dtype=pl.Int64).cast(TS),
            "settle_ms": [r.looks_ahead_ms + LATENESS_MS for r in self._rules],
        }
        commit.set_streams(pl.DataFrame(owned))

    def _close(self, commit: Commit, rule: Rule, before_ms: int) -> None:
        """Note the hours that have become complete."""
        table = table_of(rule)
        low = self._since.get(rule.key)
        if low is None:
            first = self._store.query(f'SELECT min(anchor_ts) FROM "{table.table}"').item()
            if first is None:
                return
            low = int(first.timestamp() * 1000)
        window = rule.window_ms
        hours = range(low // _HOUR_MS, (self._marks.of_rule(rule) - window - 1) // _HOUR_MS)
        fresh = [h for h in hours if before_ms == NEVER or (h + 1) * _HOUR_MS + window >= before_ms]
        commit.set_hours(
            table,
            {hour_start(h): True for h in fresh},
            archive_commit=commit.number,
            published_by="stream",
        )


def later(at: datetime, hours: float) -> datetime:
    """Some hours after a time."""
    return at + timedelta(hours=hours)
