"""``labeling export``: complete hours as Parquet, beside the flow.

Always holds: a file under its name is whole; stopped at any instant, the next export goes on, told
by the files alone. With ``--follow`` the store's file is never opened, so that a flow or a replay
that starts finds it free. SIGTERM ends with status 0.

Not promised: an end without ``--once``.
"""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labeling.cli.logs import FORMATS, start_logging
from labeling.errors import StoreError

if TYPE_CHECKING:
    from labeling.products.offline.exporter import Exporter

_LOG = logging.getLogger("labeling")


@click.command("export")
@click.option(
    "--follow/--once", default=True, show_default=True,
    help="Go on beside the flow; or export what there is, also of a closed store, and end.",
)  # fmt: skip
@click.option(
    "--every", "every_s", type=click.FloatRange(min=0.1), default=5.0, show_default=True,
    help="Seconds between two looks at the store, with --follow.",
)  # fmt: skip
@click.option(
    "--log-format", type=click.Choice(FORMATS), default="text", show_default=True,
    help="How lines on stderr look.",
)  # fmt: skip
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
def command(*, follow: bool, every_s: float, log_format: str, path: Path | None) -> None:
    """Write complete hours of rules and samples as Parquet, by local day and hour.

    Where, which and in what row groups: the table [offline] of the configuration.

    \b
    Example:
      labeling export
      labeling export --once
    """
    from labeling.config import find_config, load_config, load_tree
    from labeling.products.offline.exporter import Exporter

    config = load_config(path or find_config())
    start_logging(log_format)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    exporter = Exporter(config, load_tree(config), stopping=stop.is_set)
    if not follow:
        click.echo(_once(exporter, config.store, live_only=False))
        return
    said = ""
    while not stop.is_set():
        try:
            _once(exporter, config.store, live_only=True)
            said = ""
        except StoreError as error:
            # A flow that is not there, or ends now, comes back.
            if str(error) != said:
                said = str(error)
                _LOG.warning("waiting: %s", " ".join(said.split()))
        stop.wait(every_s)


def _once(exporter: Exporter, store: Path, *, live_only: bool) -> str:
    """Export what is due; what was done, in words."""
    from labeling.io.remote import open_store

    if live_only:
        _refuse_unserved(store)
    hours = rows = markers = 0
    with open_store(store, read_only=True, needed=live_only) as opened:
        for done in exporter.run(opened):
            hours += not done.marker_only
            markers += done.marker_only
            rows += 0 if done.marker_only else done.rows
            what = "marker" if done.marker_only else f"{done.rows:,} rows"
            _LOG.info("%s/%s: %s", done.table, done.hour, what)
    return f"{hours:,} hours, {rows:,} rows written; {markers:,} hours had a new marker alone"


def _refuse_unserved(store: Path) -> None:
    """Refuse a store that no process serves.

    Raises:
        StoreError: nobody answers.
    """
    from labeling.io.remote.client import Client
    from labeling.io.remote.live import read_live

    live = read_live(store)
    if live is None or Client(live).greet() is None:
        raise StoreError(
            f"no flow serves {store}; `labeling export --once` exports a closed store",
            transient=True,
        )
