"""``labeling simulate``: a log of a simulated world, in a file.

Always holds: the same arguments give the same rows; the file appears whole under its name, or
not at all; standard output is one line, progress goes to a terminal only.

Not promised: the same bytes from another version of the libraries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from labeling.errors import ConfigError, DataError

if TYPE_CHECKING:  # the simulator is imported when the command runs: --help stays fast
    from labeling.testing.simulator import FeatureLog, Written

FORMATS: Final = ("parquet", "jsonl")
SHARE: Final = click.FloatRange(0.0, 1.0)


def _start(_: click.Context, __: click.Parameter, value: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: write it as 2026-11-20T00 (UTC)") from error
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def _duration(_: click.Context, __: click.Parameter, value: str) -> int:
    from labeling.model.window import duration_ms

    try:
        return duration_ms(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("simulate")
@click.option("--events", type=click.IntRange(min=1), required=True, help="How many, exactly.")
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="How long, of event time.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Same seed, same rows."
)
@click.option("--start", callback=_start, default="2026-11-20T00", show_default=True, help="UTC.")
@click.option(
    "--disorder",
    "disorder_ms",
    callback=_duration,
    default="0s",
    show_default=True,
    help="Longest wait from happening to arriving.",
)
@click.option("--duplicates", type=SHARE, default=0.0, help="Share that arrives twice.")
@click.option("--late", type=SHARE, default=0.0, help="Share that waits longer than --disorder.")
@click.option(
    "--late-by",
    "late_by_ms",
    callback=_duration,
    default="1h",
    show_default=True,
    help="How much longer, at most.",
)
@click.option("--bad", type=SHARE, default=0.0, help="Share followed by a bad line (jsonl).")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: by --out's suffix.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write."
)
@click.option("--users", type=click.IntRange(min=1), help="Size of the world.")
@click.option("--items", type=click.IntRange(min=1), help="Size of the world.")
@click.option(
    "--features/--no-features",
    default=False,
    help="Also NAME.features.SUFFIX, what the ranking service logged.",
)
@click.option(
    "--feature-bytes",
    "record_bytes",
    type=click.IntRange(min=0),
    default=0,
    help="Pad each record of features to about so many bytes of JSON.",
)
@click.option("--features-missing", "missing", type=SHARE, default=0.0, help="Share of requests.")
@click.option(
    "--features-unshown", "unshown", type=SHARE, default=0.0, help="Further requests, never shown."
)
@click.option(
    "--features-twice", "twice", type=SHARE, default=0.0, help="Share that arrives twice."
)
@click.option(
    "--features-late",
    "served_late",
    type=SHARE,
    default=0.0,
    help="Share that arrives up to --late-by late.",
)
@click.option("--by-request", is_flag=True, help="One record of features for a whole list.")
def command(
    *, users: int | None, items: int | None, form: str | None, out: Path, **given: Any
) -> None:
    """Write a log of simulated traffic: users, sessions, lists, clicks, views and what follows.

    The same arguments give the same rows. docs/simulate.md tells what the world is like.

    \b
    Example:
      labeling simulate --events 1000000 --hours 2 --out traffic.parquet
      labeling simulate --events 50000 --disorder 30s --bad 0.001 --out traffic.jsonl
    """
    from labeling.testing.simulator import Disturbance, World, features_path, write_log

    suffix = out.suffix.lstrip(".")
    chosen = form or (suffix if suffix in FORMATS else "parquet")
    way = {k: given.pop(k) for k in ("disorder_ms", "duplicates", "late", "late_by_ms", "bad")}
    if way["bad"] and chosen != "jsonl":
        raise ConfigError("--bad needs --format jsonl: Parquet holds no line that is no event")
    sizes: dict[str, Any] = {"users": users, "items": items}
    disturbance = Disturbance(**way)
    asked = _features(given, way["late_by_ms"])
    began = time.perf_counter()
    with _explained(out), _progress(given["events"]) as advance:
        world = World(**{name: size for name, size in sizes.items() if size is not None})
        written = write_log(
            world, out, form=chosen, disturbance=disturbance, advance=advance,
            features=asked() if asked else False, **given,
        )  # fmt: skip
    seconds = time.perf_counter() - began
    beside = f", {written.features:,} features: {features_path(out)}" if asked else ""
    click.echo(f"{_summary(given['events'], written, seconds)}: {out}{beside}")


def _features(given: dict[str, Any], late_by_ms: int) -> Callable[[], FeatureLog] | None:
    """Take what is about features out of the options: how they are made, None for no features."""
    from labeling.testing.simulator import FeatureLog

    names = {"twice": "duplicates", "served_late": "late"}
    options = ("record_bytes", "missing", "unshown", "twice", "served_late", "by_request")
    told = {names.get(name, name): given.pop(name) for name in options}
    if given.pop("features"):
        return lambda: FeatureLog(**told, late_by_ms=late_by_ms)
    if any(told.values()):
        raise ConfigError("options of features need --features")
    return None


def _summary(events: int, written: Written, seconds: float) -> str:
    repeats = written.rows - events
    more = [f"{n:,} {what}" for n, what in ((repeats, "repeats"), (written.bad, "bad lines")) if n]
    extra = f" (and {', '.join(more)})" if more else ""
    return f"{events:,} events{extra} in {seconds:.1f} s, {events / seconds:,.0f}/s"


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    """Errors of the simulator as errors of the command line."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"cannot write {out}: {reason}; make room or name another --out") from error


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Call what this gives with each number of events made."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("events", total=total)
        yield lambda count: bar.advance(task, count)
