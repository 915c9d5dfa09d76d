"""``labeling notify``: markers to web addresses and commands.

Always holds: one process tells the markers of a store at a time; SIGTERM ends it with status 0
after the try at hand, and the next one goes on where this one ended. The store is not kept open.

Not promised: an end without ``--once``.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from labeling.errors import ConfigError, DataError

if TYPE_CHECKING:
    from labeling.config.settings import Config
    from labeling.io.store import Store
    from labeling.products.markers.hooks import Hook
    from labeling.products.markers.notify import Courier

#: Tries of one marker with ``--once``.
_TRIES: Final = 5
_IDLE_S: Final = 0.05
#: A try that is under way may take so long to end: the longest timeout is the operator's.
_JOIN_S: Final = 20.0


@click.command("notify")
@click.option("--exec", "run", metavar="CMD", help="Run this for each; the marker on stdin.")
@click.option("--once", is_flag=True, help="Tell what there is, then end.")
@click.option("--skip", is_flag=True, help="Note everything there is as told, and end.")
@click.option("--every", default="1s", show_default=True, help="How often to look for markers.")
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
def command(run: str | None, once: bool, skip: bool, every: str, path: Path | None) -> None:
    """Tell every marker to the [[webhook]]s of the configuration, and to --exec.

    \b
    Example:
      labeling notify
      labeling notify --exec 'jq -r .hour >> hours.txt' --once
    """
    from labeling.cli.logs import start_logging
    from labeling.config import find_config, load_config
    from labeling.io import leases
    from labeling.products.markers.hooks import hooks_of

    config = load_config(path or find_config())
    hooks = hooks_of(config.webhooks, run)
    if not hooks:
        raise ConfigError(f"{config.path}: nobody to tell; add a [[webhook]], or give --exec CMD")
    start_logging("text")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with leases.telling(config.store) as mine:
        if not mine:
            raise DataError(f"another `labeling notify` tells the markers of {config.store}")
        if skip:
            _skip(config, hooks)
        else:
            _tell(config, hooks, stop, _seconds(every), once=once)


def _tell(
    config: Config, hooks: Sequence[Hook], stop: threading.Event, every_s: float, *, once: bool
) -> None:
    """Look for markers and have them told, until stopped or all is told.

    Raises:
        DataError: with ``once``, the store cannot be asked, or a hook did not take a marker.
    """
    from labeling.io.remote.watching import Watch

    watch = Watch(config.store)
    couriers: list[Courier] = []
    while not stop.is_set():
        if any(c.hungry for c in couriers):
            watch.forget()
        with watch.look() as store:
            if store is not None:
                couriers = couriers or _started(store, hooks, stop, _TRIES if once else None)
                for courier in couriers:
                    courier.bring(store)
        if once and (watch.why is not None or not any(c.hungry or not c.idle for c in couriers)):
            break
        stop.wait(_IDLE_S if once else every_s)
    stop.set()
    for courier in couriers:
        courier.join(_JOIN_S)
    failed = [watch.why] if once and watch.why else [c.failed for c in couriers if c.failed]
    if failed:
        raise DataError("; ".join(map(str, failed)))


def _started(
    store: Store, hooks: Sequence[Hook], stop: threading.Event, tries: int | None
) -> list[Courier]:
    """A courier for each hook, at work."""
    from labeling.products.markers.notify import Courier, progress_of

    progress = progress_of(store)
    couriers = [Courier(hook, progress, stop, tries) for hook in hooks]
    for courier in couriers:
        courier.start()
    return couriers


def _skip(config: Config, hooks: Sequence[Hook]) -> None:
    """Note everything there is as told."""
    from labeling.io.remote import open_store
    from labeling.products.markers.notify import progress_of, skip_all

    with open_store(config.store, read_only=True) as store:
        skip_all(store, hooks, progress_of(store))


def _seconds(text: str) -> float:
    """A duration such as ``500ms``, in seconds.

    Raises:
        ConfigError: it is none.
    """
    from labeling.model.window import duration_ms

    try:
        return duration_ms(text) / 1000
    except ValueError as error:
        raise ConfigError(f"--every: {error}") from error
