"""``labeling demo``: from simulated traffic to labels, by the commands that anybody would use.

Always holds: what stands behind a ``$`` is what runs, in this process and in the demo's folder, so
that it can be typed there again; the first command that fails ends the demo with its status.

Not promised: that the traffic is like yours. Nothing outside the demo's folder is written.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import click

#: The hour of the traffic, UTC: past on any machine, since the future is rejected.
HOUR: Final = ("2025-11-20T10", "2025-11-20T11")

_COUNTS: Final = (
    "select records, events, rejected, too_late, duplicate, accepted, adds_up from counts_total"
)
_REASONS: Final = (
    "select reason, count(*) as records, min(detail) as example from rejects "
    "group by reason order by reason"
)
_LABELS: Final = (
    "select user_id, strftime(anchor_ts, '%H:%M:%S') as shown_at, item_id, position, clicked, "
    "dwell_ms, valid_click, liked, revision from note_labels where user_id = (select user_id "
    "from note_labels group by user_id order by count(*) filter (liked) desc, "
    "count(*) filter (clicked) desc, user_id limit 1) order by anchor_ts, anchor_id limit 12"
)
#: What to go on with.
_SCENES: Final = (
    "select scene, count(*) as shown, round(100 * avg(clicked::int), 1) as clicked_percent, "
    "round(avg(dwell_ms) / 1000, 1) as dwell_s from note_labels_final group by scene order by scene"
)
_FURTHER: Final = (
    _SCENES,
    "select kind, reason, count(*) as rows from label_changes group by all",
    "select anchor_id, old, new from label_changes order by anchor_ts, anchor_id limit 5",
)


@click.command("demo")
@click.option(
    "--events", type=click.IntRange(min=1_000), default=100_000, show_default=True,
    help="Size of the traffic.",
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
def command(ctx: click.Context, events: int, seed: int, folder: Path | None) -> None:
    """Simulate an hour of traffic, import it, replay it, and look at the labels.

    Among the traffic are repeats, late events and bad records: each is accounted for.

    \b
    Example:
      labeling demo
      labeling demo --events 500000 --keep shop
    """
    from labeling.cli.init import write_project

    began = time.perf_counter()
    place = folder or Path(mkdtemp(prefix="labeling-demo-"))
    write_project(place, "demo_project")
    click.echo(f"The demo's project: {place}\n\n$ cd {shlex.quote(str(place))}")
    with contextlib.chdir(place):
        for why, line in _steps(events, seed):
            click.echo(f"\n# {why}\n$ labeling {_shown(line)}")
            if status := _run(line):
                ctx.exit(status)
    click.echo("\n# Go on with:")
    for statement in _FURTHER:
        click.echo(f'labeling sql "{statement}"')
    click.echo(f"\ndemo: done in {time.perf_counter() - began:.1f} s; all of it is in {place}")


def _steps(events: int, seed: int) -> tuple[tuple[str, Sequence[str]], ...]:
    """Why each command is run, and its words."""
    start, end = HOUR
    traffic = (
        "simulate", "--events", str(events), "--seed", str(seed), "--start", start,
        "--disorder", "30s", "--duplicates", "0.01", "--late", "0.002", "--bad", "0.001",
        "--out", "traffic.jsonl",
    )  # fmt: skip
    return (
        ("An hour of traffic; some of it arrives twice, late, or spoiled.", traffic),
        ("Into the archive: each event once.", ("import",)),
        ("Every event read ends as exactly one of four.", ("sql", _COUNTS)),
        ("Why records were rejected; `labeling rejects` shows each.", ("sql", _REASONS)),
        ("The rule of rules.py over the hour.", ("replay", "--from", start, "--to", end)),
        ("What one user did with what was shown.", ("sql", _LABELS)),
    )


def _shown(line: Sequence[str]) -> str:
    """The words as they would be typed."""
    return " ".join(f'"{word}"' if " " in word else word for word in line)


def _run(line: Sequence[str]) -> int:
    """Run one command of the command line here; its status."""
    from labeling.cli.main import group

    status = group.main(list(line), prog_name="labeling", standalone_mode=False)
    return status if isinstance(status, int) else 0
