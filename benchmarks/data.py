"""Simulated logs for benchmarks: as a frame, as archive files, or as a project with a store.

Always holds: the same arguments give the same events; archive files are written by the
archive's own writer, one per hour, and named in a store, as an import would.

Not promised: that a log has as many events in each hour: traffic has a daily curve.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import polars as pl

from labeling.engine.keys import user_key
from labeling.io.archive import SORTED_BY, Archive, ArchiveFile
from labeling.io.store import Counts, Store
from labeling.model.event import ORIGIN_SCHEMA, event_schema
from labeling.model.kinds import Rule
from labeling.model.rule import LabelRule
from labeling.testing.simulator import EXTRA_COLUMNS, FeatureLog, World, simulate
from rules import RULES as SHIPPED

#: Without what is made of their rows.
RULES: Final[tuple[Rule, ...]] = tuple(r for r in SHIPPED if isinstance(r, Rule))
START: Final = datetime(2026, 11, 20, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
SOURCE: Final = "log"
#: The source of features, as ``rules/note_samples.py`` names it.
RANKER: Final = "ranker"
_SERVED: Final = ("request_id", "item_id", "served_ts")
_MAPPED: Final = [name for name in event_schema(EXTRA_COLUMNS) if name != "event_ts"]
_TIMES: Final = {"parquet": '"event_ts"', "jsonl": '{ path = "event_ts", unit = "ms" }'}
_FORMATS: Final = {"parquet": "parquet", "jsonl": "json"}
_TYPES: Final = {pl.String(): "str", pl.Int32(): "i32", pl.Int64(): "i64", pl.Float64(): "f64"}


@contextmanager
def folder(work: str) -> Iterator[Path]:
    """The folder of that name, made if missing; a temporary one, deleted afterwards, for ``""``."""
    if work:
        path = Path(work).resolve()
        path.mkdir(parents=True, exist_ok=True)
        yield path
    else:
        with TemporaryDirectory(prefix="benchmark-") as name:
            yield Path(name)


def log(events: int, hours: float, seed: int) -> pl.DataFrame:
    """The whole log in memory, by (event_ts, event_id)."""
    return pl.concat(list(simulate(World(), events=events, hours=hours, seed=seed, start=START)))


def read_by(rule: LabelRule, frame: pl.DataFrame) -> pl.DataFrame:
    """The events and columns that the rule reads."""
    types = sorted(rule.event_types)
    return frame.filter(pl.col("event_type").is_in(types)).select(sorted(rule.event_columns))


def hourly(events: int, hours: float, seed: int) -> Iterator[tuple[datetime, pl.DataFrame]]:
    """The log hour by hour, in time; memory follows an hour."""
    held: list[pl.DataFrame] = []
    hour = START
    for chunk in simulate(World(), events=events, hours=hours, seed=seed, start=START):
        rest = chunk
        while rest.height and rest["event_ts"].item(-1) >= hour + HOUR:
            cut = rest["event_ts"].search_sorted(hour + HOUR)
            held.append(rest[:cut])
            yield hour, pl.concat(held)
            held, rest, hour = [], rest[cut:], hour + HOUR
        held.append(rest)
    yield hour, pl.concat(held)


def shipped(names: str) -> tuple[Rule, ...]:
    """Shipped rules by name.

    Args:
        names: separated by commas; ``all``; or ``hot``: those that reach no further than 2 h, which
            is ``hot_horizon`` unless configured.

    Raises:
        ValueError: a name that no shipped rule has; the message lists them.

    >>> [r.name for r in shipped("note_labels,action_sources")]
    ['note_labels', 'action_sources']
    """
    if names == "all":
        return RULES
    if names == "hot":
        return tuple(r for r in RULES if timedelta(milliseconds=r.reach_ms) <= 2 * HOUR)
    known = {r.name: r for r in RULES}
    for name in names.split(","):
        if name not in known:
            raise ValueError(f"--rules {name}: no shipped rule; there are all, hot, {list(known)}")
    return tuple(known[name] for name in names.split(","))


def project(
    path: Path,
    *,
    form: str = "parquet",
    memory: str = "4GB",
    rules: str = "note_labels",
    features: int = 0,
    rollups: bool = False,
) -> Path:
    """A configuration with one source, and shipped rules beside it; the configuration's path.

    Args:
        path: an existing folder.
        form: of the source's files, as the simulator writes them: ``parquet`` or ``jsonl``.
        memory: what a replay may use for a block.
        rules: as for ``shipped``.
        features: with a second source, of features of about so many bytes each, and the shipped
            samples of note labels; 0: without.
        rollups: with the shipped hourly sums of note labels.
    """
    lines = [
        f'memory = "{memory}"',
        "[columns]",
        *(f'{name} = "{kind}"' for name, kind in EXTRA_COLUMNS.items()),
        *_source(SOURCE, form, "event_ts", _MAPPED),
    ]
    if features:
        schema = FeatureLog(record_bytes=features).schema
        given = {n: _TYPES[t] for n, t in schema.items() if n not in _SERVED}
        told = ", ".join(f'{name} = "{kind}"' for name, kind in given.items())
        kind = ['kind = "features"', f"features = {{ {told} }}"]
        lines += _source(RANKER, form, "served_ts", ["request_id", "item_id"], kind)
    _tree(
        path / "rules",
        [rule.name for rule in shipped(rules)],
        samples=bool(features),
        rollups=rollups,
    )
    config = path / "labeling.toml"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return config


def _source(
    name: str, form: str, time: str, mapped: Sequence[str], kind: Sequence[str] = ()
) -> list[str]:
    return [
        "[[source]]",
        f'name = "{name}"',
        *kind,
        f'format = "{_FORMATS[form]}"',
        f'files = "none/*.{form}"',
        "[source.map]",
        f"{time} = {_TIMES[form].replace('event_ts', time)}",
        *(f'{name} = "{name}"' for name in mapped),
    ]


def _tree(folder: Path, names: list[str], *, samples: bool, rollups: bool) -> None:
    """Copies of shipped rules, and of what is made of note labels."""
    folder.mkdir(exist_ok=True)
    here = Path(__file__).resolve().parent.parent / "rules"
    made = {"note_samples": samples, "hourly": rollups}
    # What is copied names these two, in the tree or not.
    needed = [*names, "note_labels", "follow_causes", *(n for n, wanted in made.items() if wanted)]
    for name in dict.fromkeys(needed):
        shutil.copy(here / f"{name}.py", folder / f"{name}.py")
    if any(made.values()) and "note_labels" not in names:
        names = [*names, "note_labels"]
    held = [(name, name.upper()) for name in names]
    held += [("note_samples", "NOTE_SAMPLES")] * samples + [("hourly", "NOTE_HOURLY")] * rollups
    init = [f"from rules.{module} import {name}" for module, name in held]
    init += ["", f"RULES = ({', '.join(name for _, name in held)},)", ""]
    (folder / "__init__.py").write_text("\n".join(init), encoding="utf-8")


def fill(path: Path, events: int, hours: float, seed: int) -> list[ArchiveFile]:
    """An archive and a store in ``path`` that names it, as if the log had been imported.

    Returns:
        The files, by hour. A folder that was filled with the same arguments is taken as it is.
    """
    done = path / f"filled-{events}-{hours:g}-{seed}"
    archive = Archive(path / "archive", EXTRA_COLUMNS)
    if not done.exists():
        with Store.open(path / "store.duckdb") as store:
            for hour, frame in hourly(events, hours, seed):
                _add(store, archive, hour, frame)
            with store.commit("benchmark: the log is all there is") as commit:
                commit.end_source(SOURCE, None)
        done.touch()
    with Store.open(path / "store.duckdb", read_only=True) as store:
        return store.files()


def _add(store: Store, archive: Archive, hour: datetime, frame: pl.DataFrame) -> None:
    """One hour as one file and one commit."""
    if frame.is_empty():
        return
    with store.commit(f"benchmark: {hour:%Y-%m-%dT%H}") as commit:
        origin = {name: pl.lit(None, dtype) for name, dtype in ORIGIN_SCHEMA.items()} | {
            "source": pl.lit(SOURCE),
            "topic": pl.lit("log.parquet"),
            "partition": pl.lit(0, pl.Int32),
            "offset": pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
            "index": pl.lit(0, pl.Int32),
            "arrival": pl.lit("on_time"),
            "archived": pl.lit(commit.number, pl.Int64),
        }
        whole = frame.with_columns(user_key(), **origin).select(archive.schema.keys())
        stem = f"benchmark-{commit.number}"
        file = archive.write(whole.sort(SORTED_BY), hour, stem, kind="import", source=SOURCE)
        commit.add_files([file])
        read = frame.height
        commit.append_counts(Counts(SOURCE, read, read, 0, 0, 0, read))


def paths(root: Path, files: Sequence[ArchiveFile]) -> list[Path]:
    """Where the files of an archive lie that ``fill`` made in ``root``."""
    return [root / "archive" / f.name for f in files]
