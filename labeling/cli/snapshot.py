"""``labeling snapshot``: a copy of the store for other tools.

Always holds: the copy is the store at one commit and opens in DuckDB 1.2 and later; a live flow
goes on while it is made; FILE appears when it is whole, and nothing is replaced without --force.

Not promised: that the copy follows the store. Make another.
"""

from __future__ import annotations

from pathlib import Path

import click


@click.command("snapshot")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE.")
@click.option("--config", type=click.Path(path_type=Path), help="labeling.toml to use.")
@click.option("--store", type=click.Path(path_type=Path), help="A store file, without a config.")
def command(file: Path, force: bool, config: Path | None, store: Path | None) -> None:
    """Copy the store into FILE, for DuckDB 1.2+, notebooks and other tools.

    Example: labeling snapshot copy.duckdb
    """
    from labeling.config import find_config, load_config
    from labeling.io.remote import open_store

    path = store or load_config(config or find_config()).store
    with open_store(path, read_only=True) as opened:
        commit = opened.snapshot(file, force=force)
    click.echo(f"{file}: the store up to commit {commit}, {file.stat().st_size:,} bytes")
