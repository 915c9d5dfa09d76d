"""``labeling unused``: how many features were served for something that was never shown.

Always holds: nothing is written; it may run beside a flow.

Not promised: that what is unused stays so. Its impression may come late.
"""

from __future__ import annotations

from pathlib import Path

import click

from labeling.cli.output import emit
from labeling.cli.progress import progress_bar
from labeling.cli.times import parse_hour
from labeling.errors import ConfigError


@click.command("unused")
@click.option("--from", "from_", required=True, help="First hour of served time: 2026-11-20T00.")
@click.option("--to", "to", required=True, help="End of the range, exclusive: 2026-11-20T06.")
@click.option(
    "--rule", "names", multiple=True, help="Only this sample rule (NAME or NAME@VERSION)."
)
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "json"]), default="table",
    help="How to print; json is an object per line.",
)  # fmt: skip
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
def command(from_: str, to: str, names: tuple[str, ...], form: str, path: Path | None) -> None:
    """Count the features of each hour that no label row has used.

    Example: labeling unused --from 2026-11-20T00 --to 2026-11-20T06
    """
    import polars as pl

    from backfill.plan import hours_of
    from labeling.config import find_config, load_config, load_tree
    from labeling.io.remote import open_store
    from labeling.products.context import Context
    from labeling.products.samples.unused import UNUSED, unused

    config = load_config(path or find_config())
    tree = load_tree(config)
    known = {text: one for one in tree.samples for text in (one.name, one.key)}
    for name in names:
        if name not in known:
            there = ", ".join(known) or "none"
            raise ConfigError(f"--rule {name}: no such sample rule; there are: {there}")
    chosen = [one for one in tree.samples if not names or {one.name, one.key} & {*names}]
    hours = hours_of(parse_hour(from_), parse_hour(to))
    context = Context(config, tree)
    found = [pl.DataFrame(schema={"rule": pl.String(), **UNUSED})]
    with open_store(config.store, read_only=True) as store:
        for sample in chosen:
            with progress_bar(sample.key, len(hours), "hours") as progress:
                for hour in hours:
                    told = unused(store, context, sample, [hour])
                    found.append(told.select(pl.lit(sample.key).alias("rule"), pl.all()))
                    progress(1)
    emit(pl.concat(found), form, None)
