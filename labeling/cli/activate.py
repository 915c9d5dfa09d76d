"""``labeling activate``: which version of a rule its views show.

Always holds: nothing but the views changes; every anchor is shown by one version; what is shown
now is printed.

Not promised: rows. A version shows what was published of it, by a stream or a replay.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from labeling.cli.times import parse_hour
from labeling.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

_KEY: Final = re.compile(r"(?P<rule>[a-z][a-z0-9_]*)@(?P<version>[1-9][0-9]*)")


@click.command("activate")
@click.argument("key", metavar="RULE@VERSION")
@click.option("--from", "from_", help="First hour of anchor time it is shown for: 2026-11-20T00.")
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
def command(key: str, from_: str | None, path: Path | None) -> None:
    """Let the views of a rule show one of its versions, for all anchors or from an hour on.

    With --from, earlier anchors keep the version that they were shown in; a column that one of
    the versions has not is null there.

    Example: labeling activate note_labels@2 --from 2026-11-20T00
    """
    from labeling.config import find_config, load_config
    from labeling.io.remote import open_store

    found = _KEY.fullmatch(key)
    if found is None:
        raise ConfigError(f"{key!r}: write NAME@VERSION, such as note_labels@2")
    from_ts = None if from_ is None else parse_hour(from_)
    rule, version = found["rule"], int(found["version"])
    config = load_config(path or find_config())
    with open_store(config.store) as store:
        with store.commit(f"activate {key}") as commit:
            commit.activate(rule, version, from_ts)
        shown = store.query(
            f"SELECT version, from_ts FROM active_versions WHERE rule = '{rule}' "
            "ORDER BY from_ts NULLS FIRST"
        )
    click.echo(f"{rule} shows {_told(shown)}")


def _told(shown: pl.DataFrame) -> str:
    """The versions by the hour from which they are shown."""
    return ", ".join(
        f"version {version}" + ("" if start is None else f" from {start:%Y-%m-%dT%H} on")
        for version, start in shown.iter_rows()
    )
