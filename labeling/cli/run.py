"""``labeling run``: the rules over live topics.

Always holds: every batch is committed whole, positions with their effects, so that a stop by
SIGTERM, a crash or a power cut loses nothing and doubles nothing; SIGTERM ends with status 0 after
what was read is committed.

Not promised: an end. Only ``--until-caught-up`` ends by itself.
"""

from __future__ import annotations

import gc
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labeling.cli.logs import FORMATS, start_logging
from labeling.errors import ConfigError

if TYPE_CHECKING:
    from labeling.config.settings import Config


@click.command("run")
@click.option("--until-caught-up", is_flag=True, help="Read to the present end of the topics.")
@click.option(
    "--process", "-i", type=click.IntRange(min=0), default=0, show_default=True,
    help="The number of this process; process 0 holds the store.",
)  # fmt: skip
@click.option(
    "--addresses", "-a", default="", metavar="HOST:PORT,...",
    help="Of all processes of the flow, the same for each; none: this is the only one.",
)  # fmt: skip
@click.option(
    "--restart-topic", "restart", multiple=True, metavar="TOPIC",
    help="Forget the positions of a topic that was deleted and made anew.",
)  # fmt: skip
@click.option(
    "--log-format", type=click.Choice(FORMATS), default="text", show_default=True,
    help="How lines on stderr look.",
)  # fmt: skip
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
def command(
    until_caught_up: bool,
    process: int,
    addresses: str,
    restart: tuple[str, ...],
    log_format: str,
    path: Path | None,
) -> None:
    """Read Kafka topics, label what comes, and publish into the store.

    \b
    Example:
      labeling run
      labeling run --until-caught-up
      labeling run -i 0 -a 127.0.0.1:9001,127.0.0.1:9002
    """
    from labeling.cli.running import Running
    from labeling.config import find_config, load_config, load_tree

    config = load_config(path or find_config())
    places = [a.strip() for a in addresses.split(",") if a.strip()]
    _check(config, process, places)
    start_logging(log_format)
    tree = load_tree(config)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    running = Running(config, tree, stop, process, tuple(places))
    # What was loaded stays: the collector need not walk it again and again.
    gc.freeze()
    try:
        for line in running.run(until_caught_up=until_caught_up, restart=restart):
            click.echo(line)
    finally:
        gc.unfreeze()


def _check(config: Config, process: int, places: list[str]) -> None:
    """Hold the arguments to each other.

    Raises:
        ConfigError: a process that is none of the addresses, fewer shards than processes.
    """
    if process >= max(1, len(places)):
        raise ConfigError(
            f"--process {process}: there are {len(places)} addresses; processes count from 0"
        )
    if len(places) > config.live.shards:
        raise ConfigError(
            f"{len(places)} processes for {config.live.shards} shards: set shards under [live] to "
            "at least as many"
        )
