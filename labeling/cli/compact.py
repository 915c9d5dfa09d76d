"""``labeling compact``: what a stream archived, sorted into hours.

Always holds: the archive's events are the same before and after; a live flow and readers go on
meanwhile; stopped at any instant, the next one goes on.

Not promised: hours that a stream may still add to. Their files wait in ``tail/``.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labeling.cli.times import parse_hour
from labeling.errors import StoreError

if TYPE_CHECKING:
    from labeling.io.compaction import Compacted


@click.command("compact")
@click.option("--before", help="Hours before this one, UTC; default: those that F has passed.")
@click.option("--beside", is_flag=True, help="Only beside a running flow: else end at once.")
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
def command(before: str | None, beside: bool, path: Path | None) -> None:
    """Move what a stream archived into sorted files by hour; beside `labeling run`, or alone.

    Events first, then the features of each source.

    Example: labeling compact --before 2026-11-20T06
    """
    from labeling.config import find_config, load_config
    from labeling.io.compaction import Compacted, compact, complete_before, stems
    from labeling.io.feature_archive import archives
    from labeling.io.remote import open_store
    from labeling.io.shelf import named

    config = load_config(path or find_config())
    started = time.monotonic()
    with open_store(config.store, needed=beside) as store:
        before_ts = parse_hour(before) if before else complete_before(store, config.lateness_ms)
        if before_ts is None:
            click.echo("nothing to compact: no stream has read anything yet")
            return
        done, left, stem = Compacted(), 0, stems(store)
        for archive in archives(config):
            done += compact(store, archive, before_ts, stem.__next__)
            left += sum(file.hour is None for file in named(store, archive))
    if done.busy:
        raise StoreError(
            f"another compaction or import is at the archive of {config.store}; wait until it "
            "ends, then run this again"
        )
    _summary(done, left, time.monotonic() - started)


def _summary(done: Compacted, left: int, seconds: float) -> None:
    click.echo(
        f"{done.tails:,} tail files, {done.events:,} events into {len(done.hours):,} hours, "
        f"{done.merged:,} small files merged in {seconds:.1f} s; {left:,} tail files left"
    )
    if done.swept.deleted or done.swept.waiting:
        click.echo(
            f"{done.swept.deleted:,} old files deleted, {done.swept.waiting:,} wait for readers"
        )
