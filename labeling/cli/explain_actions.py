"""``labeling explain`` of an attribution: one action, event by event.

Always holds: every event that could have been a touch is shown with what became of it and why; what
takes the action back too; the last line says whether the stored rows agree with the events.

Not promised: a story of an action that was never published.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import click
import polars as pl

from labeling.cli.explain_action_rows import ExplainedAction
from labeling.cli.output import emit
from labeling.model.credit import WHOLE

_WORDS: Final = {
    "touch": "a touch",
    "condition": "no touch: its condition is not true",
    "other_match": "no touch: a match column differs or is null",
    "outside": "no touch: before the window",
    "too_fresh": "no touch: closer than the minimum age",
    "own_page": "no touch: on the action's own page",
    "off_the_trail": "no touch: it did not lead to the action",
    "used_up": "no touch: used up by earlier actions of the day",
    "collapsed": "one with the touch before it",
    "other_class": "has no part: a touch of an earlier class is there",
    "lower_priority": "has no part: a touch of greater priority is there",
    "beyond_max": "has no part: enough later ones are there",
    "undoes": "takes the action back",
    "refunds": "takes a part of its value back",
    "nothing": "takes nothing of this one back",
}


def tell(told: ExplainedAction) -> None:
    """Print the story of an action."""
    rule, action = told.rule, told.action
    at = f"{action['event_ts']:%Y-%m-%dT%H:%M:%S.%f}"[:-3]
    click.echo(
        f"{rule.key}: the {action['event_type']} {action['event_id']} of {action['user_id']} "
        f"at {at}Z"
    )
    carried = (f"{c} {_text(action[c])}" for c in rule.carry if action[c] not in (None, []))
    click.echo(", ".join(carried))
    emit(pl.DataFrame(list(_story(told))), "table", None)
    revisions = list(_revisions(told))
    if revisions:
        emit(pl.DataFrame(revisions), "table", None)
    click.echo(_verdict(told))


def _story(told: ExplainedAction) -> Iterator[dict[str, str]]:
    """Events and points in the order of time."""
    before = {row["touch_id"]: row for row in told.at(min(told.points)).to_dicts()}
    events = told.told.to_dicts()
    for at in sorted({*told.points, *told.told["event_ts"]}):
        here = [e for e in events if e["event_ts"] == at]
        for event in here:
            share = _share(told, before.get(event["event_id"]), event)
            yield _line(
                told, at, f"{event['event_type']} {event['event_id']}", _words(event), share
            )
        if at in told.points:
            yield from _point(told, at)


def _point(told: ExplainedAction, at: datetime) -> Iterator[dict[str, str]]:
    """The action, or what is taken back, with what the action's row says then."""
    own = told.at(at).filter(pl.col("touch_id") == "").to_dicts()
    said = f"verdict = {own[0]['verdict']}" if own else "no row: it repeats another action"
    if own and told.rule.value is not None:
        said += f", value = {_text(own[0]['value'])}"
    what = "-- the action" if at == told.action["event_ts"] else "-- taken back"
    yield _line(told, at, what, "published" if told.points[at] else "not passed yet", said)


def _line(told: ExplainedAction, at: datetime, what: str, became: str, said: str) -> dict[str, str]:
    after = (at - told.action["event_ts"]).total_seconds()
    return {"after": f"{after:+.3f} s", "what": what, "what became of it": became, "rows": said}


def _words(event: Mapping[str, Any]) -> str:
    late = {"late": "; it came late", "too_late": "; it came too late"}.get(event["arrival"], "")
    return ("does not count" if not event["counted"] else _WORDS[event["outcome"]]) + late


def _share(told: ExplainedAction, row: Mapping[str, Any] | None, event: Mapping[str, Any]) -> str:
    """The rank and credit of a touch, as of the action's own time."""
    if row is None or event["outcome"] != "touch":
        return ""
    credits_ = (f"credit{m} = {row[f'credit{m}'] / WHOLE:.9g}" for m in told.rule.models)
    direct = ["direct"] if row["direct"] else []
    return ", ".join([f"rank {row['rank']}", *direct, *credits_])


def _revisions(told: ExplainedAction) -> Iterator[dict[str, Any]]:
    """What was changed of the action's rows after they were first published."""
    for change in told.changes.to_dicts():
        old, new = json.loads(change["old"]), json.loads(change["new"] or "{}")
        moved = ", ".join(f"{n}: {_text(old[n])} -> {_text(new[n])}" for n in new)
        yield {
            "row": change["touch_id"] or "the action",
            "revision": change["revision"],
            "kind": change["kind"],
            "reason": change["reason"],
            "commit": change["commit"],
            "what changed": moved or "the row was taken back",
        }


def _verdict(told: ExplainedAction) -> str:
    own = told.stored.filter(pl.col("touch_id") == "").to_dicts()
    said = "no row is published"
    if own:
        touches = told.stored.height - 1
        said = (
            f"published, revision {own[0]['revision']}: {own[0]['verdict']}, "
            f"{touches} row{'' if touches == 1 else 's'} of touches"
        )
    if told.agrees:
        return f"{said}; so say its events"
    return f"{said}; its events say otherwise: run `labeling verify` over its hour"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
