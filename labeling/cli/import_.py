"""``labeling import``: files into the archive.

Always holds: what was committed before an error or Ctrl-C stays, and importing again completes
the rest; importing twice archives nothing twice.

Not promised: an end status that tells of rejects. The summary does, and ``labeling rejects`` lists
them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labeling.cli.times import parse_time
from labeling.errors import ConfigError

if TYPE_CHECKING:
    from labeling.config import Config
    from labeling.io.importing import Plan, Totals


@click.command("import")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--source", "name", help="The [[source]] whose mapping reads the files.")
@click.option("--until", help="The input is complete before this time; default: all there is.")
@click.option("--forget", metavar="NAME", help="Take a damaged archive file out instead.")
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
def command(
    files: tuple[Path, ...],
    name: str | None,
    until: str | None,
    forget: str | None,
    path: Path | None,
) -> None:
    """Import files into the archive; without FILES, those that the sources name.

    Example: labeling import --source app day1.jsonl --until 2026-11-21
    """
    from labeling.config import find_config, load_config, load_rules
    from labeling.io.importing import Importer, Totals
    from labeling.io.importing import forget as forget_file
    from labeling.io.remote import open_store
    from labeling.io.store.ownership import live_since

    config = load_config(path or find_config())
    until_ts = None if until is None else parse_time(until)
    started = time.monotonic()
    with open_store(config.store) as store:
        if forget is not None:
            from labeling.io.feature_archive import archive_named

            rows = forget_file(store, *archive_named(config, forget))
            click.echo(f"forgot {forget}, which held {rows:,} events; import their input again")
            return
        totals = Totals()
        since = live_since(store.query, lambda: load_rules(config))
        plans = _plans(config, files, name, until_ts, since)
        with _progress(plans) as progress:
            importer = Importer(store, config, progress, now=datetime.now(UTC))
            for plan in plans:
                totals.add(importer.run(plan))
        dropped = store.retain(config.retention)
    _summary(plans, totals, time.monotonic() - started)
    for table, rows in dropped.items():
        click.echo(f"retention dropped {rows:,} rows of {table}")


def _plans(
    config: Config,
    files: Sequence[Path],
    name: str | None,
    until_ts: datetime | None,
    since: datetime | None,
) -> list[Plan]:
    from labeling.io.files import source_files
    from labeling.io.importing import Plan

    if not config.sources:
        raise ConfigError(f"{config.path}: no [[source]]; describe where events come from")
    if name is None and files and len(config.sources) > 1:
        known = ", ".join(s.name for s in config.sources)
        raise ConfigError(f"FILES of which source? Name one with --source: {known}")
    with_files = tuple(s for s in config.sources if s.files) or config.sources
    chosen = with_files if name is None else (config.source(name),)
    return [
        Plan(source, tuple(files) or source_files(source, config.folder), until_ts, since)
        for source in chosen
    ]


@contextmanager
def _progress(plans: Sequence[Plan]) -> Iterator[Callable[[Totals], None] | None]:
    """A bar over the files' bytes where someone watches; None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    files = [path for plan in plans for path in plan.files]
    total = sum(path.stat().st_size for path in files if path.is_file())
    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=total)
        seen = {"records": 0, "events": 0}

        def tell(step: Totals) -> None:
            seen["records"] += step.records
            seen["events"] += step.events
            bar.update(task, advance=step.bytes, description=f"{seen['events']:,} events read")

        yield tell


def _summary(plans: Sequence[Plan], totals: Totals, seconds: float) -> None:
    files = sum(len(plan.files) for plan in plans)
    rate = totals.events / max(seconds, 1e-9)
    click.echo(
        f"{files} file{'s' * (files != 1)}, {totals.records:,} records, {totals.events:,} events: "
        f"{totals.accepted:,} accepted, {totals.duplicate:,} duplicate, "
        f"{totals.too_late:,} too late, {totals.rejected:,} rejected; "
        f"{seconds:.1f} s, {rate:,.0f} events/s"
    )
    if totals.rejected:
        click.echo("`labeling rejects` lists what was rejected, and why")
    if totals.conflicts:
        click.echo(
            f"{totals.conflicts:,} duplicates differ from the event that stays: "
            "`labeling sql 'from conflicts'`"
        )
