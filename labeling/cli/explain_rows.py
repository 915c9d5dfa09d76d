"""One row of a rule with all that it was made of: what `labeling explain` tells.

Always holds: which event belongs to the anchor, and what the labels say at a time, come from the
engine (``assignments``, ``evaluate``), over the events that the stored row counts: those that were
in time for the stream, or those that the replay of its hour had read.

Not promised: what the flow will make of events that it has not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any, Final

import polars as pl

from backfill.blocks import Block, reach
from backfill.reading import read
from labeling.engine.evaluate import evaluate
from labeling.engine.explain import assignments
from labeling.engine.keys import user_key
from labeling.engine.points import points
from labeling.errors import DataError
from labeling.io.archive import Archive
from labeling.io.store import Store
from labeling.io.store.ownership import REPLAY, streams_of
from labeling.model.event import IDENTITY
from labeling.model.kinds import Rule
from labeling.model.rows_of import RowsOf
from labeling.model.rule import LabelRule
from labeling.model.table import ROW_KEY, table_of

#: Parts of the users of which one is read.
_PARTS: Final = 1 << 16
_PART_BITS: Final = 48
_MS: Final = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Explained:
    """A row and its story.

    ``anchor``: the event's columns. ``considered``: ``event_ts``, ``event_type``, ``event_id``,
    ``arrival``, and from ``assignments`` ``lane``, ``anchor_id``, ``anchor_ts``, ``outcome``, of
    every event of the window that shares the lane's columns with the anchor, or names it.
    ``values``: ``point_ts``, ``present`` and labels at each event and each point. ``points``: the
    points, and whether each has been passed. ``changes``: as in ``label_changes``. ``row``: what is
    stored now; None: nothing.
    """

    rule: LabelRule
    anchor: dict[str, Any]
    considered: pl.DataFrame
    values: pl.DataFrame
    points: dict[datetime, bool]
    changes: pl.DataFrame
    row: dict[str, Any] | None

    @property
    def agrees(self) -> bool:
        """Whether the stored row says what the events make at the latest point passed."""
        passed = [at for at, is_passed in self.points.items() if is_passed]
        if not passed:
            return self.row is None
        (made,) = self.values.filter(pl.col("point_ts") == max(passed)).to_dicts()
        if self.row is None or not made["present"]:
            return self.row is None and not made["present"]
        return all(made[name] == self.row[name] for name in self.rule.label_schema)


def explained(
    store: Store, archive: Archive, rule: LabelRule, user_id: str, anchor_id: str
) -> Explained:
    """The story of one row.

    Args:
        store: open, for reading; also another process's.
        archive: where its files lie.
        rule: a label rule.
        user_id: whose row.
        anchor_id: the ``event_id`` of its anchor.

    Raises:
        DataError: the rule has never had such a row, or its events are not in the archive.
        StoreError: the rule has changed under its version.
    """
    key = row_key(store, rule, user_id, anchor_id)
    hour = key["anchor_ts"].replace(minute=0, second=0, microsecond=0)
    counted, through_ms = counted_events(store, rule, hour)
    known, archived = archived_events(store, archive, rule, key, counted)
    if known.filter(is_event(key)).is_empty():
        raise DataError(
            f"{rule.key}: the anchor {anchor_id!r} of {user_id!r} is not among the archived events "
            "that its row counts; was a file forgotten? `labeling verify` compares the hour"
        )
    anchor = known.filter(is_event(key)).to_dicts()[0]
    asked = points(rule, known).filter(is_event(key))
    due = {at: at.timestamp() * 1000 < through_ms for at in asked["point_ts"].sort()}
    considered = _considered(rule, known, archived, anchor, max(due))
    counting = considered.filter("counted")["event_ts"]
    return Explained(
        rule=rule,
        anchor=anchor,
        considered=considered,
        values=_values(rule, known, asked, sorted({anchor["event_ts"], *counting, *due})),
        points=due,
        changes=_changes(store, rule, key),
        row=_row(store, rule, key),
    )


def _values(
    rule: LabelRule, known: pl.DataFrame, asked: pl.DataFrame, times: Sequence[datetime]
) -> pl.DataFrame:
    """The anchor's labels at some times.

    A row is a function of the events up to a time: any time, not the rule's points alone.
    """
    at = pl.DataFrame({"point_ts": times}).cast({"point_ts": asked.schema["point_ts"]})
    anchor = asked.head(1).drop("point", "point_ts")
    every = anchor.join(at.with_row_index("point"), how="cross")
    return evaluate(rule, known, every).select("point_ts", "present", *rule.label_schema)


def _row(store: Store, rule: LabelRule, key: dict[str, Any]) -> dict[str, Any] | None:
    """What is stored now."""
    at = key["anchor_ts"]
    rows = store.rows_between(table_of(rule), at, at + _MS)
    mine = [pl.col(name) == pl.lit(key[name]) for name in ("user_id", "anchor_id")]
    return next(iter(rows.filter(*mine).to_dicts()), None)


def is_event(key: dict[str, Any]) -> pl.Expr:
    """Whether an event is the anchor."""
    at = pl.col("event_ts") == pl.lit(key["anchor_ts"], pl.Datetime("ms", "UTC"))
    same = pl.col("event_id") == pl.lit(key["anchor_id"])
    return at & same & (pl.col("user_id") == pl.lit(key["user_id"]))


def row_key(store: Store, rule: Rule, user_id: str, anchor_id: str) -> dict[str, Any]:
    """The anchor's key; the latest where the id has several."""
    table = table_of(rule)
    names = ", ".join(ROW_KEY)
    mine = f"user_id = {quoted(user_id)} AND anchor_id = {quoted(anchor_id)}"
    if rule.key in set(store.query("SELECT rule || '@' || version AS key FROM rules")["key"]):
        store.hours(table)  # refuses a changed digest
        found = store.query(
            f'SELECT {names} FROM "{table.table}" WHERE {mine} '
            f"UNION SELECT {names} FROM retracted WHERE {mine} AND rule = '{rule.name}' "
            f"AND version = {rule.version} ORDER BY anchor_ts DESC LIMIT 1"
        )
        if found.height:
            return found.to_dicts()[0]
    raise DataError(
        f"{rule.key} has no row of user {user_id!r} and anchor {anchor_id!r}; list some with: "
        f'labeling sql "select user_id, anchor_id from {rule.name} limit 10"'
    )


def counted_events(store: Store, rule: Rule, hour: datetime) -> tuple[pl.Expr, int]:
    """Which archived events the hour's rows count, and up to which time points are published."""
    noted = store.hours(table_of(rule)).filter(pl.col("hour") == hour).to_dicts()
    if noted and noted[0]["published_by"] == REPLAY:
        through = noted[0]["through_ts"]
        end = datetime.max.replace(tzinfo=UTC) if through is None else through
        return pl.col("archived") <= noted[0]["archive_commit"], int(end.timestamp() * 1000)
    return pl.col("arrival") != "too_late", streams_of(store.query).mark_of(rule.key)


def archived_events(
    store: Store,
    archive: Archive,
    rule: Rule,
    key: dict[str, Any],
    counted: pl.Expr,
    further: timedelta = timedelta(0),
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The user's events within reach of the anchor, and ``further`` back, each identity once.

    Returns:
        Those that count, as ``evaluate`` takes them; and all of them, with ``arrival`` and
        ``counted``.
    """
    back, ahead = reach(rule)
    low, high = key["anchor_ts"] - back - further, key["anchor_ts"] + ahead
    part = pl.DataFrame({"user_id": [key["user_id"]]}).select(user_key()).item() >> _PART_BITS
    block = Block((), low, high, tuple(store.files(low, high)), 0, _PARTS)
    found = read(archive, rule, block, part, ("arrival", "archived"))
    mine = pl.col("user_id") == pl.lit(key["user_id"])
    read_by_rule = pl.col("event_type").is_in(sorted(rule.event_types))
    known = found.events(counted & mine & read_by_rule)
    first = found.archived.filter(mine, read_by_rule).with_columns(counted=counted)
    order = [pl.col("counted").not_(), pl.col("archived")]
    once = first.sort(order, maintain_order=True).unique(IDENTITY, keep="first")
    marks = once.select(*IDENTITY, "arrival", "counted")
    left_out = once.filter(~pl.col("counted")).select(sorted(rule.event_columns))
    return known, pl.concat([known, left_out]).join(marks, on=IDENTITY, maintain_order="left")


def _considered(
    rule: LabelRule,
    known: pl.DataFrame,
    archived: pl.DataFrame,
    anchor: dict[str, Any],
    end: datetime,
) -> pl.DataFrame:
    """The events that could be the anchor's, with what became of them; and its rows of others."""
    told = assignments(rule, known)
    row_types = [t for e in rule.selectors if isinstance(e, RowsOf) for t in e.types]
    is_row = pl.col("event_type").is_in(row_types)
    of_events = told.filter(~is_row).drop("event_type")
    events = archived.join(of_events, on=IDENTITY, how="left", maintain_order="left")
    near = pl.col("event_ts").is_between(anchor["event_ts"], end)
    other = pl.col("event_id") != anchor["event_id"]
    related = reduce(lambda a, b: a | b, [_shares(lane, anchor) for lane in rule.lanes])
    if rule.reference:
        names = [n for n in (anchor["event_id"], anchor[rule.reference]) if n is not None]
        related |= pl.col(rule.reference).is_in(names)
    told_or_not = pl.col("lane").is_not_null() | ~pl.col("counted")
    found = events.filter(near, other, related, told_or_not)
    rows = told.filter(is_row, near, pl.col("anchor_id") == anchor["event_id"]).filter(
        pl.col("anchor_ts") == anchor["event_ts"]
    )
    rows = rows.with_columns(arrival=pl.lit("on_time"), counted=pl.lit(value=True))
    return pl.concat([found, rows], how="diagonal").sort("event_ts", "event_id", "lane")


def _shares(lane: Sequence[str], anchor: dict[str, Any]) -> pl.Expr:
    """Whether an event has the anchor's columns of a lane, and is told for that lane."""
    same = [pl.col(c).eq_missing(pl.lit(anchor[c])) for c in lane if anchor[c] is not None]
    whole = len(same) == len(lane)
    mine = (pl.col("lane") == ",".join(lane)) | pl.col("lane").is_null()
    return pl.all_horizontal(*same, mine, pl.lit(whole))


def _changes(store: Store, rule: LabelRule, key: dict[str, Any]) -> pl.DataFrame:
    at = key["anchor_ts"]
    # The range of times lets DuckDB skip what lies elsewhere.
    low, high = (f"timestamptz '{t.isoformat()}'" for t in (at, at + _MS))
    return store.query(
        "SELECT revision, kind, reason, point_ts, old, new, commit FROM label_changes "
        f"WHERE rule = '{rule.name}' AND version = {rule.version} "
        f"AND user_id = {quoted(key['user_id'])} AND anchor_id = {quoted(key['anchor_id'])} "
        f"AND anchor_ts >= {low} AND anchor_ts < {high} ORDER BY revision"
    )


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
