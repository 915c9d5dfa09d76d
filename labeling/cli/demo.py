"""``labeling demo``: from simulated traffic to labels, live, and the proof that they are right.

Always holds: what stands behind a ``$`` is what runs, in the demo's folder, so that it can be typed
there again (`labeling run` needs a broker to read from); the first command that fails ends the demo
with its status; the last line is that of `labeling verify`; no process is left, nor anything
written outside the demo's folder, also after Ctrl-C.

Not promised: that the traffic is like yours, nor a rate: four hours are sent in half a minute.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp
from types import FrameType
from typing import TYPE_CHECKING, Final

import click

from labeling.errors import DataError

if TYPE_CHECKING:
    from labeling.cli.demo_flow import RunningFlow
    from labeling.cli.demo_traffic import Sender
    from labeling.io.kafka import TopicWriter

_COUNTS: Final = (
    "select records, events, rejected, too_late, duplicate, accepted, adds_up from counts_total"
)
_REASONS: Final = (
    "select reason, count(*) as records, min(detail) as example from rejects "
    "group by reason order by reason"
)
#: The label worth telling: one of a click that a late event corrected, if there is one.
_TOLD: Final = (
    "select user_id, anchor_id from label_changes join note_labels using (user_id, anchor_id) "
    "where note_labels.anchor_ts < timestamptz '{before}' group by all "
    "order by bool_or(reason = 'late') and bool_or(valid_click) and max(dwell_ms) < 40_000 desc, "
    "count(*) desc, bool_or(liked) desc, user_id, anchor_id limit 1"
)
#: What to go on with.
_FURTHER: Final = (
    (
        "select scene, count(*) as shown, round(100 * avg(clicked::int), 1) as clicked_percent, "
        "round(avg(dwell_ms) / 1000, 1) as dwell_s from note_labels_final "
        "group by scene order by scene"
    ),
    "select kind, reason, count(*) as rows from label_changes group by all",
    "select anchor_id, reason, old, new from label_changes order by anchor_ts, anchor_id limit 5",
)
_TICK_S: Final = 0.5
#: How long the flow may take for what is left once everything is sent.
_CATCH_UP_S: Final = 120.0


@click.command("demo")
@click.option(
    "--events", type=click.IntRange(min=1_000, max=200_000), default=100_000, show_default=True,
    help="Size of the traffic; the demo's broker keeps no more.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=25, show_default=True,
    help="How long the traffic is sent; 0: as fast as it goes.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True,
    help="Same seed, same traffic.",
)  # fmt: skip
@click.option(
    "--keep", "folder", type=click.Path(path_type=Path), metavar="DIR",
    help="The demo's folder, new or empty; default: a temporary one, which stays.",
)  # fmt: skip
@click.pass_context
def command(
    ctx: click.Context, events: int, seconds: float, seed: int, folder: Path | None
) -> None:
    """Label live traffic over a small Kafka, verify it by replay, and tell one label's story.

    Among the traffic are repeats, late events and bad records: each is accounted for.

    \b
    Example:
      labeling demo
      labeling demo --events 200000 --keep shop
    """
    from labeling.cli.init import write_project

    place = folder or Path(mkdtemp(prefix="labeling-demo-"))
    write_project(place, "demo_project")
    with contextlib.chdir(place), _terminated():
        click.echo(f"The demo's project: {place}\n\n$ cd {shlex.quote(str(place))}")
        _live(events, seconds, seed)
        verified = _proof()
    click.echo(f"\n# Go on in {place}:")
    for statement in _FURTHER:
        click.echo(f"labeling sql {shlex.quote(statement)}")
    click.echo(f"\n{verified}")
    ctx.exit(0)


def _live(events: int, seconds: float, seed: int) -> None:
    """The flow, from its start to its stop, with traffic through it."""
    from labeling.cli.demo_flow import running_flow
    from labeling.cli.demo_traffic import HOURS, Sender, records

    values = records(events, seed)
    with ExitStack() as stack:
        writer = stack.enter_context(_topic())
        _say(
            f"{HOURS} hours of traffic, {len(values):,} records: some come twice, late or spoiled. "
            "The flow reads\n# them from a small Kafka that the demo has started.",
            "run > run.out 2> run.log &",
        )
        flow = stack.enter_context(running_flow(Path.cwd(), Path("store.duckdb")))
        flow.wait_for()
        _watch(flow, Sender(writer, values, seconds))
        _run("Every event ends as exactly one of four. The flow itself answers.", "sql", _COUNTS)
        _run("Why records were rejected; `labeling rejects` shows each.", "sql", _REASONS)
        click.echo("\n# Stopped, it commits what it has read, and ends.\n$ kill %1")
        click.echo(flow.stop())


@contextmanager
def _topic() -> Iterator[TopicWriter]:
    """A broker, written into the configuration, and the topic to send to."""
    from labeling.cli.demo_broker import broker
    from labeling.cli.demo_traffic import TOPIC
    from labeling.config.cluster import ClusterConfig
    from labeling.io.kafka import Cluster, TopicWriter

    config = Path("labeling.toml")
    with broker() as address:
        config.write_text(config.read_text().replace("BROKER", address))
        with TopicWriter(Cluster("main", ClusterConfig(bootstrap=address)), TOPIC) as writer:
            yield writer


def _watch(flow: RunningFlow, sender: Sender) -> None:
    """Send, and show what becomes of it, until all of it has been committed.

    Raises:
        DataError: the flow does not get there.
    """
    from labeling.cli.demo_view import Seen, watching

    began = time.monotonic()
    deadline = began + sender.seconds + _CATCH_UP_S
    with watching() as show:
        while True:
            now = time.monotonic() - began
            done = sender.advance(now)
            seen = Seen(now, sender.sent, len(sender.values), flow.status())
            show(seen)
            if done and seen.records >= len(sender.values):
                return
            if time.monotonic() > deadline:
                raise DataError(
                    f"the flow has read {seen.records:,} of {sender.sent:,} records and does not "
                    f"go on: {flow.folder}/run.log says more"
                )
            time.sleep(_TICK_S)


def _proof() -> str:
    """Verify the settled hours, and tell one label; the last line of the verification."""
    from labeling.cli.demo_traffic import HOURS, START
    from labeling.io.store import Store

    end = START + timedelta(hours=HOURS - 1)
    span = [f"{at:%Y-%m-%dT%H}" for at in (START, end)]
    verified = _run(
        "The settled hours again, replayed from the archive, and compared row by row.",
        "verify", "--from", span[0], "--to", span[1],
    )  # fmt: skip
    with Store.open("store.duckdb", read_only=True) as store:
        told = store.query(_TOLD.format(before=end.isoformat()))
    for user, anchor in told.iter_rows():
        _run(
            "One label, event by event.",
            "explain", "note_labels", "--user", user, "--anchor", anchor,
        )  # fmt: skip
    return verified.splitlines()[-1]


def _say(why: str, line: str) -> None:
    click.echo(f"\n# {why}\n$ labeling {line}")


def _run(why: str, *words: str) -> str:
    """Run one command of the command line here; what it printed.

    Raises:
        click.exceptions.Exit: it failed.
    """
    from labeling.cli.main import group

    _say(why, shlex.join(words))
    printed = _Kept(io.BytesIO(), encoding="utf-8", write_through=True)
    try:
        with contextlib.redirect_stdout(printed):
            status = group.main(list(words), prog_name="labeling", standalone_mode=False)
    finally:
        printed.seek(0)
        text = printed.read()
        click.echo(text, nl=False)
    if status:
        raise click.exceptions.Exit(status)
    return text


class _Kept(io.TextIOWrapper):
    """What a command prints, as wide as it would be where it is going."""

    def isatty(self) -> bool:
        """Whether the demo prints to a terminal."""
        return sys.__stdout__ is not None and sys.__stdout__.isatty()


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: its processes first."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    signals = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
