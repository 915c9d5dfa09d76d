"""The drive that goes through real files: JSON imported into an archive, replayed into a store.

Always holds: each pass has a folder of its own, which is gone afterwards; the import, the
planning, the replay and the store are those of the other commands.

Not promised: changes. An import has no watermark on the way; replay publishes each hour once. Nor
an event that comes too late: the import leaves such ones out, as there would be no late ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import polars as pl

from backfill.plan import HOUR, plan
from backfill.replay import replay
from labeling.config import Config, parse_config
from labeling.io.archive import Archive
from labeling.io.importing import Importer, Plan, Totals
from labeling.io.store import Store
from labeling.model.kinds import Rule
from labeling.model.table import table_of
from labeling.testing.arrival import Arrival
from labeling.testing.drives import Drive, Run

_SOURCE: Final = "case"
#: Few events at a time, so that hours are cut into parts by user.
_MEMORY_BYTES: Final = 6_000


def _files(arrival: Arrival) -> Iterator[Run]:
    with TemporaryDirectory(prefix="golden-") as folder:
        taken = set(arrival.too_late)
        timely = arrival.of([i for i in range(arrival.events.height) if i not in taken])
        config = written(arrival.rule, timely.events, Path(folder))
        with Store.open(config.store) as store:
            imported(store, config)
            yield Run("", replayed(store, config, arrival.rule, timely.events), None)


def written(rule: Rule, events: pl.DataFrame, folder: Path) -> Config:
    """A configuration whose one source is a file of these events, nulls and all.

    Args:
        rule: its declared columns are those of the configuration.
        events: columns of the rule's ``event_schema``, in the order of arrival.
        folder: empty.
    """
    times = [c for c, dtype in events.schema.items() if isinstance(dtype, pl.Datetime)]
    plain = events.with_columns(pl.col(times).dt.epoch("ms"))
    lines = [json.dumps(record) + "\n" for record in plain.iter_rows(named=True)]
    (folder / "events.json").write_text("".join(lines), encoding="utf-8")
    columns: dict[str, Any] = {
        c: {"path": c, "unit": "ms"} if c in times else c for c in events.columns if c != "props"
    }
    source = {"name": _SOURCE, "format": "json", "files": "events.json", "map": columns}
    # Cases lie on days that may be ahead of this machine's.
    said = {"columns": dict(rule.columns), "max_clock_skew": "36500d", "source": [source]}
    return parse_config(said, folder / "labeling.toml")


def imported(store: Store, config: Config) -> Totals:
    """Import the file; the input is all there is."""
    file = config.folder / "events.json"
    return Importer(store, config).run(Plan(config.source(_SOURCE), (file,), None))


def replayed(store: Store, config: Config, rule: Rule, events: pl.DataFrame) -> pl.DataFrame:
    """Publish every hour of the events; the rows that are then stored, in the ``row_schema``."""
    low, high = (events["event_ts"].dt.truncate("1h").sort()[i] for i in (0, -1))
    planned = plan(store, rule, low, high + HOUR, sources=[_SOURCE], memory_bytes=_MEMORY_BYTES)
    for _ in replay(store, Archive(config.archive, config.columns), planned):
        pass
    return store.rows_between(table_of(rule), low, high + HOUR).select(list(rule.row_schema))


FILES: Final = Drive("files", _files)
