"""One action of an attribution with all that it was made of: what `labeling explain` tells.

Always holds: what became of an event, and what rows say, come from the engine (``touches_told``,
``takes_back``, ``evaluate``), over the events that the stored rows count.

Not promised: events further back than twice the rule's lookback; no touch lies there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from labeling.cli.explain_rows import (
    archived_events,
    counted_events,
    is_event,
    quoted,
    row_key,
)
from labeling.engine.evaluate import evaluate
from labeling.engine.explain_actions import takes_back, touches_told
from labeling.engine.points import points
from labeling.errors import DataError
from labeling.io.archive import Archive
from labeling.io.store import Store
from labeling.model.attribution import AttributionRule
from labeling.model.event import TS
from labeling.model.table import table_of

_MS: Final = timedelta(milliseconds=1)


@dataclass(frozen=True)
class ExplainedAction:
    """An action and its story.

    ``action``: the event's columns. ``told``, by time: ``event_ts``, ``event_type``, ``event_id``,
    ``arrival``, ``counted`` and ``outcome`` (see ``touches_told``; ``undoes``, ``refunds`` or
    ``nothing`` of what may take it back). ``points``: its points, and whether each has been
    passed. ``rows``: what ``evaluate`` makes of it at each. ``stored``: its rows now, with
    ``revision``. ``changes``: as in ``label_changes``, of all its rows.
    """

    rule: AttributionRule
    action: dict[str, Any]
    told: pl.DataFrame
    points: dict[datetime, bool]
    rows: pl.DataFrame
    stored: pl.DataFrame
    changes: pl.DataFrame

    def at(self, point_ts: datetime) -> pl.DataFrame:
        """Its rows at a point, in the ``row_schema``; none where it repeats another."""
        here = self.rows.filter(pl.col("point_ts") == pl.lit(point_ts, TS), "present")
        return here.select(list(self.rule.row_schema))

    @property
    def agrees(self) -> bool:
        """Whether the stored rows say what the events make at the latest point passed."""
        passed = [at for at, is_passed in self.points.items() if is_passed]
        columns, key = list(self.rule.row_schema), list(self.rule.row_keys)
        made = self.at(max(passed)) if passed else self.rows.clear().select(columns)
        return made.sort(key).equals(self.stored.select(columns).sort(key))


def explained_action(
    store: Store, archive: Archive, rule: AttributionRule, user_id: str, anchor_id: str
) -> ExplainedAction:
    """The story of one action.

    Args:
        store: open, for reading; also another process's.
        archive: where its files lie.
        rule: an attribution rule.
        user_id: whose action.
        anchor_id: the ``event_id`` of the action.

    Raises:
        DataError: the rule has never had such a row, or its events are not in the archive.
        StoreError: the rule has changed under its version.
    """
    key = row_key(store, rule, user_id, anchor_id)
    hour = key["anchor_ts"].replace(minute=0, second=0, microsecond=0)
    counted, through_ms = counted_events(store, rule, hour)
    further = timedelta(milliseconds=rule.looks_back_ms)
    known, archived = archived_events(store, archive, rule, key, counted, further)
    mine = known.filter(is_event(key))
    if mine.is_empty():
        raise DataError(
            f"{rule.key}: the action {anchor_id!r} of {user_id!r} is not among the archived events "
            "that its row counts; was a file forgotten? `labeling verify` compares the hour"
        )
    asked = points(rule, known).filter(is_event(key)).sort("point_ts")
    return ExplainedAction(
        rule=rule,
        action=mine.row(0, named=True),
        told=_told(rule, known, archived, asked),
        points={at: at.timestamp() * 1000 < through_ms for at in asked["point_ts"]},
        rows=evaluate(rule, known, asked),
        stored=_stored(store, rule, key),
        changes=_changes(store, rule, key),
    )


def _told(
    rule: AttributionRule, known: pl.DataFrame, archived: pl.DataFrame, asked: pl.DataFrame
) -> pl.DataFrame:
    """What became of the events before the action, and of those that may take it back."""
    at, last = asked["event_ts"][0], timedelta(milliseconds=rule.undone_ms)
    touches = touches_told(rule, known, asked.head(1)).drop("rank")
    after = known.filter(pl.col("event_ts").is_between(at, at + last))
    back = [
        {"event_ts": by["event_ts"].item(), "event_id": by["event_id"].item(), "outcome": outcome}
        for by, outcome in _taking_back(rule, known, asked.head(1), after)
    ]
    outcomes = pl.concat([touches, pl.DataFrame(back, schema=touches.schema)])
    once = outcomes.unique(["event_ts", "event_id"], keep="first", maintain_order=True)
    events = archived.select("event_ts", "event_type", "event_id", "arrival", "counted")
    joined = events.join(once, on=["event_ts", "event_id"], how="left", maintain_order="left")
    until = pl.col("event_ts") <= pl.lit(at + last, TS)
    told = joined.filter(until, pl.col("outcome").is_not_null() | ~pl.col("counted"))
    return told.sort("event_ts", "event_id")


def _taking_back(
    rule: AttributionRule, known: pl.DataFrame, action: pl.DataFrame, after: pl.DataFrame
) -> Iterator[tuple[pl.DataFrame, str]]:
    """The events that may take the action back, and whether they do."""
    for what, by in (("undoes", rule.undone_by), ("refunds", rule.refunded_by)):
        if by is not None:
            for event in after.filter(pl.col("event_type").is_in(by.types)).iter_slices(1):
                yield event, what if takes_back(rule, known, action, event) else "nothing"


def _stored(store: Store, rule: AttributionRule, key: dict[str, Any]) -> pl.DataFrame:
    """Its rows now."""
    at = key["anchor_ts"]
    rows = store.rows_between(table_of(rule), at, at + _MS)
    return rows.filter(pl.col(name) == pl.lit(key[name]) for name in ("user_id", "anchor_id"))


def _changes(store: Store, rule: AttributionRule, key: dict[str, Any]) -> pl.DataFrame:
    at = key["anchor_ts"]
    low, high = (f"timestamptz '{t.isoformat()}'" for t in (at, at + _MS))
    return store.query(
        "SELECT touch_ts, touch_id, revision, kind, reason, point_ts, old, new, commit "
        f"FROM label_changes WHERE rule = '{rule.name}' AND version = {rule.version} "
        f"AND user_id = {quoted(key['user_id'])} AND anchor_id = {quoted(key['anchor_id'])} "
        f"AND anchor_ts >= {low} AND anchor_ts < {high} "
        "ORDER BY commit, point_ts, touch_ts, touch_id, revision"
    )
