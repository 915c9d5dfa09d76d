"""A bar for what takes more than a few seconds, where somebody watches.

Always holds: it is drawn on stderr, and only where that is a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left; yields what is to be told of each advance.

    Args:
        title: what is being done.
        total: how many units there are, as far as is known.
        unit: what is counted, such as ``events``.
    """
    if not sys.stderr.isatty() or not total:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, rate="")

        def advance(units: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=units, rate=f"{speed:,.0f} {unit}/s" if speed else "")

        yield advance
