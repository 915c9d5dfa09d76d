"""Which event belongs to which anchor: clauses 1 to 10 of docs/semantics.md.

Always holds: the assignment of an event depends on the candidates at or before it alone, hence not
on the point at which anybody asks; an event with a reference is never guessed.

Not promised: any order of pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import polars as pl

from labeling.engine.compile import selects
from labeling.engine.keys import with_hashes
from labeling.engine.nearest import covering, lane_sorted, nearest
from labeling.model.rows_of import RowsOf
from labeling.model.rule import LabelRule


def candidates(rule: LabelRule, events: pl.DataFrame) -> pl.DataFrame:
    """The events that the rule's ``anchor`` selects, among events that carry ``row``.

    Returns:
        ``row`` (UInt32), ``event_ts``, ``event_id``, the columns of all lanes and of the
        reference with their hashes, ``end_ts`` (end of the window, inclusive) and ``kept``
        (Boolean: not a repeat, hence an anchor).
    """
    columns = list(dict.fromkeys(("row", "event_ts", "event_id", *lane_columns(rule))))
    found = events.select(columns).filter(events.select(selects(rule.anchor_event)).to_series())
    named = ("event_id",) if rule.reference else ()
    found = with_hashes(found, (*lane_columns(rule), *named))
    found = found.with_columns(end_ts=rule.bound.end(pl.col("event_ts")))
    found = found.with_columns(kept=_has_row(rule, events, found))
    if rule.repeat_within is None:
        return found
    slim = found.filter("kept").select("row", "event_ts", "event_id", *rule.match)
    run = lane_sorted(slim, rule.match, ("event_ts", "event_id"))
    gap = pl.col("event_ts") - pl.col("event_ts").shift(1)
    near = gap <= pl.duration(milliseconds=rule.repeat_ms)
    repeats = run.filter((pl.col("key") == pl.col("key").shift(1)) & near)
    return found.with_columns(pl.col("kept") & ~pl.col("row").is_in(repeats["row"].implode()))


def _has_row(rule: LabelRule, events: pl.DataFrame, found: pl.DataFrame) -> pl.Expr:
    """Whether a candidate is a row of the rule whose rows are anchors, where there is one."""
    if not isinstance(rule.anchor, RowsOf):
        return pl.lit(value=True)
    behind = candidates(cast("LabelRule", rule.anchor.source), events).filter("kept")["row"]
    return pl.lit(found["row"].is_in(behind.implode()))


def lane_columns(rule: LabelRule) -> tuple[str, ...]:
    """Every column that the rule matches by, and its reference."""
    names = [c for lane in rule.lanes for c in lane]
    return tuple(dict.fromkeys((*names, *((rule.reference,) if rule.reference else ()))))


def assign(
    rule: LabelRule, lane: Sequence[str], found: pl.DataFrame, events: pl.DataFrame
) -> pl.DataFrame:
    """Pairs of events and anchors in one lane.

    Args:
        rule: whose reference and ``assign`` apply.
        lane: match columns.
        found: the candidates, as ``candidates`` returns them.
        events: what is to be assigned, with ``row``, the lane's and reference columns and their
            hashes.

    Returns:
        ``row``, ``event_ts``, ``found`` (UInt32 row of the anchor, null where there is none),
        ``expired`` (Boolean: one stands before, but its window is over) and ``referred``
        (Boolean: settled by reference). Events with a null in a lane column are left out.
    """
    search = covering if rule.assign == "every" else nearest
    if rule.reference is None:
        return search(found, events, lane).with_columns(referred=pl.lit(value=False))
    named = pl.col(rule.reference).is_not_null()
    own = pl.col("ref").eq_missing(pl.col(rule.reference))
    by_reference = events.filter(named).with_columns(_named_by(rule.reference))
    referees = _referees(rule.reference, found, by_reference["#ref"].unique())
    referred = nearest(referees, by_reference, (*lane, "ref"), own)
    guessed = search(found, events.filter(~named), lane)
    return pl.concat(
        [
            referred.with_columns(referred=pl.lit(value=True)),
            guessed.with_columns(referred=pl.lit(value=False)),
        ]
    )


def _referees(reference: str, found: pl.DataFrame, names: pl.Series) -> pl.DataFrame:
    """Candidates, once for each of their names that is among ``names`` (hashes)."""

    def named(column: str) -> pl.Expr:
        return pl.col(f"#{column}").is_in(names.implode()).fill_null(value=False)

    by_id = found.filter(named("event_id")).with_columns(_named_by("event_id"))
    other = named(reference) & (pl.col(reference) != pl.col("event_id"))
    by_column = found.filter(other).with_columns(_named_by(reference))
    return pl.concat([by_id, by_column])


def _named_by(column: str) -> list[pl.Expr]:
    """The column, and its hash, as the name by which events and anchors meet."""
    return [pl.col(column).alias("ref"), pl.col(f"#{column}").alias("#ref")]
