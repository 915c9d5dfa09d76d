"""What is seen of the demo's flow while it runs, from its own ``/status``.

Always holds: every figure is the flow's; on a terminal one table is drawn anew, elsewhere a line is
printed every few seconds and at the end.

Not promised: a figure of every instant. The flow is asked twice a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

_LINE_EVERY_S: Final = 5.0
_OUTCOMES: Final = ("accepted", "duplicate", "rejected", "too_late")


@dataclass(frozen=True)
class Seen:
    """What was known at one time."""

    at_s: float
    sent: int
    total: int
    status: Mapping[str, Any]

    @property
    def events(self) -> dict[str, int]:
        """Events read, by outcome."""
        told = self.status.get("events", {})
        return {o: sum(n for name, n in told.items() if name.endswith(f".{o}")) for o in _OUTCOMES}

    @property
    def records(self) -> int:
        """Records read and committed."""
        return sum(self.status.get("records", {}).values())

    @property
    def rows(self) -> dict[str, int]:
        """Changes published, by kind."""
        told = self.status.get("changes", {})
        return {
            k: sum(n for name, n in told.items() if name.endswith(f".{k}"))
            for k in ("insert", "update", "retract")
        }

    @property
    def watermark(self) -> str:
        """Of the rule that is furthest behind."""
        marks = self.status.get("watermarks", {})
        known = [at for name, at in marks.items() if name.startswith("rule.") and at]
        return min(known, default="-")[:19]

    @property
    def freshness(self) -> str:
        """From a record's append to its rows in SQL."""
        fresh = self.status.get("freshness_s", {})
        return " ".join(f"{name} {value:.1f} s" for name, value in fresh.items()) or "-"


@contextmanager
def watching() -> Iterator[Callable[[Seen], None]]:
    """Show what is seen, for as long as the block lasts; yields what shows it."""
    console = Console()
    if not console.is_terminal:
        printer = _Lines()
        yield printer
        printer.finish()
        return
    first: list[Seen] = []
    with Live(console=console, auto_refresh=False) as live:

        def show(seen: Seen) -> None:
            first.append(seen)
            live.update(rates(first[max(0, len(first) - 8)], seen), refresh=True)

        yield show


class _Lines:
    """A line every few seconds."""

    def __init__(self) -> None:
        self._printed: Seen | None = None
        self._last: Seen | None = None

    def __call__(self, seen: Seen) -> None:
        self._last = seen
        if self._printed is None or seen.at_s - self._printed.at_s >= _LINE_EVERY_S:
            self._print(seen)

    def finish(self) -> None:
        """The last one is always shown."""
        if self._last is not None and self._last is not self._printed:
            self._print(self._last)

    def _print(self, seen: Seen) -> None:
        counts = ", ".join(f"{n:,} {o.replace('_', ' ')}" for o, n in seen.events.items())
        click.echo(
            f"{seen.at_s:5.1f} s: {seen.sent:,} sent, {seen.sent - seen.records:,} to read; "
            f"{counts}; {seen.rows['insert']:,} rows, {seen.rows['update']:,} updates; "
            f"watermark {seen.watermark}; fresh {seen.freshness}"
        )
        self._printed = seen


def rates(before: Seen, now: Seen) -> Table:
    """A table of the figures, and of how fast they grow since ``before``."""
    span = max(now.at_s - before.at_s, 0.001)
    table = Table(title=f"labeling run, {now.at_s:.0f} s", title_justify="left")
    table.add_column("")
    table.add_column("total", justify="right", min_width=19)
    table.add_column("a second", justify="right", min_width=8)

    def row(name: str, value: int, was: int) -> None:
        table.add_row(name, f"{value:,}", f"{(value - was) / span:,.0f}")

    row(f"records sent, of {now.total:,}", now.sent, before.sent)
    row("records read", now.records, before.records)
    for outcome in _OUTCOMES:
        row(f"  {outcome.replace('_', ' ')}", now.events[outcome], before.events[outcome])
    for kind in ("insert", "update", "retract"):
        row(f"rows: {kind}", now.rows[kind], before.rows[kind])
    table.add_row("lag, records", f"{now.sent - now.records:,}", "")
    table.add_row("watermark", now.watermark, "")
    table.add_row("freshness", now.freshness, "")
    table.add_row("events in memory", f"{now.status.get('held', {}).get('events', 0):,}", "")
    return table
