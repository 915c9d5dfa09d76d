"""The laws that a rule's rows are held to on given events: what is asked twice, and how.

Always holds: each law compares the rule's rows on the events with its rows when something is
changed that must not matter, and says nothing where they are equal bit by bit. The same events and
seed get the same answer, unless the rule itself draws at random.

Not promised: that a rule which passes keeps the law on every stream; ``streams`` says which are
tried.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from labeling.engine.step import start, step
from labeling.engine.watermark import Source, Watermarks
from labeling.model.credit import WHOLE
from labeling.model.event import IDENTITY, TS
from labeling.model.rule import LabelRule
from labeling.model.table import ROW_KEY
from labeling.testing.check.finding import ROW, Broken, Cell
from labeling.testing.check.subject import Subject, of_anchors, rows_of
from labeling.testing.golden_table import text

_TWICE: Final = 2
_PICKED: Final = 4
_GROUPS: Final = 5


def order(subject: Subject) -> Broken | None:
    """Rows do not depend on the order in which events lie in a frame, nor on the day."""
    events = subject.events
    found = subject.beside("not the same when the same events are evaluated again", events)
    said = "not the same when the same events lie in another order"
    for n in range(_TWICE):
        found = found or subject.beside(said, events.sort(subject.lot(f"order {n}"), *IDENTITY))
    return found


def locality(subject: Subject) -> Broken | None:
    """A row depends on events with its group columns only (law 3)."""
    events, group = subject.events, list(subject.rule.group)
    side = subject.lot("group", *group) % _TWICE == 0
    kept = [events.filter(side), events.filter(~side), *_groups(subject, group)]
    said = f"not the same without the events of other groups ({', '.join(group)})"
    found = None
    for some in kept:
        found = found or subject.beside(said, some, of_anchors(some))
    others = events.with_columns(user_id=pl.col("user_id") + "+")
    return found or subject.beside(
        "not the same when another user does the same",
        pl.concat([others, events]),
        of_anchors(events),
    )


def _groups(subject: Subject, group: list[str]) -> list[pl.DataFrame]:
    """A few groups by themselves, those with several events first."""
    sizes = subject.events.group_by(group).len().with_columns(lone=pl.col("len") <= _TWICE)
    first = sizes.sort("lone", subject.lot("alone", *group), *group).select(group).head(_GROUPS)
    return [
        subject.events.join(first[n], on=group, how="semi", nulls_equal=True, maintain_order="left")
        for n in range(first.height)
    ]


def reach(subject: Subject) -> Broken | None:
    """What lies out of an anchor's reach has no influence on its row (law 3)."""
    rule = subject.rule
    back, ahead = (pl.duration(milliseconds=n) for n in (rule.looks_back_ms, rule.looks_ahead_ms))
    # The window of a label may end before the longest that it can be.
    end = pl.col("point_ts") if isinstance(rule, LabelRule) else pl.col("event_ts") + ahead
    windows = subject.points.filter("final").select(
        *IDENTITY, low=pl.col("event_ts") - back, high=end
    )
    said = "not the same without the events out of reach"
    found = None
    for low, high in _picked(subject, windows, "reach").select("low", "high").iter_rows():
        inside = subject.events.filter(pl.col("event_ts").is_between(low, high))
        whole = windows.filter(pl.col("low") >= low, pl.col("high") <= high)
        found = found or subject.beside(said, inside, of_anchors(whole))
    return found


def point(subject: Subject) -> Broken | None:
    """A row at a point is a function of the events up to it, inclusive, and of nothing else."""
    found = None
    for (at,) in _picked(subject, subject.points, "point").select("point_ts").iter_rows():
        until = pl.lit(at, dtype=TS)
        found = found or subject.beside(
            "not the same at a point without the events after it",
            subject.events.filter(pl.col("event_ts") <= until),
            lambda rows, until=until: rows.filter(pl.col("point_ts") <= until),  # type: ignore[misc]  # a default is no parameter
        )
    return found


def _picked(subject: Subject, frame: pl.DataFrame, salt: str) -> pl.DataFrame:
    """A few rows of a frame that has the identity's columns."""
    return frame.sort(subject.lot(salt), *frame.columns).head(_PICKED)


def empty(subject: Subject) -> Broken | None:
    """Nothing in, nothing out, of the same columns; anchors alone have their columns too."""
    rule, events = subject.rule, subject.events
    wanted = {"point_ts": TS, "present": pl.Boolean(), **rule.row_schema}
    lone = events[subject.points["row"].unique().sort()]
    none = events.clear()
    sources = (Source("check", 0, ("0",)),)
    state = start((rule,), lateness_ms=0, since_ms={})
    judged = none.with_columns(arrival=pl.lit(None, pl.String))
    _, out = step((rule,), state, judged, Watermarks.start(sources, (rule,)))
    unread = events.filter(~pl.col("event_type").is_in(sorted(rule.event_types)))
    asked = {
        "no events": rows_of(rule, none),
        "no event that it reads": rows_of(rule, unread),
        "anchors alone": rows_of(rule, lone),
        "an empty step": out.rows[rule.key].drop("reason", "fresh"),
    }
    for name, rows in asked.items():
        cells = schema_cells(wanted, dict(rows.schema))
        if cells:
            return Broken(f"{name}: other columns than always", cells, none)
    extra = asked["no events"].height + asked["no event that it reads"].height
    cells = (Cell({}, ROW, "no rows", str(extra)),)
    return (
        Broken("no events that it reads, and yet there are rows", cells, unread) if extra else None
    )


def schema_cells(wanted: dict[str, pl.DataType], got: dict[str, pl.DataType]) -> tuple[Cell, ...]:
    """A cell per column of another type, or one for another order of columns."""
    cells = [
        Cell({}, c, str(wanted.get(c, "no column")), str(got.get(c, "no column")))
        for c in dict.fromkeys((*wanted, *got))
        if wanted.get(c) != got.get(c)
    ]
    if not cells and list(wanted) != list(got):
        cells.append(Cell({}, ROW, ", ".join(wanted), ", ".join(got)))
    return tuple(cells)


def types(subject: Subject) -> Broken | None:
    """Labels are of their declared types, and no Boolean label is ever null."""
    rule, rows = subject.rule, subject.rows
    wanted = {"point_ts": TS, "present": pl.Boolean(), **rule.row_schema}
    cells = list(schema_cells(wanted, dict(rows.schema)))
    if cells:
        return Broken("not of the type that the rule declares", tuple(cells), subject.events)
    labels = rule.label_schema if isinstance(rule, LabelRule) else {}
    conditions = [n for n, t in labels.items() if t == pl.Boolean()]
    for name in conditions:
        missing = rows.filter("present", pl.col(name).is_null())
        keys = missing.select("point_ts", *subject.rule.row_schema).iter_rows(named=True)
        cells += [Cell(row, name, "true or false", "-") for row in keys]
    said = "null, which no Boolean label is: say what it is without events, as in .fill_null(False)"
    return Broken(said, tuple(cells), subject.events) if cells else None


def credit(subject: Subject) -> Broken | None:
    """The credit of an attributed action sums to one, its shares to its value (law 6)."""
    rule, rows = subject.rule, subject.rows.filter("present")
    if isinstance(rule, LabelRule):
        return None
    at = ["point_ts", *ROW_KEY]
    own = rows.filter(pl.col("touch_id") == "")
    credits_ = [f"credit{m}" for m in rule.models]
    shares = [f"value{m}" for m in rule.models] if rule.value else []
    touches = rows.filter(pl.col("touch_id") != "").group_by(at).agg(
        pl.len().cast(pl.Int64).alias("rows"),
        pl.col("direct").sum().cast(pl.Int64).alias("direct"),
        pl.col("rank").max(),
        pl.col(credits_).sum(),
        pl.col(credits_).min().name.prefix("least "),
        *(pl.when(pl.col(s).null_count() == 0).then(pl.col(s).sum()).alias(s) for s in shares),
    )  # fmt: skip
    both = own.select(*at, "verdict", "touches", *(["value"] if shares else [])).join(
        touches.rename({s: f"sum {s}" for s in shares}), on=at, how="left"
    )
    shared = pl.col("verdict") == "attributed"
    wanted = {
        "rows": pl.when(shared).then("touches"),
        "rank": pl.when(shared).then("touches"),
        "direct": pl.when(shared).then(1),
        **{c: pl.when(shared).then(WHOLE) for c in credits_},
        **{f"sum {s}": pl.when(shared).then("value") for s in shares},
    }
    cells = [
        cell
        for name, want in wanted.items()
        for cell in _unequal(both, at, name.removeprefix("sum "), want, pl.col(name))
    ]
    none = pl.lit(0, pl.Int64)
    for c in credits_:
        least = pl.min_horizontal(none, pl.col(f"least {c}"))
        cells += _unequal(both, at, c, none, least)
    return Broken("not the whole of it", tuple(cells), subject.events) if cells else None


def _unequal(
    rows: pl.DataFrame, at: list[str], name: str, want: pl.Expr, have: pl.Expr
) -> list[Cell]:
    """A cell for each row where one is not the other."""
    told = rows.select(*at, want=want, have=have).filter(pl.col("want").ne_missing(pl.col("have")))
    return [
        Cell({k: row[k] for k in at}, name, text(row["want"]), text(row["have"]))
        for row in told.iter_rows(named=True)
    ]
