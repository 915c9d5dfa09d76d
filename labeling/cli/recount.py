"""``labeling recount``: rollups, digests and samples, held against a count of the rows there are.

Always holds: nothing is written; the exit status is 1 where something differs, else 0; it may run
beside a flow.

Not promised: hours whose rows ``[retention]`` has dropped. Their sums have outlived them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from labeling.cli.output import emit
from labeling.cli.progress import progress_bar
from labeling.cli.times import parse_hour
from labeling.errors import ConfigError

#: Differences that a table shows.
_SHOWN: Final = 20


@click.command("recount")
@click.option("--from", "from_", help="First hour, UTC: 2026-11-20T00; default: all there are.")
@click.option("--to", "to", help="End of the range, exclusive: 2026-11-20T06.")
@click.option(
    "--rule", "names", multiple=True,
    help="Only this rule, sample rule or rollup (NAME or NAME@VERSION).",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table",
    help="json: an object per difference, all of them.",
)  # fmt: skip
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
@click.pass_context
def command(
    ctx: click.Context,
    from_: str | None,
    to: str | None,
    names: tuple[str, ...],
    form: str,
    path: Path | None,
) -> None:
    """Compare rollups, digests and samples with a count of the rows they are made of.

    Example: labeling recount --from 2026-11-20T00 --to 2026-11-20T06 --rule note_hourly
    """
    import polars as pl

    from labeling.config import find_config, load_config, load_tree
    from labeling.io.remote import open_store
    from labeling.products.context import Context
    from labeling.products.recount import comparisons
    from labeling.products.rollups.recount import DIFFERENCE

    config = load_config(path or find_config())
    tree = load_tree(config)
    named = (*tree.rules, *tree.samples, *tree.rollups)
    known = {text for one in named for text in (one.name, one.key)}
    for name in names:
        if name not in known:
            there = ", ".join(sorted(one.key for one in named))
            raise ConfigError(f"--rule {name}: no such rule or rollup; there are {there}")
    found = [pl.DataFrame(schema=DIFFERENCE)]
    context = Context(config, tree)
    span = parse_hour(from_) if from_ else None, parse_hour(to) if to else None
    with open_store(config.store, read_only=True) as store:
        for one in comparisons(store, context, names, *span):
            differing = 0
            with progress_bar(one.name, len(one.hours), "hours") as progress:
                for told in one.each(store):
                    found.append(told)
                    differing += told.height
                    progress(1)
            click.echo(f"{one.name}: {_said(len(one.hours), differing)}", err=form == "json")
    differences = pl.concat(found)
    if form == "json":
        emit(differences, "json", None)
    elif differences.height:
        emit(differences.head(_SHOWN), "table", None)
        if differences.height > _SHOWN:
            click.echo(f"... --format json tells all {differences.height:,}")
    ctx.exit(1 if differences.height else 0)


def _said(hours: int, differing: int) -> str:
    verb = f"{differing:,} differences" if differing else "equal to a recount"
    return f"{hours:,} hours, {verb}"
