"""Which events belong to which anchor, and which to none and why: the answer told to people.

Always holds: it is what ``evaluate`` goes by, from the same ``assign``.

Not promised: that a label looks at an event that was assigned. The point, ``where`` and ``within``
decide that; and the heartbeats and ends of a view follow its start (clause 12 of
docs/semantics.md), wherever they would belong by themselves.
"""

from __future__ import annotations

import polars as pl

from labeling.engine.assign import assign, candidates, lane_columns
from labeling.engine.evaluate import every_row
from labeling.engine.keys import with_hashes
from labeling.engine.rows import assignable, with_rows
from labeling.model.event import IDENTITY, TS
from labeling.model.rule import LabelRule

SCHEMA = {
    "lane": pl.String(),
    "user_id": pl.String(),
    "event_ts": TS,
    "event_id": pl.String(),
    "event_type": pl.String(),
    "anchor_ts": TS,
    "anchor_id": pl.String(),
    "outcome": pl.String(),
}


def assignments(rule: LabelRule, events: pl.DataFrame) -> pl.DataFrame:
    """What became of each event, and each row of another rule, that a label of the rule selects.

    Args:
        rule: a label rule.
        events: as for ``evaluate``.

    Returns:
        ``lane`` (match columns, joined by commas), the event's ``user_id``, ``event_ts``,
        ``event_id`` and ``event_type``, ``anchor_ts`` and ``anchor_id`` (null where it belongs to
        none), and ``outcome``:

        ==================  ====================================================================
        ``assigned``        to the latest anchor at or before it, or to each with ``every``
        ``referred``        to the anchor that it names
        ``no_anchor``       no anchor with equal match columns stands at or before it
        ``window_over``     one does, but the window had ended
        ``dangling``        it names an anchor, and none of that name can take it
        ``null_match``      a match column is null
        ==================  ====================================================================

        An event stands once for each lane that reads it, and for each anchor with ``every``. Sorted
        by lane, user, ``event_ts`` and ``event_id``.

    >>> from labeling import Event, LabelRule, happened
    >>> rule = LabelRule(name="r", anchor=Event("show"), match=("user_id",), window="1m",
    ...                  labels={"clicked": happened("click")})
    >>> assignments(rule, pl.DataFrame(schema=rule.event_schema)).columns == list(SCHEMA)
    True
    """
    numbered = events.select(sorted(rule.event_columns)).with_row_index("row")
    found = candidates(rule, numbered)
    known = with_rows(rule, numbered, every_row)
    # A row of an attribution stands once for each span of points; it is assigned as one.
    known = known.unique([*IDENTITY, "event_type"], keep="first", maintain_order=True)
    told = []
    for lane in rule.lanes:
        selectors = [e for m in rule.measures for e in m.events() if rule.lane(e) == lane]
        if selectors:
            selected = pl.any_horizontal(assignable(e) for e in selectors)
            wanted = with_hashes(known.filter(selected), lane_columns(rule))
            pairs = assign(rule, lane, found, wanted)
            told.append(_told(lane, numbered, wanted, pairs))
    frame = pl.concat([pl.DataFrame(schema=SCHEMA), *told])
    return frame.sort("lane", "user_id", "event_ts", "event_id", "anchor_ts", "anchor_id")


def _told(
    lane: tuple[str, ...], numbered: pl.DataFrame, wanted: pl.DataFrame, pairs: pl.DataFrame
) -> pl.DataFrame:
    outcome = (
        pl.when(pl.col("expired").is_null()).then(pl.lit("null_match"))
        .when(pl.col("found").is_not_null() & pl.col("referred")).then(pl.lit("referred"))
        .when(pl.col("found").is_not_null()).then(pl.lit("assigned"))
        .when("referred").then(pl.lit("dangling"))
        .when("expired").then(pl.lit("window_over"))
        .otherwise(pl.lit("no_anchor"))
    )  # fmt: skip
    anchors = numbered.select(found="row", anchor_ts="event_ts", anchor_id="event_id")
    every = wanted.join(pairs.drop("event_ts"), on="row", how="left").join(
        anchors, on="found", how="left"
    )
    typed = every.with_columns(pl.col("event_type").cast(pl.String))
    return typed.with_columns(lane=pl.lit(",".join(lane)), outcome=outcome).select(list(SCHEMA))
