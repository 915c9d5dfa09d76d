"""``labeling source try``: what a mapping makes of real records, before anything is written.

Always holds: nothing is written; the exit status is 1 when every record was rejected.

Not promised: that the rest of a file is like its first records.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labeling.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from labeling.config import Config, SourceConfig
    from labeling.io.decode import Decoded, FieldBatch, RecordBatch

_FOLDER = click.Path(path_type=Path, dir_okay=False)


@click.group()
def command() -> None:
    """Look at sources: what a mapping makes of their records."""


@command.command(name="try")
@click.argument("name", metavar="NAME")
@click.option("--sample", default=1000, type=click.IntRange(1), show_default=True, help="Records.")
@click.option("--file", type=_FOLDER, help="Read this file instead of the source's.")
@click.option("--config", type=_FOLDER, help="The configuration; else labeling.toml, upward.")
@click.option("--rows", default=10, type=click.IntRange(1), show_default=True, help="Rows shown.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per event and reject.")
@click.pass_context
def try_(
    ctx: click.Context,
    name: str,
    sample: int,
    file: Path | None,
    config: Path | None,
    rows: int,
    as_json: bool,
) -> None:
    """Decode the first records of source NAME, print events and rejects, write nothing.

    Ends with status 1 when every record was rejected.

    \b
    Example:
      labeling source try web --sample 100
      labeling source try web --file new.json --json
    """
    from labeling.config import find_config, load_config

    loaded = load_config(config or find_config())
    decoded = list(_sample(loaded, loaded.source(name), sample, file))
    if as_json:
        for part in decoded:
            _print_json(part)
    else:
        _print_tables(decoded, loaded.source(name), rows)
    if decoded and not any(part.events.height + part.silent for part in decoded):
        ctx.exit(1)


def _sample(
    config: Config, source: SourceConfig, count: int, file: Path | None
) -> Iterator[Decoded]:
    """The first ``count`` records of a file, else of the source's files or topics, decoded."""
    from labeling.io.decoders import open_decoder

    decoder = open_decoder(config, source)
    from_topics = file is None and not source.files
    batches = _polled(config, source, count) if from_topics else _read(config, source, count, file)
    for batch in batches:
        decoded = decoder.decode(batch, datetime.now(UTC))
        yield decoded


def _read(
    config: Config, source: SourceConfig, count: int, file: Path | None
) -> Iterator[RecordBatch | FieldBatch]:
    """The first records of files."""
    from labeling.io.files import head, read_batches, source_files

    files = (file,) if file is not None else source_files(source, config.folder)
    for path in files:
        for batch in read_batches(source, path, config.folder, rows=min(count, 100_000)):
            some = head(batch, count)
            yield some
            count -= some.positions.height
            if count <= 0:
                return


def _polled(config: Config, source: SourceConfig, count: int) -> Iterator[RecordBatch]:
    """The first records of topics, from ``start`` on; nothing is committed."""
    from labeling.io.kafka import Cluster, Reader

    name = config.cluster_name(source.cluster)
    with Reader(source, Cluster(name, config.clusters[name]), {}) as reader:
        while count > 0:
            polled = reader.poll(count, 1.0)
            yield polled.batch
            count -= polled.batch.positions.height
            if polled.problems and not polled.batch.payloads:
                raise DataError(f"{source.name}: {polled.problems[0].message}")
            if all(at.at_end for at in polled.progress):
                return


def _print_json(part: Decoded) -> None:
    for kind, frame in (("event", part.events), ("reject", part.rejects)):
        for row in frame.to_dicts():
            click.echo(json.dumps({kind: row}, default=_text, ensure_ascii=False))


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value.isoformat())


def _print_tables(parts: list[Decoded], source: SourceConfig, rows: int) -> None:
    import polars as pl

    if not parts:
        click.echo(f"{source.name}: no records")
        return
    events = pl.concat([part.events for part in parts])
    rejects = pl.concat([part.rejects for part in parts])
    if events.height:
        filled = [name for name in events.columns if events[name].null_count() < events.height]
        shown = [name for name in filled if name not in _HIDDEN]
        _table(events.select(shown).head(rows), f"events ({min(rows, events.height)} shown)")
        mapped = {name for emit in source.emits() for name, s in emit.map.items() if not s.none}
        if never := [name for name in events.columns if name in mapped - set(filled)]:
            click.echo(f"mapped and never filled: {', '.join(never)}")
    if rejects.height:
        places = rejects.select("topic", "offset", "index", "reason", "detail")
        _table(places.head(rows), f"rejects ({min(rows, rejects.height)} shown)")
        counts = rejects.group_by("reason").len().sort("len", "reason", descending=[True, False])
        click.echo(", ".join(f"{reason} {count}" for reason, count in counts.iter_rows()))
    click.echo(
        f"{source.name}: {sum(part.records for part in parts)} records: "
        f"{events.height} events, {rejects.height} rejects, "
        f"{sum(part.silent for part in parts)} records gave neither"
    )


#: Columns of the record's position that the table leaves out.
_HIDDEN = ("source", "cluster", "topic", "partition", "broker_ts")


def _table(frame: pl.DataFrame, title: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    table = Table(title=title, title_justify="left")
    for name in frame.columns:
        table.add_column(name, overflow="fold")
    for row in frame.rows():
        table.add_row(*("" if value is None else escape(_cell(value)) for value in row))
    console.print(table)


def _cell(value: Any) -> str:
    return value.isoformat(" ", "milliseconds") if hasattr(value, "isoformat") else str(value)
