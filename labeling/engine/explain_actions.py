"""Which events were touches of one action, which were not and why: the answer told to people.

Always holds: it is what ``evaluate`` says, asked again and again: of the rule with all its options
undone, then with one after the other put back, in the order of docs/attribution.md. The option
with which an event leaves the path is the reason. Nothing is matched here.

Not promised: one reason. What is too old may be of another author too; the first is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from typing import Any, Final

import polars as pl

from labeling.engine.evaluate import evaluate
from labeling.engine.points import points
from labeling.model.attribution import AttributionRule
from labeling.model.credit import last_touch
from labeling.model.event import IDENTITY, TS
from labeling.model.selector import Event

SCHEMA: Final = {
    "event_ts": TS,
    "event_id": pl.String(),
    "outcome": pl.String(),
    "rank": pl.Int64(),
}
TOUCH: Final = "touch"
#: As far as any event lies.
_EVER_MS: Final = 2**47
_TOUCH_KEY: Final = ("touch_ts", "touch_id")
#: Options in the order in which they take touches away: reason, names, and the values that do not.
_OPTIONS: Final[tuple[tuple[str, Mapping[str, Any]], ...]] = (
    ("too_fresh", {"min_age": None}),
    ("own_page", {"own_page": True}),
    ("off_the_trail", {"trail": False}),
    ("used_up", {"max_actions": None}),
    ("collapsed", {"collapse": ()}),
    ("other_class", {"classes": False}),
    ("lower_priority", {"priority": None}),
    ("beyond_max", {"max_touches": None}),
)


def touches_told(rule: AttributionRule, events: pl.DataFrame, action: pl.DataFrame) -> pl.DataFrame:
    """What became of each event, at or before an action, that is of a type of its touches.

    Args:
        rule: an attribution rule.
        events: as for ``evaluate``.
        action: one row of ``points(rule, events)``: the action at its own time.

    Returns:
        ``event_ts``, ``event_id``, ``outcome`` and ``rank`` (of a touch on the path, else null), by
        time. Of several touches that became one the first stays, the others are ``collapsed``.

        ==================  ====================================================================
        ``touch``           on the path, and so a row
        ``condition``       the ``where`` of no selector of its type is true for it
        ``other_match``     a match column differs, or is null, or it lies in another session
        ``outside``         further back than ``within``
        ``too_fresh``       closer than ``min_age``
        ``own_page``        on the action's own page
        ``off_the_trail``   a page that did not lead to the action
        ``used_up``         by ``max_actions`` earlier actions of the day
        ``collapsed``       one with an earlier neighbour, or of a session with one
        ``other_class``     a touch of a selector listed earlier is there
        ``lower_priority``  a touch of greater priority is there
        ``beyond_max``      ``max_touches`` later ones are there
        ==================  ====================================================================

    >>> from labeling import AttributionRule, Event
    >>> rule = AttributionRule(name="r", action=Event("buy"), match=("user_id",),
    ...                        touches=(Event("click", within="1d"),))
    >>> none = pl.DataFrame(schema=rule.event_schema)
    >>> touches_told(rule, none, points(rule, none)).columns == list(SCHEMA)
    True
    """
    told = []
    before: pl.DataFrame | None = None
    for reason, asked_of in _stages(rule):
        here = _path(asked_of, events, action)
        if before is not None:
            gone = before.join(here, on=_TOUCH_KEY, how="anti", maintain_order="left")
            told.append(gone.with_columns(outcome=pl.lit(reason), rank=pl.lit(None, pl.Int64)))
        before = here
    if before is not None:
        told.append(before.with_columns(outcome=pl.lit(TOUCH)))
    named = pl.concat(told).rename({"touch_ts": "event_ts", "touch_id": "event_id"})
    return named.select(list(SCHEMA)).sort("event_ts", "event_id")


def _stages(rule: AttributionRule) -> Iterator[tuple[str, AttributionRule]]:
    """The rule without options, then with one more each time, and the reason that one gives."""
    plain = replace(rule, credit=last_touch(), **{k: v for _, o in _OPTIONS for k, v in o.items()})
    open_ = {"where": None, "match": ("user_id",), "within_ms": _EVER_MS}
    for reason, still in (
        ("", open_),
        ("condition", {k: open_[k] for k in ("match", "within_ms")}),
        ("other_match", {"within_ms": _EVER_MS}),
        ("outside", {}),
    ):
        yield reason, replace(plain, touches=tuple(_changed(t, still) for t in rule.touches))
    for n, (reason, option) in enumerate(_OPTIONS, start=1):
        if any(getattr(rule, name) != value for name, value in option.items()):
            undone = {k: v for _, o in _OPTIONS[n:] for k, v in o.items()}
            yield reason, replace(rule, credit=last_touch(), **undone)


def _changed(selector: Event, values: Mapping[str, Any]) -> Event:
    made = copy(selector)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


def _path(rule: AttributionRule, events: pl.DataFrame, action: pl.DataFrame) -> pl.DataFrame:
    """``touch_ts``, ``touch_id`` and ``rank`` of the action's path."""
    rows = evaluate(rule, events, action)
    if rows.filter(pl.col("verdict") == "undone").height:
        # Undone at its own time it shows no touches; they are what they would be without.
        within = rule.undone_within if rule.refunded_by else None
        rows = evaluate(replace(rule, undone_by=None, undone_within=within), events, action)
    return rows.filter(pl.col("touch_id") != "").select(*_TOUCH_KEY, "rank")


def takes_back(
    rule: AttributionRule, events: pl.DataFrame, action: pl.DataFrame, by: pl.DataFrame
) -> bool:
    """Whether an event undoes the action, or refunds a part of it.

    Args:
        rule: an attribution rule.
        events: as for ``evaluate``.
        action: one row of ``points(rule, events)``.
        by: the event, one row of ``events``.

    Returns:
        Whether the action's row at the event's time would be another one without it.
    """
    without = events.join(by.select(IDENTITY), on=IDENTITY, how="anti", maintain_order="left")
    at = by["event_ts"].item()
    mine = [pl.col(c) == action[c].item() for c in IDENTITY]
    sides = []
    for some in (events, without):
        asked = points(rule, some).filter(*mine).head(1)
        asked = asked.with_columns(point_ts=pl.lit(at, TS))
        sides.append(evaluate(rule, some, asked))
    return not sides[0].equals(sides[1])
