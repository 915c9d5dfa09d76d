"""How long an anchor was viewed: clauses 11 to 16 of docs/semantics.md.

Always holds: time that two views of an anchor share counts once; nothing after the point is seen;
all is whole milliseconds.

Not promised: rows for pairs without a view. Their dwell is null, which ``evaluate`` leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from labeling.engine.compile import selects
from labeling.engine.measures import taken_by
from labeling.engine.nearest import lane_sorted, nearest
from labeling.model.vocabulary import Dwell, ReportedDwell

#: Spans of all pairs are put on one line of integers as long as it stays below this.
_LINE: Final = 2**62


def view_events(measure: Dwell, lane: Sequence[str], events: pl.DataFrame) -> pl.DataFrame:
    """Each heartbeat and end with the start it joins, and each start with what closes it.

    Args:
        measure: the selectors.
        lane: the match columns of the start.
        events: label events with ``row``, and the hashes of ``lane`` and ``view_id``.

    Returns:
        ``start`` (UInt32 row), ``event_ts``, ``kind`` (``beat``, ``end``, or ``next`` for the start
        that closes a view without a ``view_id``).
    """
    is_start = selects(measure.event)
    is_end = selects(measure.end) if measure.end else pl.lit(value=False)
    is_beat = selects(measure.heartbeat) if measure.heartbeat else pl.lit(value=False)
    kind = (
        pl.when(is_start)
        .then(pl.lit("start"))
        .when(is_end)
        .then(pl.lit("end"))
        .when(is_beat)
        .then(pl.lit("beat"))
    )
    columns = list(dict.fromkeys(("row", "event_ts", "event_id", "event_type", "view_id", *lane)))
    hashes = [f"#{c}" for c in dict.fromkeys(("view_id", *lane))]
    marked = events.with_columns(part=kind).filter(pl.col("part").is_not_null())
    marked = marked.select(*columns, *hashes, "part")
    starts = marked.filter(pl.col("part") == "start")
    rest = marked.filter(pl.col("part") != "start")
    by_id = _join(
        starts.filter(pl.col("view_id").is_not_null()),
        rest.filter(pl.col("view_id").is_not_null()),
        (*lane, "view_id"),
    )
    by_time = _join(starts, rest.filter(pl.col("view_id").is_null()), lane)
    joined = pl.concat([by_id, by_time]).join(
        rest.select("row", kind="part"), on="row", how="left", maintain_order="left"
    )
    return pl.concat([joined.select("start", "event_ts", "kind"), _next_starts(starts, lane)])


def _join(starts: pl.DataFrame, rest: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The latest start at or before each continuation with equal columns."""
    heads = starts.with_columns(
        end_ts=pl.lit(None, starts.schema["event_ts"]), kept=pl.lit(value=True)
    )
    found = nearest(heads, rest, columns)
    return found.drop_nulls("found").select("row", "event_ts", start="found")


def _next_starts(starts: pl.DataFrame, lane: Sequence[str]) -> pl.DataFrame:
    """For each start without a ``view_id``, the time of the next start in its lane."""
    slim = starts.select("row", "event_ts", "event_id", *lane, open=pl.col("view_id").is_null())
    run = lane_sorted(slim, lane, ("event_ts", "event_id"))
    followed = run.with_columns(next_ts=pl.col("event_ts").shift(-1)).filter(
        pl.col("open") & (pl.col("key") == pl.col("key").shift(-1))
    )
    return followed.select(start="row", event_ts="next_ts", kind=pl.lit("next"))


def dwell(measure: Dwell, starts: pl.DataFrame, rest: pl.DataFrame) -> pl.DataFrame:
    """Milliseconds of viewing by pair.

    Args:
        measure: its gap, cap and the ``within`` of its selectors.
        starts: the starts that each pair sees: ``ask``, ``row``, ``event_ts``, ``delay_ms`` (since
            the anchor) and ``left_ms`` (until the pair's point).
        rest: what ``view_events`` returns.

    Returns:
        ``ask`` and ``dwell_ms`` (Int64).
    """
    views = starts.with_row_index("view")
    slim = views.select("view", "delay_ms", "left_ms", start="row", start_ts="event_ts")
    since = (pl.col("event_ts") - pl.col("start_ts")).dt.total_milliseconds()
    seen = rest.join(slim, on="start", how="inner").with_columns(at=since)
    seen = seen.filter(pl.col("at") <= pl.col("left_ms"), _within(measure))
    ends = seen.group_by("view").agg(
        end=pl.col("at").filter(pl.col("kind") == "end").max(),
        next=pl.col("at").filter(pl.col("kind") == "next").max(),
    )
    closes = ends.select("view", close=pl.coalesce("end", "next"))
    beats = seen.filter(pl.col("kind") == "beat").join(closes, on="view", how="left")
    beats = beats.filter((pl.col("at") <= pl.col("close")).fill_null(value=True))
    instants = pl.concat(
        [
            views.select("view", at=pl.lit(0, pl.Int64), beat=pl.lit(value=False)),
            beats.select("view", "at", beat=pl.lit(value=True)),
            closes.drop_nulls().select("view", at="close", beat=pl.lit(value=False)),
        ]
    ).sort("view", "at")
    before = pl.col("at").shift(1)
    carried = instants.join(beats.select("view").unique(), on="view", how="semi")["view"].unique()
    long = pl.col("view").is_in(carried.implode()) & (pl.col("at") - before > measure.gap_ms)
    stretches = instants.with_columns(since=before).filter(
        (pl.col("view") == pl.col("view").shift(1)) & ~long & (pl.col("at") > before)
    )
    placed = stretches.join(views.select("view", "ask", "delay_ms"), on="view", how="inner").select(
        "ask", since=pl.col("since") + pl.col("delay_ms"), until=pl.col("at") + pl.col("delay_ms")
    )
    nothing = views.select("ask", since="delay_ms", until="delay_ms")
    return united(pl.concat([placed, nothing]), measure.cap_ms)


def _within(measure: Dwell) -> pl.Expr:
    """Continuations within their own ``within`` of the anchor."""
    since_anchor = pl.col("delay_ms") + pl.col("at")
    inside = pl.lit(value=True)
    for kind, selector in (("beat", measure.heartbeat), ("end", measure.end)):
        if selector is not None and selector.within_ms is not None:
            inside = inside & ((pl.col("kind") != kind) | (since_anchor <= selector.within_ms))
    return inside


def reported(measure: ReportedDwell, seen: pl.DataFrame) -> pl.DataFrame:
    """Milliseconds of viewing by pair, from what clients measured: ``ask``, ``dwell_ms``."""
    took = pl.col(measure.column).cast(pl.Int64)
    known = seen.filter(taken_by(measure.event), took.is_not_null(), took >= 0)
    spans = known.select("ask", since=pl.col("delay_ms") - took, until="delay_ms")
    return united(spans, measure.cap_ms)


def united(spans: pl.DataFrame, cap_ms: int | None) -> pl.DataFrame:
    """The length of the union of each pair's spans, at most ``cap_ms``.

    >>> spans = pl.DataFrame({"ask": [0, 0], "since": [0, 5], "until": [10, 12]})
    >>> united(spans, None)["dwell_ms"].to_list()
    [12]
    """
    low, high = spans.select(low=pl.col("since").min(), high=pl.col("until").max()).row(0)
    if low is None:
        return pl.DataFrame(schema={"ask": spans.schema["ask"], "dwell_ms": pl.Int64()})
    # Pairs one behind the other on one line, so that a running maximum need not start anew.
    width = high - low + 1
    if width * spans.select(pl.col("ask").max().cast(pl.Int64) + 1).item() >= _LINE:
        return _capped(_fresh(spans, pl.col("until").cum_max().shift(1).over("ask")), cap_ms)
    line = pl.col("ask").cast(pl.Int64) * width
    reached = (pl.col("until") + line).cum_max().shift(1) - line
    return _capped(_fresh(spans, reached), cap_ms)


def _fresh(spans: pl.DataFrame, reached: pl.Expr) -> pl.DataFrame:
    """What each pair's spans add to those before them, summed."""
    ordered = spans.sort("ask", "since", "until")
    added = pl.max_horizontal(pl.col("until") - pl.max_horizontal("since", reached), pl.lit(0))
    return ordered.select("ask", dwell_ms=added).group_by("ask").agg(pl.col("dwell_ms").sum())


def _capped(total: pl.DataFrame, cap_ms: int | None) -> pl.DataFrame:
    return (
        total if cap_ms is None else total.with_columns(pl.col("dwell_ms").clip(upper_bound=cap_ms))
    )
