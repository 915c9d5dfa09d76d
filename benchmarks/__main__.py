"""``python -m benchmarks [NAME [--PARAMETER VALUE ...]]``: one benchmark, or small sizes of all.

Always holds: without a name every benchmark runs in a process of its own, so that none is
measured in the memory of another. Parameters are those of the benchmark's ``run``.

Not promised: that small sizes say much about speed. They say that the benchmarks run.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import subprocess
import sys
from typing import Any, Final

from benchmarks import measure

NAMES: Final = (
    "evaluate",
    "sql_twin",
    "step",
    "held",
    "importing",
    "replay",
    "live",
    "restart",
    "cold",
    "attribution",
    "offline",
    "samples_reader",
)


def main(words: list[str]) -> int:
    """Run what the words ask for; the exit status."""
    if not words:
        for name in NAMES:
            command = [sys.executable, "-m", "benchmarks", name, *_small(name)]
            status = subprocess.run(command, check=False).returncode
            if status:
                return status
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True)
    for name in NAMES:
        run = importlib.import_module(f"benchmarks.{name}").run
        command_parser = commands.add_parser(name, description=run.__doc__)
        for option, parameter in inspect.signature(run, eval_str=True).parameters.items():
            command_parser.add_argument(
                f"--{option.replace('_', '-')}",
                type=parameter.annotation,
                default=parameter.default,
            )
    chosen = vars(parser.parse_args(words))
    print(told(chosen.pop("name"), chosen), flush=True)
    return 0


def told(name: str, parameters: dict[str, Any]) -> str:
    """Run a benchmark; its line of JSON."""
    load = round(os.getloadavg()[0], 1)
    results = importlib.import_module(f"benchmarks.{name}").run(**parameters)
    return measure.line(name, parameters, results, load)


def _small(name: str) -> list[str]:
    small: dict[str, Any] = importlib.import_module(f"benchmarks.{name}").SMALL
    return [
        word
        for option, value in small.items()
        for word in (f"--{option.replace('_', '-')}", str(value))
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
