"""``labeling explain``: one label, or one action of an attribution, told event by event.

Always holds: every event of the window that could be the anchor's is shown, with where it went and
why; the labels are shown as of each event and each point, and the published revisions beside them;
the last line says whether the stored row agrees with its events. Nothing is written.

Not promised: a story of a row that was never published.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labeling.cli.output import emit

if TYPE_CHECKING:
    from labeling.cli.explain_rows import Explained
    from labeling.model.rule import LabelRule


@click.command("explain")
@click.argument("rule", metavar="RULE")
@click.option("--user", "user_id", required=True, help="Whose row: its user_id.")
@click.option("--anchor", "anchor_id", required=True, help="Which: its anchor_id, an action's too.")
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
@click.pass_context
def command(ctx: click.Context, rule: str, user_id: str, anchor_id: str, path: Path | None) -> None:
    """Tell why a row says what it says: each event, where it went, and what the labels became.

    RULE is a rule's NAME (its newest version) or NAME@VERSION. Also beside `labeling run`.

    Example: labeling explain note_labels --user u0000001 --anchor e0000001
    """
    from labeling.cli.explain_action_rows import explained_action
    from labeling.cli.explain_actions import tell
    from labeling.cli.explain_rows import explained
    from labeling.cli.replay import chosen
    from labeling.config import find_config, load_config, load_rules
    from labeling.io import leases
    from labeling.io.archive import Archive
    from labeling.io.remote import open_store
    from labeling.model.attribution import AttributionRule

    config = load_config(path or find_config())
    found = max(chosen(load_rules(config), [rule]), key=lambda r: r.version)
    archive = Archive(config.archive, config.columns)
    with leases.reading(archive.root), open_store(config.store, read_only=True) as store:
        if isinstance(found, AttributionRule):
            action = explained_action(store, archive, found, user_id, anchor_id)
            tell(action)
            ctx.exit(0 if action.agrees else 1)
        told = explained(store, archive, found, user_id, anchor_id)
    for line in _headline(told):
        click.echo(line)
    _story(told)
    _revisions(told)
    click.echo(_verdict(told))
    ctx.exit(0 if told.agrees else 1)


def _headline(told: Explained) -> Iterator[str]:
    rule, anchor = told.rule, told.anchor
    yield (
        f"{rule.key}: the {anchor['event_type']} {anchor['event_id']} of {anchor['user_id']} at "
        f"{anchor['event_ts']:%Y-%m-%dT%H:%M:%S.%f}"[:-3]
        + "Z"
    )
    carried = (f"{c} {_text(anchor[c])}" for c in rule.carry if anchor[c] not in (None, []))
    yield ", ".join(carried)


def _story(told: Explained) -> None:
    """Events and points in the order of time, with what the labels become."""
    import polars as pl

    values = {row["point_ts"]: row for row in told.values.to_dicts()}
    lines: list[dict[str, str]] = []
    before: Mapping[str, Any] = {}
    for at in sorted({*values, *told.considered["event_ts"]}):
        lines += _at(told, at)
        if at in values:
            lines[-1]["labels"] = _changed(told.rule, before, values[at])
            before = values[at]
    emit(pl.DataFrame(lines), "table", None)


def _at(told: Explained, at: datetime) -> Iterator[dict[str, str]]:
    """What happened at one time: the anchor, events, a point."""
    happened = [(told.anchor, "the anchor")] if at == told.anchor["event_ts"] else []
    here = told.considered.filter(told.considered["event_ts"] == at).to_dicts()
    happened += [(event, _outcome(told, event)) for event in here]
    lines = [(f"{e['event_type']} {e['event_id']}", outcome) for e, outcome in happened]
    if at in told.points:
        final = at == max(told.points)
        lines.append(("-- the window ends" if final else "-- early point", _published(told, at)))
    for what, outcome in lines:
        yield {"after": _after(told, at), "what": what, "what became of it": outcome, "labels": ""}


def _published(told: Explained, at: datetime) -> str:
    return "published" if told.points[at] else "not passed yet"


def _outcome(told: Explained, event: Mapping[str, Any]) -> str:
    """Where an event went, in words."""
    late = {"late": "; it came late", "too_late": "; it came too late"}.get(event["arrival"], "")
    if event["lane"] not in (None, ",".join(told.rule.match)):
        late = f", by {event['lane']}{late}"
    if not event["counted"]:
        return f"does not count{late}"
    if event["event_type"] in _continuing(told.rule):
        return f"goes on with its view{late}"
    own = event["anchor_id"] == told.anchor["event_id"]
    whose = "this one's" if own else f"{event['anchor_id']}'s"
    words = {
        "assigned": f"{whose}: the latest at or before it",
        "referred": f"{whose}: it names it",
        "no_anchor": "nobody's: no anchor at or before it",
        "window_over": "nobody's: the window had ended",
        "dangling": "nobody's: it names an anchor that cannot take it",
        "null_match": "nobody's: a match column is null",
    }
    if event["outcome"] == "assigned" and told.rule.assign == "every":
        words["assigned"] = f"{whose}: within its window"
    return words[event["outcome"]] + late


def _continuing(rule: LabelRule) -> set[str]:
    """Types that follow the start of a view, and are nowhere assigned by themselves."""
    every = {t for m in rule.measures for e in m.events() for t in e.types}
    return every - {t for m in rule.measures for e in m.assigned() for t in e.types}


def _changed(rule: LabelRule, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if not now["present"]:
        if rule.anchor is rule.anchor_event:
            return "no row: it repeats another anchor"
        return f"no row: none of the {rule.anchor.types[0]}, its condition is not true, or a repeat"
    names = rule.label_schema
    said = [f"{n} = {_text(now[n])}" for n in names if not before or before[n] != now[n]]
    return ", ".join(said)


def _revisions(told: Explained) -> None:
    """What was published of the row, revision by revision."""
    import polars as pl

    lines = [_first(told)] if told.row is not None else []
    for change in told.changes.to_dicts():
        old, new = json.loads(change["old"]), json.loads(change["new"] or "{}")
        moved = ", ".join(f"{n}: {_text(old[n])} -> {_text(new[n])}" for n in new)
        point = change["point_ts"]
        lines.append(
            {
                "revision": change["revision"],
                "kind": change["kind"],
                "reason": change["reason"],
                "as of": "" if point is None else _after(told, point),
                "commit": change["commit"],
                "what changed": moved or "the row was taken back",
            }
        )
    if lines:
        emit(pl.DataFrame(lines), "table", None)


def _first(told: Explained) -> dict[str, Any]:
    """The first revision: what the row says now, less all that changed it."""
    row = dict(told.row or {})
    for change in reversed(told.changes.to_dicts()):
        row |= json.loads(change["old"])
    said = ", ".join(f"{n} = {_text(row[n])}" for n in told.rule.label_schema)
    first = {"revision": 1, "kind": "insert", "reason": "", "as of": ""}
    return first | {"commit": row["first_commit"], "what changed": said}


def _verdict(told: Explained) -> str:
    if told.row is None:
        said = "no row is published"
    else:
        values = ", ".join(f"{n} = {_text(told.row[n])}" for n in told.rule.label_schema)
        said = f"published, revision {told.row['revision']}: {values}"
    if told.agrees:
        return f"{said}; so say its events"
    return f"{said}; its events say otherwise: run `labeling verify` over its hour"


def _after(told: Explained, at: datetime) -> str:
    return f"{(at - told.anchor['event_ts']).total_seconds():+.3f} s"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
