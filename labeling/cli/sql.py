"""``labeling sql``: one read-only question to the store.

Always holds: nothing is changed; a statement that is not a question is refused; several of these
may run at once. While `labeling run` holds the store, it is asked, and answers the same.

Not promised: an answer while another command writes the store, such as an import. The message says
which does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from labeling.cli.output import FORMATS, emit


@click.command("sql")
@click.argument("statement")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: table, or by --out.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file.")
@click.option("--config", type=click.Path(path_type=Path), help="labeling.toml to use.")
@click.option("--store", type=click.Path(path_type=Path), help="A store file, without a config.")
def command(
    statement: str, form: str | None, out: Path | None, config: Path | None, store: Path | None
) -> None:
    """Ask the store one question in SQL (DuckDB's). STATEMENT `-` is read from standard input.

    Tables and views are listed by `labeling sql 'show tables'`; docs/store.md tells what they
    hold.

    Example: labeling sql 'select clicked, count(*) from note_labels group by all'
    """
    from labeling.config import find_config, load_config
    from labeling.io.remote import open_store

    if statement == "-":
        statement = sys.stdin.read()
    path = store or load_config(config or find_config()).store
    with open_store(path, read_only=True) as opened:
        answer = opened.query(statement)
    suffix = out.suffix.lstrip(".") if out else ""
    emit(answer, form or (suffix if suffix in FORMATS else "table"), out)
