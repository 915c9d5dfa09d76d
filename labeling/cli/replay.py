"""``labeling replay``: rows of archived hours, evaluated and published.

Always holds: each hour is published whole or not at all; run again after an interruption it goes on
with the hours that are missing, and where nothing is missing it says so and changes nothing.

Not promised: hours that are not complete. They are named, and left out unless ``--immature``. Nor
hours that a stream owns: those are named and left out always.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from labeling.cli.progress import progress_bar
from labeling.cli.times import parse_hour
from labeling.errors import ConfigError, DataError

if TYPE_CHECKING:
    from datetime import datetime

    from backfill.plan import Plan
    from backfill.publish import HourDone
    from labeling.config import Config, Tree
    from labeling.model.kinds import Rule


@click.command("replay")
@click.option("--from", "from_", required=True, help="First hour, UTC: 2026-11-20T00.")
@click.option("--to", "to", required=True, help="End of the range, exclusive: 2026-11-20T06.")
@click.option("--rule", "names", multiple=True, help="Only this rule (NAME or NAME@VERSION).")
@click.option("--dry-run", is_flag=True, help="Print what would be read and published.")
@click.option("--immature", is_flag=True, help="Also hours not complete, as far as they have come.")
@click.option("--force", is_flag=True, help="Also hours that are up to date.")
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
def command(
    from_: str,
    to: str,
    names: tuple[str, ...],
    dry_run: bool,
    immature: bool,
    force: bool,
    path: Path | None,
) -> None:
    """Evaluate rules over archived hours and publish the rows into the store.

    Example: labeling replay --from 2026-11-20T00 --to 2026-11-20T06 --rule note_labels
    """
    from backfill.plan import plan
    from backfill.replay import replay
    from labeling.config import find_config, load_config, load_tree
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
        open_store(config.store, read_only=dry_run) as store,
    ):
        listen(store, config, tree)
        plans = [
            plan(
                store,
                rule,
                parse_hour(from_),
                parse_hour(to),
                sources=[s.name for s in config.sources],
                live=topics_only(config),
                **served(config, tree, rule),
                memory_bytes=config.memory_bytes,
                immature=immature,
                force=force,
            )
            for rule in rules
        ]
        if dry_run:
            for each in plans:
                _print_plan(each)
            return
        for each in plans:
            started = time.monotonic()
            with progress_bar(each.rule.key, each.events, "events") as progress:
                hours = list(replay(store, archive, each, progress=progress))
            _print_done(each, hours, time.monotonic() - started)
        store.retain(config.retention)
    if any(each.waiting or each.owned for each in plans):
        raise DataError(left_out(plans))


def topics_only(config: Config) -> list[str]:
    """The sources that only a stream can read."""
    return [s.name for s in config.sources if s.topics and not s.files]


class Served(TypedDict):
    """What a plan must know of sources of features; see ``backfill.plan.plan``."""

    apart: Sequence[str]
    features: Mapping[str, int]


def served(config: Config, tree: Tree, rule: Rule) -> Served:
    """The sources of features that a rule's samples read, and those that they do not."""
    from labeling.config.features import apart_from, within_of

    features = within_of(tree.samples, rule.key)
    return {"apart": apart_from(config.sources, features), "features": features}


def chosen(rules: Sequence[Rule], names: Sequence[str]) -> list[Rule]:
    """The rules of those names; all without names.

    Raises:
        ConfigError: a name that no rule has.
    """
    known = {name for rule in rules for name in (rule.name, rule.key)}
    for name in names:
        if name not in known:
            there = ", ".join(rule.key for rule in rules)
            raise ConfigError(f"--rule {name}: no such rule; there are {there}")
    return [r for r in rules if not names or r.name in names or r.key in names]


def _print_plan(plan: Plan) -> None:
    """What a dry run says of one rule."""
    click.echo(
        f"{plan.rule.key}: {plan.hours} hours to publish, {len(plan.done)} up to date, "
        f"{len(plan.waiting)} not complete, {len(plan.owned)} of the stream; {plan.files} files, "
        f"{plan.file_bytes / 1e6:,.1f} MB, about {plan.events:,} events"
    )
    for block in plan.blocks:
        parts = f", {block.buckets} parts by user" if block.buckets > 1 else ""
        click.echo(
            f"  {_hour(block.from_ts)} to {_hour(block.to_ts)}: reads {_minute(block.read_from)} "
            f"to {_minute(block.read_to)}, {len(block.files)} files, "
            f"about {block.events:,} events, about {block.bytes / 1e6:,.0f} MB of memory{parts}"
        )


def _print_done(plan: Plan, hours: Sequence[HourDone], seconds: float) -> None:
    """The summary of one rule."""
    if not hours:
        click.echo(f"{plan.rule.key}: nothing to publish, {len(plan.done)} hours up to date")
        return
    click.echo(f"{plan.rule.key}: {published(plan, hours)} in {seconds:.1f} s")


def published(plan: Plan, hours: Sequence[HourDone]) -> str:
    """What a replay did."""
    rows = sum(h.rows for h in hours)
    new, changed, gone = (
        sum(getattr(h, n) for h in hours) for n in ("inserted", "updated", "retracted")
    )
    said = (
        f"{new:,} new, {changed:,} updated, {gone:,} retracted"
        if new + changed + gone
        else "no change"
    )
    up_to_date = f", {len(plan.done)} up to date" if plan.done else ""
    return f"{len(hours)} hours published{up_to_date}, {rows:,} rows ({said})"


def left_out(plans: Sequence[Plan]) -> str:
    """What was not published, and what to do about it."""
    texts = [p.owned_text for p in plans if p.owned]
    if any(p.waiting for p in plans):
        texts.append(_waiting(plans))
    return "; ".join(texts)


def _waiting(plans: Sequence[Plan]) -> str:
    first = next(p for p in plans if p.waiting)
    hours = sorted({h for p in plans for h in p.waiting})
    return (
        f"{len(hours)} hours are not complete and were left out, the first {_hour(hours[0])}: rule "
        f"{first.rule.key} needs all events up to {timedelta(milliseconds=first.rule.window_ms)} "
        "after an hour, and a source of the configuration has not been imported, or read by the "
        "stream, that far. Import the rest, or publish what has passed with --immature"
    )


def _hour(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H}"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}"
