"""``labeling repair``: rows from the archive for just the users who need them.

Always holds: what is published is one transaction per step, with how far the repair has come; run
again after an interruption it goes on there, and where nothing is to be done it says so. One repair
or replay at a time publishes into a store: the next waits.

Not promised: rows of a point that the watermark has not passed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labeling.cli.replay import chosen

if TYPE_CHECKING:
    from backfill.record import Published
    from labeling.config import Config
    from labeling.io.archive import Archive
    from labeling.io.store import Store
    from labeling.model.kinds import Rule


@click.command("repair")
@click.option("--rule", "names", multiple=True, help="Only this rule (NAME or NAME@VERSION).")
@click.option("--dry-run", is_flag=True, help="Read and evaluate, print the cost, publish nothing.")
@click.option("--beside", is_flag=True, help="Only beside a running flow: else end at once.")
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
def command(names: tuple[str, ...], dry_run: bool, beside: bool, path: Path | None) -> None:
    """Publish the rows of cold rules, and heal what came too late, from the archive.

    Example: labeling repair --rule order_attribution
    """
    from labeling.config import find_config, load_config, load_tree
    from labeling.config.features import waits_of
    from labeling.io import leases
    from labeling.io.archive import Archive
    from labeling.io.remote import open_store
    from labeling.live.outbox import listen

    config = load_config(path or find_config())
    tree = load_tree(config)
    rules = chosen(tree.rules, names)
    archive = Archive(config.archive, config.columns)
    with (
        leases.publishing(config.store, dry=dry_run),
        leases.reading(archive.root),
        open_store(config.store, read_only=dry_run, needed=beside) as store,
    ):
        if not dry_run:
            listen(store, config, tree)
        waits = waits_of(tree.samples)
        for rule in rules:
            started = time.monotonic()
            done = list(steps_of(store, archive, config, rule, waits, dry=dry_run))
            _print(_Sum(rule, done), time.monotonic() - started, dry=dry_run)


def steps_of(
    store: Store,
    archive: Archive,
    config: Config,
    rule: Rule,
    waits: Mapping[str, frozenset[str]] | None = None,
    *,
    dry: bool,
) -> Iterator[Published]:
    """Repair one rule, as it is made."""
    from backfill.heal import Heal
    from backfill.repair import Repair
    from backfill.standing import cold_mark, standing_of
    from labeling.live.cold import is_cold, refuse_streamed

    keep_ms = config.retention.get(rule.name)
    if not is_cold(rule, config):
        through = store.last_commit
        return Heal(store, archive, rule, through, config.memory_bytes, keep_ms, dry=dry).steps()
    refuse_streamed(store, rule)
    # In this order: what the watermark has passed was archived before the commit that is read.
    mark_ms = cold_mark(store, rule, config.sources, waits)
    through = store.last_commit
    standing = standing_of(store, rule, mark_ms, keep_ms)
    return Repair(
        store, archive, rule, standing, mark_ms, through, config.memory_bytes, dry=dry
    ).steps()


@dataclass(frozen=True)
class _Sum:
    """What the steps of a rule did, added up."""

    rule: Rule
    done: Sequence[Published]

    def of(self, name: str) -> int:
        """The sum of a count."""
        return sum(getattr(d, name) for d in self.done)

    def cost(self, name: str) -> int:
        """The sum of a cost."""
        return sum(getattr(d.cost, name) for d in self.done)


def _print(told: _Sum, seconds: float, *, dry: bool) -> None:
    """The summary of one rule."""
    key = told.rule.key
    if not told.done:
        click.echo(f"{key}: nothing to repair")
        return
    rows, events, size = (told.cost(name) for name in ("rows", "events", "bytes"))
    cost = f"{rows:,} rows of {events:,} events, {size / 1e6:,.1f} MB of the archive read"
    if dry:
        click.echo(f"{key}: {cost}, nothing published")
        return
    new, changed, gone = (told.of(name) for name in ("inserted", "updated", "retracted"))
    click.echo(
        f"{key}: {cost}; {new:,} new, {changed:,} updated, {gone:,} retracted{_to(told)} "
        f"in {seconds:.1f} s"
    )


def _to(told: _Sum) -> str:
    """How far the rule has come."""
    from backfill.due import instant
    from labeling.engine.watermark import FOREVER

    f_ms = told.done[-1].f_ms
    if f_ms is None:
        return ""
    to = "the end" if f_ms >= FOREVER else f"{instant(f_ms):%Y-%m-%dT%H:%M:%S}"
    return f"; published to {to}"
