"""``labeling check``: hold rules to the laws, and show the smallest events that break one.

Always holds: one line per rule and check, the last line counts them; the exit status is 1 where a
check failed and 2 where there are no rules to check. Nothing is written.

Not promised: a proof. Another ``--seed`` or more ``--examples`` try more.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labeling.errors import ConfigError, LabelingError

if TYPE_CHECKING:
    from labeling.model.kinds import Rule


@click.command("check")
@click.argument("spec", metavar="[MODULE:RULES]", required=False)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True,
    help="Of the random streams.",
)  # fmt: skip
@click.option(
    "--examples", type=click.IntRange(min=1), default=60, show_default=True,
    help="Random streams per rule.",
)  # fmt: skip
@click.option("--config", type=click.Path(path_type=Path), help="labeling.toml to use.")
@click.pass_context
def command(
    ctx: click.Context, spec: str | None, seed: int, examples: int, config: Path | None
) -> None:
    """Hold rules to the laws: does anything change their rows that must not?

    Rules are those of labeling.toml, or a tuple in a module of the working directory. They run on
    the events of the golden cases in fixtures/ and on random ones.

    \b
    Example:
      labeling check
      labeling check rules:RULES --seed 7 --examples 200
    """
    from labeling.testing.check import check, fixture_events

    rules, fixtures = _project(spec, config)
    given = fixture_events(fixtures, rules) if fixtures.is_dir() else {}
    made = failed = 0
    for result in check(rules, fixtures=given, seed=seed, examples=examples):
        made += 1
        failed += result.broken is not None
        click.echo(str(result))
    count = f"{len(rules)} rule{'' if len(rules) == 1 else 's'}"
    click.echo(f"{count}, {made} checks, {failed} failed")
    ctx.exit(1 if failed else 0)


def _project(spec: str | None, config: Path | None) -> tuple[tuple[Rule, ...], Path]:
    """The rules to check and the fixtures folder, which need not exist.

    Raises:
        ConfigError: there are no rules, or they cannot be imported.
    """
    from labeling.config import find_config, load_config, load_rules

    if spec is not None:
        folder = Path.cwd() if config is None else config.resolve().parent
        rules = _named(spec, folder)
    else:
        found = load_config(config or find_config())
        folder, rules = found.folder, load_rules(found)
    if not rules:
        raise ConfigError(f"{spec or 'rules'}: an empty tuple; there is nothing to check")
    return rules, folder / "fixtures"


def _named(spec: str, folder: Path) -> tuple[Rule, ...]:
    """The rules of ``MODULE:RULES``, modules of the folder first."""
    from labeling.testing.golden_run import rules_of

    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return rules_of(folder, spec)
    except LabelingError:
        raise
    except Exception as error:
        raise ConfigError(
            f"rules {spec!r}: importing them failed: {type(error).__name__}: {error}"
        ) from error
