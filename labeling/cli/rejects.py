"""``labeling rejects``: what could not become an event, and feeding it again.

Always holds: listing changes nothing; feeding again is idempotent by each reject's position.

Not promised: that a reject can be fed again whose bytes were cut or whose source is gone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import polars as pl

from labeling.cli.output import emit

_SHOWN: Final = ("source", "topic", "offset", "index", "reason", "detail", "raw")
#: A table shows this much of a record.
_RAW_SHOWN: Final = 120


class _ListByDefault(click.Group):
    """A group whose command may be left out: then it is ``list``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``list`` where no command is named."""
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("rejects", cls=_ListByDefault)
def command() -> None:
    """List records that could not become events, or feed them again after a fix."""


@command.command("list")
@click.option("--reason", help="Only this reason code.")
@click.option("--source", help="Only this source's.")
@click.option("--limit", type=click.IntRange(min=0), help="Default: 20 in a table, else all.")
@click.option("--csv", "form", flag_value="csv", help="As CSV, records whole.")
@click.option("--json", "form", flag_value="json", help="As JSON lines, records whole.")
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
def list_command(
    reason: str | None, source: str | None, limit: int | None, form: str | None, path: Path | None
) -> None:
    """List rejects that have not been taken in since, by position.

    Example: labeling rejects list --reason missing_field --limit 5
    """
    from labeling.config import find_config, load_config
    from labeling.io.remote import open_store

    with open_store(load_config(path or find_config()).store, read_only=True) as store:
        listed = store.query("FROM rejects WHERE retried_commit IS NULL")
    for column, wanted in (("reason", reason), ("source", source)):
        if wanted is not None:
            listed = listed.filter(pl.col(column) == wanted)
    listed = listed.sort("source", "topic", "partition", "offset", "index", "commit")
    if form:
        emit(listed if limit is None else listed.head(limit), form, None)
        return
    shown = listed.select(_SHOWN).head(20 if limit is None else limit)
    emit(shown.with_columns(pl.col("raw").bin.slice(0, _RAW_SHOWN)), "table", None)
    tally = (
        listed["reason"].value_counts(sort=False).sort("count", "reason", descending=[True, False])
    )
    reasons = ", ".join(f"{n:,} {name}" for name, n in tally.iter_rows())
    click.echo(
        f"{listed.height:,} rejects{': ' + reasons if reasons else ''}; {shown.height:,} shown"
    )


@command.command("retry")
@click.option("--reason", help="Only records with a reject of this reason code.")
@click.option("--source", help="Only this source's.")
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
def retry_command(reason: str | None, source: str | None, path: Path | None) -> None:
    """Feed rejects through the mapping as it is now; those that still fail stay listed.

    Example: labeling rejects retry --source app
    """
    from labeling.config import find_config, load_config
    from labeling.io.remote import open_store
    from labeling.io.retry import retry

    config = load_config(path or find_config())
    if source is not None:
        config.source(source)
    with open_store(config.store) as store:
        done = retry(store, config, source=source, reason=reason, now=datetime.now(UTC))
    totals = done.totals
    click.echo(
        f"{done.resolved:,} rejects resolved, {done.left:,} still rejected; "
        f"{totals.accepted:,} events accepted, {totals.duplicate:,} duplicate"
    )
    if done.cut:
        click.echo(f"{done.cut:,} cannot be fed again: their bytes were cut; import their input")
    if done.unknown_source:
        click.echo(f"{done.unknown_source:,} are of sources that the configuration no longer has")
