"""The command line: which commands there are, and how they end.

Always holds: a command's module is imported only when the command is asked for; an error that
names its own fix is one line on stderr, ``labeling: error: ...``, without a traceback; the exit
status is 0 when done, 1 when the thing checked is not so or the data was refused, 2 when the
arguments or the configuration make no sense, 130 on Ctrl-C, 141 when the reader of the output
went away.

Not promised: a clean end for errors that name no fix. They are bugs and show their traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

import click

from labeling.errors import LabelingError

#: Command to its module in this package, in the order of ``--help``. Each module has one click
#: command (or group) named ``command``; a trailing underscore frees a name from the language.
COMMANDS: Final[Mapping[str, str]] = {
    "init": "init",
    "demo": "demo",
    "simulate": "simulate",
    "source": "source",
    "import": "import_",
    "rejects": "rejects",
    "run": "run",
    "status": "status",
    "replay": "replay",
    "repair": "repair",
    "compact": "compact",
    "export": "export",
    "verify": "verify",
    "recount": "recount",
    "unused": "unused",
    "activate": "activate",
    "wait": "wait",
    "notify": "notify",
    "explain": "explain",
    "sql": "sql",
    "snapshot": "snapshot",
    "golden": "golden",
    "check": "check",
}
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141


class Commands(click.Group):
    """The group of ``COMMANDS``, each loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order in which a newcomer meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, its module imported now; None where there is none."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"labeling.cli.{COMMANDS[cmd_name]}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"labeling.cli.{COMMANDS[cmd_name]}: 'command' is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the first argument.

        Raises:
            click.exceptions.NoSuchCommand: there is none; the message shows the nearest.
        """
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(
                error.command_name, possibilities=COMMANDS, ctx=ctx
            ) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what names its own fix becomes one line.

        Raises:
            click.exceptions.Exit: with the status of the ``LabelingError`` that was printed, or
                with ``BROKEN_PIPE`` where the reader of the output went away.
        """
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # What is still buffered has no reader: keep the interpreter from writing it at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(BROKEN_PIPE) from None
        except LabelingError as error:
            click.echo(f"labeling: error: {' '.join(str(error).split())}", err=True)
            raise click.exceptions.Exit(error.exit_code) from None
        return result


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="labeling-stream", prog_name="labeling")
def group() -> None:
    """Labels over event logs: a rule written once, the same rows live and in replay.

    Every command has its own --help with an example.

    \b
    Example:
      labeling init shop
      labeling replay --help
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit the process; the script ``labeling`` is this.

    Args:
        args: the arguments, ``sys.argv[1:]`` when None.

    Raises:
        SystemExit: always, with a status of the module's docstring.
    """
    sys.exit(_run(args))


def _run(args: Sequence[str] | None) -> int:
    """The exit status: what the command returned or gave ``ctx.exit``, 0 without either."""
    try:
        result = group.main(args, prog_name="labeling", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("labeling: interrupted", err=True)
        return INTERRUPTED
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


if __name__ == "__main__":
    main()
