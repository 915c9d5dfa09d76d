"""For each event, the latest candidate at or before it with an equal key: the one search there is.

Always holds: "at or before" compares ``ts`` alone, the latest of several is by ``(ts, id)``, and an
event that is itself a candidate looks strictly before itself by ``(ts, id)``. Keys are hashes, and
rows whose hashes are equal while their columns differ are told apart.

Not promised: any order of the result, nor that events without a find are left out.

The method is one sort and one forward fill, not a join: candidates before events at equal times,
so that what was last filled is what stands nearest.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from labeling.engine.keys import match_key

#: What a frame to be searched must have; ``columns`` of the key stand beside them.
CANDIDATE, WANTS = "candidate", "wants"


def lane_sorted(frame: pl.DataFrame, columns: Sequence[str], by: Sequence[str]) -> pl.DataFrame:
    """Rows without nulls in ``columns``, in runs of equal ``key``, each sorted by ``by``.

    Args:
        frame: any rows with ``columns`` (String) and ``by``.
        columns: what makes a run.
        by: the order inside a run.

    Returns:
        The rows without ``columns``, with ``key`` (UInt64): equal keys, equal columns.
    """
    frame = frame.drop_nulls(list(columns))
    keyed = frame.with_columns(key=match_key(columns)).sort("key", *by)
    same_key = pl.col("key") == pl.col("key").shift(1)
    differs = pl.any_horizontal(pl.col(c) != pl.col(c).shift(1) for c in columns)
    if keyed.select((same_key & differs).any()).item():
        # Two groups share a hash (once in 10^5 blocks of 10 M groups): number them exactly.
        exact = pl.struct(columns).rank("dense").cast(pl.UInt64)
        keyed = frame.with_columns(key=exact).sort("key", *by)
    return keyed.drop(columns)


def nearest(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The latest candidate for each row that wants one.

    Args:
        frame: ``columns``, ``row`` (UInt32), ``event_ts``, ``event_id``, ``end_ts`` (of a
            candidate: the last time at which it may be found), ``kind`` (UInt8: 0 a possible
            candidate, 1 not), ``candidate`` (Boolean: can be found; only where kind is 0), ``wants``
            (Boolean: looks for one).
        columns: the String columns that must be equal; rows with a null among them find nothing
            and are left out.

    Returns:
        ``row`` of each row that wants one, ``event_ts``, ``found`` (UInt32, null where none stands before) and
        ``expired`` (Boolean: one stands before, but its end is over).
    """
    run = lane_sorted(frame, columns, ("event_ts", "kind", "event_id"))
    is_candidate = pl.col(CANDIDATE)
    filled = run.with_columns(
        found=pl.when(is_candidate).then("row").forward_fill(),
        found_key=pl.when(is_candidate).then("key").forward_fill(),
        found_end=pl.when(is_candidate).then("end_ts").forward_fill(),
    )
    before = pl.col("kind") == 0
    look = [
        pl.when(before).then(pl.col(c).shift(1)).otherwise(c).alias(c)
        for c in ("found", "found_key", "found_end")
    ]
    wanted = filled.with_columns(look).filter(WANTS)
    known = pl.col("found_key").eq(pl.col("key")).fill_null(value=False)
    # Without an end a candidate may be found for ever.
    late = known & (pl.col("found_end") < pl.col("event_ts")).fill_null(value=False)
    return wanted.select(
        "row",
        "event_ts",
        found=pl.when(known & ~late).then("found"),
        expired=late,
    )


def covering(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Every candidate whose time span covers each row that wants one.

    Args:
        frame: as for ``nearest``; the ends of candidates with equal columns do not go back.
        columns: as for ``nearest``.

    Returns:
        ``row``, ``event_ts`` and ``found``, one row per pair; rows that find nothing have a null.
    """
    run = lane_sorted(frame, columns, ("event_ts", "kind", "event_id"))
    started = pl.col(CANDIDATE).cast(pl.Int64).cum_sum()
    before = pl.col("kind") == 0
    # A possible candidate looks strictly before itself: its own start does not count.
    run = run.with_columns(
        started=pl.when(before).then(started - pl.col(CANDIDATE).cast(pl.Int64)).otherwise(started)
    )
    candidates = run.filter(CANDIDATE)
    ends = candidates.select("key", ts="end_ts", ends=pl.lit(1), row=pl.lit(None, pl.UInt32))
    wants = run.filter(WANTS).select("key", "row", ts="event_ts", ends=pl.lit(0))
    # An end at the event's own time sorts behind it: ends are inclusive.
    timeline = pl.concat([wants.select(ends.columns), ends]).sort("key", "ts", "ends", "row")
    expired = timeline.with_columns(expired=pl.col("ends").cum_sum()).filter(pl.col("ends") == 0)
    spans = run.filter(WANTS).join(expired.select("row", "expired"), on="row", how="left")
    found = spans.with_columns(at=pl.int_ranges("expired", "started")).explode(
        "at", empty_as_null=True
    )
    rows = candidates["row"]
    return found.select("row", "event_ts", found=pl.lit(rows).gather(pl.col("at")))
