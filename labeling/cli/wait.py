"""``labeling wait``: until hours are complete, for schedulers.

Always holds: the exit status is 0 when every hour is there, or that of ``--exec``; 1 when one is
held, 2 when the arguments make no sense, 3 when the time was up. The store is not kept open: flows
and replays may start and end meanwhile.

Not promised: an end without ``--timeout``. An hour that nobody publishes never comes.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from labeling.cli.times import parse_hour
from labeling.errors import ConfigError, DataError

if TYPE_CHECKING:
    from labeling.config.settings import Config
    from labeling.products.markers.awaiting import Awaited, Seen

#: The exit status when the time was up.
TIMED_OUT: Final = 3
_MOST_WAIT_S: Final = 60.0
_SHOWN: Final = 3


@click.command("wait")
@click.option("--rule", required=True, metavar="NAME", help="Rule or sample; NAME@VERSION.")
@click.option("--through", required=True, metavar="HOUR", help="The last hour (UTC), inclusive.")
@click.option("--from", "from_", metavar="HOUR", help="The first one; else the rule's first.")
@click.option("--settled", is_flag=True, help="Until the stream changes them no more.")
@click.option("--ignore-held", is_flag=True, help="Also when the brake of [health] is on.")
@click.option("--timeout", metavar="DURATION", help="Give up after so long, with status 3.")
@click.option("--every", default="1s", show_default=True, help="How often to look.")
@click.option("--exec", "run", metavar="CMD", help="Then run this; markers as JSON on stdin.")
@click.option(
    "--retries", default=3, show_default=True, type=click.IntRange(0),
    help="How often CMD is run again while it fails.",
)  # fmt: skip
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
@click.pass_context
def command(  # noqa: PLR0913, PLR0917 - one argument for each option
    ctx: click.Context,
    rule: str,
    through: str,
    from_: str | None,
    settled: bool,
    ignore_held: bool,
    timeout: str | None,
    every: str,
    run: str | None,
    retries: int,
    path: Path | None,
) -> None:
    """Wait until every hour of a rule up to and including --through is complete.

    \b
    Example:
      labeling wait --rule note_labels --through 2026-11-20T10 --timeout 2h
      labeling wait --rule note_samples --from 2026-11-20T00 --through 2026-11-20T23 \\
        --settled --exec 'spark-submit train.py'
    """
    from labeling.config import find_config, load_config
    from labeling.products.markers.awaiting import Awaited

    config = load_config(path or find_config())
    name, version = _named(config, rule)
    first = parse_hour(from_) if from_ else None
    awaited = Awaited(name, version, parse_hour(through), first, settled)
    if awaited.first is not None and awaited.first > awaited.through:
        raise ConfigError(f"--from {from_} is after --through {through}")
    timeout_s = _seconds("--timeout", timeout) if timeout else None
    found = _wait(config, awaited, timeout_s, _seconds("--every", every))
    if found.missing:
        ctx.exit(TIMED_OUT)
    if found.held and not ignore_held:
        raise DataError(
            f"{name}@{found.version}: {_some(found.held)}; look at its labels, then go on with "
            "--ignore-held, or publish the hours anew"
        )
    if run is not None:
        ctx.exit(_run(run, found, retries))
    state = "settled" if settled else "complete"
    click.echo(f"{name}@{found.version}: {len(found.markers)} hours through {through} are {state}")


def _wait(config: Config, awaited: Awaited, timeout_s: float | None, every_s: float) -> Seen:
    """Look until all hours are there, or the time is up: then something is missing."""
    from labeling.io.remote.watching import Watch
    from labeling.products.markers.awaiting import Seen, seen

    watch = Watch(config.store)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    last, said = Seen(missing=[awaited.through]), ""
    while True:
        with watch.look() as store:
            if store is not None:
                last = seen(store.database, awaited)
        if not last.missing:
            return last
        over = deadline is not None and time.monotonic() >= deadline
        what = _missing(awaited, last)
        why = watch.why or ("" if watch.served else f"nobody serves {config.store}")
        if over:
            click.echo(f"labeling: timed out: {what}{f' ({why})' if why else ''}", err=True)
            return last
        if why and why != said:
            click.echo(f"labeling: waiting: {what} ({why})", err=True)
        said = why
        time.sleep(every_s)


def _missing(awaited: Awaited, last: Seen) -> str:
    hours = _some([f"{hour:%Y-%m-%dT%H}" for hour in last.missing])
    state = "settled" if awaited.settled else "complete"
    return f"{awaited.rule}: not {state}: {hours}"


def _some(texts: list[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _run(run: str, found: Seen, retries: int) -> int:
    """Run a command with the markers on standard input; its status, of the last try."""
    from labeling.products.markers.rows import marker_lines

    lines = marker_lines(found.markers).encode()
    for wait_s in _waits(retries):
        status = subprocess.run(["/bin/sh", "-c", run], input=lines, check=False).returncode  # noqa: S603 - the operator's own command
        if status == 0 or wait_s is None:
            break
        click.echo(f"labeling: status {status}; again in {wait_s:g} s", err=True)
        time.sleep(wait_s)
    # As a shell says it of what a signal ended.
    return 128 - status if status < 0 else status


def _waits(retries: int) -> Iterator[float | None]:
    """How long to wait after each try; None after the last."""
    for number in range(retries):
        yield min(_MOST_WAIT_S, 2.0**number)
    yield None


def _named(config: Config, rule: str) -> tuple[str, int | None]:
    """Name and version of a rule or sample of the configuration.

    Raises:
        ConfigError: there is none.
    """
    from labeling.config import load_tree

    tree = load_tree(config)
    known = [*tree.rules, *tree.samples]
    name, _, version = rule.partition("@")
    if rule not in {k for one in known for k in (one.name, one.key)}:
        there = ", ".join(one.key for one in known)
        raise ConfigError(f"--rule {rule}: no such rule or sample; there are {there}")
    return name, int(version) if version else None


def _seconds(option: str, text: str) -> float:
    """A duration such as ``90s`` or ``2h``, in seconds.

    Raises:
        ConfigError: it is none.
    """
    from labeling.model.window import duration_ms

    try:
        return duration_ms(text) / 1000
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error
