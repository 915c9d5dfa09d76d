"""``labeling golden``: run golden cases in every drive, accept one by name, cut a new one.

Always holds: the last line counts cases, drives and failures; the exit status is 1 where anything
failed. Nothing is written but the expectation of a case named by ``--accept``, and by ``new`` the
folder of a case that was not there.

Not promised: that a case which passes is right. It is what somebody wrote or accepted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from labeling.model.kinds import Rule
    from labeling.testing.drives import Drive
    from labeling.testing.golden_case import Place

_CONFIG = click.option("--config", type=click.Path(path_type=Path), help="labeling.toml to use.")


class _RunByDefault(click.Group):
    """A group in which anything but a subcommand's name is for ``run``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``run`` before what names no subcommand and asks for no help."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["run", *args]
        return super().parse_args(ctx, args)


_EXAMPLE = """\b
Example:
  labeling golden
  labeling golden fixtures/note_labels/two_clicks
  labeling golden --accept two_clicks
  labeling golden new two_clicks --rule note_labels --user u77 --from 2026-11-20T10 \\
    --to 2026-11-20T11
"""


@click.group("golden", cls=_RunByDefault, epilog=_EXAMPLE)
def command() -> None:
    """Golden cases: events in arrival order beside the rows that they must end as.

    `labeling golden [PATH]` runs those of a fixtures folder, of one rule in it, or one case.
    """


@command.command("run")
@click.argument("path", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--accept", "names", multiple=True, metavar="NAME", help="Rewrite what NAME expects.")
@_CONFIG
@click.pass_context
def run(ctx: click.Context, path: Path | None, names: tuple[str, ...], config: Path | None) -> None:
    """Run the cases under PATH (default: the project's fixtures) in every drive.

    Example: labeling golden run fixtures/note_labels
    """
    from labeling.cli.progress import progress_bar
    from labeling.testing.golden_case import places
    from labeling.testing.golden_run import accept, named

    fixtures, rules = _project(path, config)
    every = places(fixtures, rules)
    for place in [named(every, name) for name in names]:
        click.echo(accept(place, rules))
    inside = (path or fixtures).resolve()
    asked = [p for p in every if inside in (p.path, *p.path.parents)]
    drives = _drives()
    failed = 0
    with progress_bar("golden cases", len(asked), "cases") as progress:
        for place in asked:
            failed += _run_case(place, rules, drives)
            progress(1)
    if not asked:
        click.echo(f"{inside}: no golden case here", err=True)
    click.echo(f"{len(asked)} cases, {len(drives)} drives, {failed} failed")
    ctx.exit(1 if failed or not asked else 0)


def _project(path: Path | None, config: Path | None) -> tuple[Path, tuple[Rule, ...]]:
    """The fixtures folder, absolute, and the rules of the configuration beside it."""
    from labeling.config import find_config, load_config, load_rules

    start = path.resolve() if path else None
    found = load_config(config or find_config(start))
    fixtures = found.folder / "fixtures"
    if start is not None and fixtures not in (start, *start.parents):
        fixtures = next((p for p in (start, *start.parents) if p.name == "fixtures"), start)
    if not fixtures.is_dir():
        raise click.UsageError(
            f"{fixtures}: no such folder; name the fixtures, or make a case there"
        )
    return fixtures, load_rules(found)


def _drives() -> tuple[Drive, ...]:
    """Those in memory, and the one through files."""
    from labeling.cli.golden_files import FILES
    from labeling.testing.drives import DRIVES

    return (*DRIVES, FILES)


def _run_case(place: Place, rules: tuple[Rule, ...], drives: tuple[Drive, ...]) -> bool:
    """Whether the case failed; how is said for the first drive that it fails in."""
    from labeling.errors import LabelingError
    from labeling.testing.golden_case import load
    from labeling.testing.golden_run import check

    if place.problem is not None:
        click.echo(f"FAILED {place.said}")
        return True
    try:
        case = load(place.path, rules)
        failures = (check(case, drive) for drive in drives)
        failure = next((f for f in failures if f is not None), None)
    except LabelingError as error:
        click.echo(f"FAILED {error}")
        return True
    if failure is not None:
        click.echo(f"FAILED {failure}")
    return failure is not None


@command.command("new")
@click.argument("name")
@click.option("--rule", "rule_name", required=True, help="The rule that the case is about.")
@click.option("--user", required=True, help="The user whose events are cut out.")
@click.option("--from", "from_ts", required=True, help="First event time, ISO 8601, UTC.")
@click.option("--to", "to_ts", required=True, help="Event time to stop before, ISO 8601, UTC.")
@click.option("--why", default="", help="What the case is there to show.")
@_CONFIG
def new(
    name: str, rule_name: str, user: str, from_ts: str, to_ts: str, why: str, config: Path | None
) -> None:
    """Cut case NAME out of the archive, ids replaced; its rows are left to be accepted.

    Times without an offset are UTC; --from is inclusive, --to is not.

    Example: labeling golden new late_like --rule note_labels --user u77 --from 2026-11-20T10
    --to 2026-11-20T11
    """
    from labeling.cli.golden_source import archived_events, duration_text, named_rule
    from labeling.cli.times import parse_time
    from labeling.config import find_config, load_config, load_rules
    from labeling.testing.golden_cut import write_case

    found = load_config(config or find_config())
    rule = named_rule(load_rules(found), rule_name)
    folder = found.folder / "fixtures" / rule.name / name
    events = archived_events(found, rule, user, parse_time(from_ts), parse_time(to_ts))
    write_case(folder, rule, events, lateness=duration_text(found.lateness_ms), why=why)
    click.echo(f"wrote case.toml and events.txt into {folder}")
    if not why:
        click.echo("say in case.toml why the case exists; until then it fails")
    click.echo(
        f"then accept its rows: pytest --accept {name}   (or labeling golden --accept {name})"
    )
