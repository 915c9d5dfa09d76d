"""The rows of actions at points: clauses A16 and A17 of docs/attribution.md.

Always holds: the rows of one action at one point are whole; the credits of its touches sum to
10^9, and their shares to its value. Which touches it has does not depend on the point.

Not promised: any order of rows. ``evaluate`` sorts them.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from labeling.engine.attribution.actions import Actions, find_actions
from labeling.engine.attribution.credit import credits_of, shares, weighed
from labeling.engine.attribution.path import paths
from labeling.engine.attribution.ranges import changed, lengths, spread, starts
from labeling.engine.attribution.repeats import local_day
from labeling.engine.attribution.sessions import with_sessions
from labeling.engine.attribution.standing import standing
from labeling.engine.attribution.touches import find_touches
from labeling.engine.dense import positions
from labeling.engine.keys import match_key
from labeling.engine.rows import LabelsAt
from labeling.model.attribution import AttributionRule
from labeling.model.event import TS
from labeling.model.session import Session


def attributed(
    rule: AttributionRule, events: pl.DataFrame, asked: pl.DataFrame, labels_at: LabelsAt
) -> pl.DataFrame:
    """The rows of candidates at the points asked for.

    Args:
        rule: an attribution rule.
        events: the columns that the rule reads, any order, no identity twice.
        asked: ``row`` of a candidate and ``point_ts``, any time from its own on; none twice.
        labels_at: tells what rows of label rules say, where they are touches.

    Returns:
        ``point_ts``, ``present`` and ``rule.row_schema``.
    """
    if asked.is_empty():
        return pl.DataFrame(schema=_schema(rule))
    actions = find_actions(rule, events)
    pairs = standing(rule, events, actions, asked)
    concerned = _concerned(rule, events, actions, pairs)
    path = _path(rule, events, actions, concerned, labels_at)
    begins = starts(changed(path["action"].to_numpy()))
    where = positions(path["action"].gather(begins), concerned.height)
    at = where.gather(positions(concerned["row"], events.height).gather(pairs["row"]))
    counts = lengths(begins, path.height)
    pairs = pairs.with_columns(
        path=at,
        begin=pl.Series(begins, dtype=pl.Int64).gather(at),
        touches=pl.Series(counts, dtype=pl.Int64).gather(at).fill_null(0),
    )
    made = (_own_rows(rule, events, pairs, path), _touch_rows(rule, events, pairs, path))
    return pl.concat(_shaped(rule, rows) for rows in made)


def _concerned(
    rule: AttributionRule, events: pl.DataFrame, actions: Actions, pairs: pl.DataFrame
) -> pl.DataFrame:
    """The actions asked for, and those that may use up their touches, in order of time.

    Returns:
        As ``find_touches`` wants them.
    """
    kept = actions.found.filter("kept").select("row", "event_ts", "event_id", local_day(rule.day))
    kept = kept.with_columns(asked=pl.col("row").is_in(pairs["row"].implode()))
    if rule.max_actions is None:
        kept = kept.filter("asked")
    else:
        group = events.select(rule.group)[kept["row"]].select(group=match_key(rule.group))
        kept = kept.hstack(group)
        of_asked = kept.filter("asked").select("group", "day").unique()
        kept = kept.join(of_asked, on=["group", "day"], how="semi")
    ordered = kept.sort("event_ts", "event_id", "row").with_row_index("action")
    return ordered.select("action", "row", "day", "asked")


def _path(
    rule: AttributionRule,
    events: pl.DataFrame,
    actions: Actions,
    concerned: pl.DataFrame,
    labels_at: LabelsAt,
) -> pl.DataFrame:
    """The paths of the actions asked for, with what rows say of each touch."""
    users = events["user_id"].gather(concerned["row"])
    known = with_sessions(rule, events, users)
    pairs = find_touches(rule, known, concerned, actions.found["row"], labels_at)
    path = paths(rule, known, pairs)
    action_ts = events["event_ts"].gather(concerned["row"].gather(path["action"]))
    since = (action_ts - events["event_ts"].gather(path["row"])).dt.total_milliseconds()
    path = path.with_columns(since.alias("delay_ms"))
    # A session's credit counts from its start.
    time = "#session_ts" if isinstance(rule.collapse, Session) else "event_ts"
    decay = _before_last(known[time].gather(path["row"]), path["action"])
    read = path.select("rank", "touches", "delay_ms", decay.alias("#decay_ms"))
    touches = known.select(sorted({"event_ts", *weighed(rule)}))[path["row"]].with_columns(read)
    return path.hstack(credits_of(rule, touches, path["action"]))


def _before_last(times: pl.Series, of: pl.Series) -> pl.Series:
    """How long before the last of its action's each time is, ms."""
    at = times.dt.epoch("ms").to_numpy()
    begins = starts(changed(of.to_numpy()))
    counts = lengths(begins, len(at))
    return pl.Series(np.repeat(at[begins + counts - 1], counts) - at, dtype=pl.Int64)


def _own_rows(
    rule: AttributionRule, events: pl.DataFrame, pairs: pl.DataFrame, path: pl.DataFrame
) -> pl.DataFrame:
    """The row of each action itself; of a repeat, its key."""
    verdict = (
        pl.when("undone")
        .then(pl.lit("undone"))
        .when(pl.col("touches") > 0)
        .then(pl.lit("attributed"))
        .otherwise(pl.lit("unattributed"))
    )
    names = events[rule.path].gather(path["row"]).fill_null("").alias("path")
    lists = path.select("action", names).group_by("action", maintain_order=True).agg("path")
    along = lists["path"].gather(pairs["path"]).to_frame()
    nothing = pl.lit([], pl.List(pl.String))
    said = pairs.drop("row", "undone", "path", "begin").with_columns(
        pairs.select(verdict=verdict).to_series(),
        along.select(pl.col("path").fill_null(nothing)).to_series(),
    )
    rows = said.hstack(_of_action(rule, events, pairs["row"]))
    if not rows["present"].all():
        empty = (c for c in rows.columns if c in rule.value_schema)
        rows = rows.with_columns(pl.when("present").then(pl.col(c)).alias(c) for c in empty)
    return rows.with_columns(touch_ts="anchor_ts", touch_id=pl.lit(""))


def _touch_rows(
    rule: AttributionRule, events: pl.DataFrame, pairs: pl.DataFrame, path: pl.DataFrame
) -> pl.DataFrame:
    """The rows of the touches of actions that are not undone at the point."""
    having = pairs.filter(pl.col("present") & ~pl.col("undone") & (pl.col("touches") > 0))
    counts = having["touches"].to_numpy()
    touch = path[spread(having["begin"].to_numpy(), counts)]
    of = pl.Series("of", np.repeat(np.arange(having.height), counts))
    pair = having[of]
    last = touch["rank"] == touch["touches"]
    rows = pair.select("point_ts", "present").with_columns(
        *(touch[c] for c in ("rank", "delay_ms", *(f"credit{m}" for m in rule.models))),
        touch["class"].alias("touch_class"),
        last.alias("direct"),
    )
    if rule.value is not None:
        rows = rows.with_columns(
            shares(pair["value"], touch[f"credit{m}"], of).alias(f"value{m}") for m in rule.models
        )
    caused = events.select(pl.col(c).alias(name) for name, c in _of_touch(rule).items())[
        touch["row"]
    ]
    return pl.concat([rows, caused, _of_action(rule, events, pair["row"])], how="horizontal")


def _of_touch(rule: AttributionRule) -> dict[str, str]:
    """What a row says of its touch's event, name to the event's column."""
    known = {"touch_ts": "event_ts", "touch_id": "event_id", "touch_type": "event_type"}
    return known | {f"touch_{c}": c for c in rule.touch_carry}


def _of_action(rule: AttributionRule, events: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
    """The key of actions, and what their rows carry."""
    return events.select("user_id", *rule.carry, anchor_ts="event_ts", anchor_id="event_id")[rows]


def _shaped(rule: AttributionRule, rows: pl.DataFrame) -> pl.DataFrame:
    """The columns of ``evaluate``; what is not said is null."""
    schema = _schema(rule)
    said = (pl.col(c) if c in rows.columns else pl.lit(None) for c in schema)
    return rows.select(e.cast(t).alias(c) for e, (c, t) in zip(said, schema.items(), strict=True))


def _schema(rule: AttributionRule) -> dict[str, pl.DataType]:
    return {"point_ts": TS, "present": pl.Boolean(), **rule.row_schema}
