"""A rule on some events: its rows, and the rows of the same rule on other events beside them.

Always holds: what is drawn for an event (its place in a shuffle, whether it is picked) follows from
its identity and the seed alone, so that it stays when other events are taken out.

Not promised: rows. An expression may fail on events that satisfy the contract: ``Unrunnable``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import polars as pl

from labeling.engine.evaluate import evaluate
from labeling.engine.keys import text_key
from labeling.engine.points import points
from labeling.model.event import IDENTITY
from labeling.model.kinds import Rule
from labeling.model.table import ROW_KEY
from labeling.testing.check.finding import ROW, Broken, Cell, differences

Keep = Callable[[pl.DataFrame], pl.DataFrame]
_EVENT: Final = {"anchor_ts": "event_ts", "anchor_id": "event_id"}


class Unrunnable(Exception):  # noqa: N818 - the rule's fault, told as a finding
    """An expression of the rule failed on events that satisfy the contract."""


def rows_of(rule: Rule, events: pl.DataFrame) -> pl.DataFrame:
    """All rows at all points.

    Raises:
        Unrunnable: Polars refuses an expression or its values.
    """
    try:
        return evaluate(rule, events, points(rule, events))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise Unrunnable(line(error)) from error


def line(error: BaseException) -> str:
    """What an error says, on one line."""
    first = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first[0][:120]}"


@dataclass(frozen=True)
class Subject:
    """A rule, events of different identities (``event_schema``, any order), a seed."""

    rule: Rule
    events: pl.DataFrame
    seed: int

    @cached_property
    def rows(self) -> pl.DataFrame:
        """The rule's rows on these events: what other ways of asking must agree with."""
        return rows_of(self.rule, self.events)

    @cached_property
    def points(self) -> pl.DataFrame:
        """The points of the candidates among the events."""
        try:
            return points(self.rule, self.events)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise Unrunnable(line(error)) from error

    def lot(self, salt: str, *columns: str) -> pl.Expr:
        """A random UInt64 for each event, by its identity or by other columns."""
        named = [pl.col(c).cast(pl.String).fill_null("null") for c in (columns or IDENTITY)]
        return text_key(pl.concat_str(pl.lit(f"{self.seed} {salt}"), *named, separator="\x1f"))

    def beside(self, said: str, events: pl.DataFrame, keep: Keep | None = None) -> Broken | None:
        """Whether the rule has the same rows on other events, of those that ``keep`` leaves."""
        expected = self.rows
        try:
            got = rows_of(self.rule, events)
        except Unrunnable as error:
            return Broken(said, (Cell({}, ROW, "rows", str(error)),), self.events, events)
        if keep is not None:
            expected, got = keep(expected), keep(got)
        return self.compared(said, expected, got, events)

    def compared(
        self, said: str, expected: pl.DataFrame, got: pl.DataFrame, kept: pl.DataFrame | None = None
    ) -> Broken | None:
        """Two frames of rows of this rule, however they were made; from which events the second."""
        cells = differences(self.rule, expected, got)
        return Broken(said, cells, self.events, kept) if cells else None

    def last(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows that are there in the end, at each anchor's last point: the ``row_schema``."""
        return self.latest(rows).filter("present").select(list(self.rule.row_schema))

    def latest(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows at each anchor's last point."""
        latest = pl.col("point_ts") == pl.col("point_ts").max().over(ROW_KEY)
        return rows.sort("point_ts", *self.rule.row_keys).filter(latest)


def of_anchors(events: pl.DataFrame) -> Keep:
    """Keep the rows whose anchors are among the events."""
    anchors = events.select("user_id", **{k: pl.col(v) for k, v in _EVENT.items()})
    return lambda rows: rows.join(anchors, on=list(ROW_KEY), how="semi", maintain_order="left")
