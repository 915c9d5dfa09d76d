"""For each event, the latest candidate at or before it with equal columns: the one search there is.

Always holds: "at or before" compares ``event_ts`` alone, the latest of several is by ``(event_ts,
event_id)``, and an event that is itself a candidate looks strictly before itself by ``(event_ts,
event_id)``. Columns are compared by hash, and told apart where two hashes agree by chance.

Not promised: any order of the result, nor that events with a null among the columns are in it.

The method is one sort and one forward fill, not a join: candidates before events at equal times,
so that what was last filled is what stands nearest. Candidates whose columns no event has are left
out first: most anchors are never acted upon.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from labeling.engine.keys import match_key

_BY = ("key", "event_ts", "kind", "event_id")


def lane_sorted(frame: pl.DataFrame, columns: Sequence[str], by: Sequence[str]) -> pl.DataFrame:
    """Rows without nulls in ``columns``, in runs of equal ``key``, each sorted by ``by``.

    Args:
        frame: any rows with ``columns`` (String) and ``by``.
        columns: what makes a run.
        by: the order inside a run.

    Returns:
        The rows without ``columns``, with ``key`` (UInt64): equal keys, equal columns.
    """
    names = [c for c in frame.columns if c not in columns or c in by]
    found = frame.select(*names, key=match_key(columns), check=match_key(columns, other=True))
    found = found.filter(pl.col("key").is_not_null()).sort("key", *by)
    if not _collide(found):
        return found.drop("check")
    exact = frame.select(*names, *columns).drop_nulls(columns).with_columns(key=_exact(columns))
    return exact.select(*names, "key").sort("key", *by)


def nearest(
    candidates: pl.DataFrame,
    events: pl.DataFrame,
    columns: Sequence[str],
    own: pl.Expr | None = None,
) -> pl.DataFrame:
    """The latest candidate for each event.

    Args:
        candidates: ``columns`` and their hashes (``with_hashes``), ``row`` (UInt32), ``event_ts``,
            ``event_id``, ``kept`` (Boolean: can be found), ``end_ts`` (the last time at which it
            may be; null for ever).
        events: ``columns`` and their hashes, ``row``, ``event_ts``, ``event_id``. One whose ``row``
            is a candidate's looks strictly before itself.
        columns: the String columns that must be equal.
        own: where a candidate stands several times, which of its entries looks for another.

    Returns:
        ``row`` of each event without nulls in ``columns``, ``event_ts``, ``found`` (UInt32, null
        where none stands before) and ``expired`` (Boolean: one stands before, but its end is over).
    """
    run = _timeline(candidates, events, columns, own)
    filled = run.with_columns(
        pl.when("kept").then(c).forward_fill().alias(f"last_{c}") for c in ("row", "key", "end_ts")
    )
    last = ("last_row", "last_key", "last_end_ts")
    before = pl.col("kind") == 0
    looks = (pl.when(before).then(pl.col(c).shift(1)).otherwise(c).alias(c) for c in last)
    wanted = filled.with_columns(looks).filter("wants")
    known = pl.col("last_key").eq(pl.col("key")).fill_null(value=False)
    # Without an end a candidate may be found for ever.
    late = known & (pl.col("last_end_ts") < pl.col("event_ts")).fill_null(value=False)
    return wanted.select(
        "row", "event_ts", found=pl.when(known & ~late).then("last_row"), expired=late
    )


def covering(
    candidates: pl.DataFrame, events: pl.DataFrame, columns: Sequence[str]
) -> pl.DataFrame:
    """Every candidate whose time up to its end covers each event.

    Args:
        candidates: as for ``nearest``; the ends of those with equal columns do not go back.
        events: as for ``nearest``.
        columns: as for ``nearest``.

    Returns:
        As ``nearest``, one row for each pair; an event that finds nothing has one with a null.
    """
    run = _timeline(candidates, events, columns, None)
    kept = pl.col("kept").cast(pl.Int64)
    # A possible candidate looks strictly before itself: its own start does not count.
    started = kept.cum_sum() - pl.when(pl.col("kind") == 0).then(kept).otherwise(0)
    run = run.with_columns(started=started)
    spans = run.filter("kept")
    wants = run.filter("wants").select("key", "row", "event_ts", "started")
    # An end at the event's own time sorts behind it: ends are inclusive.
    ends = spans.select("key", "row", at="end_ts", ends=pl.lit(1, pl.Int64))
    asks = wants.select("key", "row", at="event_ts", ends=pl.lit(0, pl.Int64))
    timeline = pl.concat([ends, asks]).sort("key", "at", "ends", "row")
    over = timeline.with_columns(over=pl.col("ends").cum_sum()).filter(pl.col("ends") == 0)
    wants = wants.join(over.select("row", "over"), on="row", how="left", maintain_order="left")
    pairs = wants.with_columns(at=pl.int_ranges("over", "started")).explode(
        "at", empty_as_null=True
    )
    found = spans["row"].gather(pairs["at"])
    return pairs.select("row", "event_ts", found=found, expired=pl.lit(value=False))


def _timeline(
    candidates: pl.DataFrame, events: pl.DataFrame, columns: Sequence[str], own: pl.Expr | None
) -> pl.DataFrame:
    """Candidates (``kind`` 0) and other events (``kind`` 1) of equal keys, in time."""
    run = _merged(candidates, events, columns, own, match_key(columns, hashed=True))
    if not _collide(run):
        return run
    # Two groups share a hash (once in 10^5 blocks of 10 M groups): number them exactly.
    both = pl.concat([candidates.select(columns), events.select(columns)])
    numbers = both.select(pl.when(pl.all_horizontal(pl.all().is_not_null())).then(_exact(columns)))
    exact = numbers.to_series()
    split = candidates.height
    return _merged(
        candidates.with_columns(exact.slice(0, split).alias("#")),
        events.with_columns(exact.slice(split).alias("#")),
        columns,
        own,
        pl.col("#"),
    )


def _merged(
    candidates: pl.DataFrame,
    events: pl.DataFrame,
    columns: Sequence[str],
    own: pl.Expr | None,
    key: pl.Expr,
) -> pl.DataFrame:
    check = match_key(columns, other=True)
    tails = events.select("row", "event_ts", "event_id", check.alias("check"), key.alias("key"))
    tails = tails.filter(pl.col("key").is_not_null())
    keys = candidates.select(key.alias("key"))
    asked = keys.select(pl.col("key").is_in(tails["key"].unique().implode()).fill_null(value=False))
    heads = candidates.with_columns(keys).filter(asked.to_series())
    itself = pl.col("row").is_in(tails["row"].implode())
    heads = heads.select(
        "row", "event_ts", "event_id", "end_ts", "kept", check.alias("check"), "key",
        kind=pl.lit(0, pl.UInt8),
        wants=itself if own is None else itself & own,
    )  # fmt: skip
    itself_too = heads.filter("wants")["row"]
    tails = tails.filter(~pl.col("row").is_in(itself_too.implode())) if len(itself_too) else tails
    tails = tails.with_columns(
        end_ts=pl.lit(None, heads.schema["end_ts"]),
        kept=pl.lit(value=False),
        kind=pl.lit(1, pl.UInt8),
        wants=pl.lit(value=True),
    )
    return pl.concat([heads, tails.select(heads.columns)]).sort(_BY)


def _exact(columns: Sequence[str]) -> pl.Expr:
    """A number for each distinct combination of the columns."""
    return pl.struct(columns).rank("dense").cast(pl.UInt64)


def _collide(run: pl.DataFrame) -> bool:
    """Whether neighbours of one key differ by the other hash."""
    differ = (pl.col("key") == pl.col("key").shift(1)) & (
        pl.col("check") != pl.col("check").shift(1)
    )
    return bool(run.select(differ.any()).item())
