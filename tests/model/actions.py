"""Actions and their paths as of a point: clauses A1 to A13 of docs/attribution.md, one by one.

Always holds: an ``AsOf`` holds the events up to one point and forgets all others; a path is a list
of ``Touch`` in the order ``(event_ts, event_id)``.

Not promised: speed, or anything on two events of one identity; the caller keeps the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from zoneinfo import ZoneInfo

from labeling.model.attribution import AttributionRule
from labeling.model.rows_of import RowsOf
from labeling.model.rule import LabelRule
from labeling.model.selector import Event
from labeling.model.session import Session
from tests.model.assign import Fact, Identity, Twins, cells, identity, selects, standing, where
from tests.model.trail import trail_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=100_000)
def local_day(ts: int, tz: str) -> date:
    """The date that clocks in a zone show at ``ts``, in ms."""
    return (_EPOCH + timedelta(milliseconds=ts)).astimezone(ZoneInfo(tz)).date()


@dataclass(frozen=True)
class Touch:
    """A touch of one action: the event, its class from 1, and the time its credit counts from."""

    event: Fact
    number: int
    credit_ts: int


class AsOf:
    """What an attribution rule knows of the events with ``event_ts <= point``."""

    def __init__(
        self, rule: AttributionRule, events: Iterable[Fact], point: int, twins: Twins | None = None
    ) -> None:
        self.rule, self.point, self.twins = rule, point, twins or {}
        self.events = sorted((e for e in events if e["event_ts"] <= point), key=standing)
        self.candidates = [e for e in self.events if self.is_candidate(e)]
        self.session_of = self.cut(rule.sessions) if rule.sessions is not None else {}
        self.trails: dict[Identity, set[Identity]] = {}
        self.undos = self.meetings(rule.undone_by)
        self.refunds = self.meetings(rule.refunded_by)
        self.kept_for = self.keep()
        self.actions = [c for c in self.candidates if self.is_action(c)]

    def is_candidate(self, e: Fact) -> bool:
        """A1: what ``action`` selects."""
        return selects(self.rule.action, e, self.twins)

    def is_action(self, c: Fact) -> bool:
        """A3: a candidate that repeats none."""
        return identity(self.kept_for[identity(c)]) == identity(c)

    def keep(self) -> dict[Identity, Fact]:
        """A2: every candidate's action: the one that it repeats, or itself."""
        kept_for: dict[Identity, Fact] = {}
        last: dict[object, Fact] = {}
        for c in self.candidates:
            kept_for[identity(c)] = c
            lane = cells(c, self.rule.repeat_columns)
            if self.rule.repeat_ms is None or lane is None:
                continue
            like = (lane, c["event_type"], local_day(c["event_ts"], self.rule.day))
            kept = last.get(like)
            if kept is not None and self.repeats(c, kept, kept_for):
                kept_for[identity(c)] = kept
            else:
                last[like] = c
        return kept_for

    def repeats(self, c: Fact, kept: Fact, kept_for: dict[Identity, Fact]) -> bool:
        """A2: near enough, and no undo of the kept one or of its repeats lies before it."""
        undone = any(
            undo["event_ts"] < c["event_ts"] and kept_for.get(identity(met)) is kept
            for undo, met in self.undos
        )
        longest = self.rule.repeat_ms or 0
        return not undone and c["event_ts"] - kept["event_ts"] <= longest

    def meetings(self, selector: Event | None) -> list[tuple[Fact, Fact]]:
        """A4: the events that take back, each with the candidate that it meets."""
        if selector is None:
            return []
        found = []
        for e in self.events:
            if selects(selector, e, self.twins):
                alike = [c for c in self.candidates if self.same(c, e, self.rule.lane(selector))]
                behind = [c for c in alike if self.stands_before(c, e)]
                met = max(behind, key=standing) if behind else None
                if met is not None and e["event_ts"] - met["event_ts"] <= self.rule.undone_ms:
                    found.append((e, met))
        return found

    def stands_before(self, c: Fact, e: Fact) -> bool:
        """A4: a candidate at or before an event; of two candidates the one before it by id too."""
        if self.is_candidate(e):
            return standing(c) < standing(e)
        return bool(c["event_ts"] <= e["event_ts"])

    def of_action(self, a: Fact, met: list[tuple[Fact, Fact]]) -> list[Fact]:
        """A4: what meets an action or one of its repeats."""
        return [e for e, c in met if identity(self.kept_for[identity(c)]) == identity(a)]

    def undone_ts(self, a: Fact) -> int | None:
        """A4: when an action is undone: at its first undo."""
        return min((e["event_ts"] for e in self.of_action(a, self.undos)), default=None)

    def points(self, c: Fact) -> list[int]:
        """A5: a candidate's own time; an action's first undo and its refunds."""
        found = {c["event_ts"]}
        if self.is_action(c):
            undone_ts = self.undone_ts(c)
            found |= set() if undone_ts is None else {undone_ts}
            found |= {e["event_ts"] for e in self.of_action(c, self.refunds)}
        return sorted(found)

    def value(self, a: Fact) -> int | None:
        """A6: what the action is worth, less its refunds so far."""
        column = self.rule.value
        if column is None or a[column] is None:
            return None
        return int(a[column]) - sum(e[column] or 0 for e in self.of_action(a, self.refunds))

    # ---- touches ------------------------------------------------------------------------------

    def cut(self, session: Session) -> dict[Identity, Fact]:
        """A13: every event's session: the first event of it."""
        first_of: dict[Identity, Fact] = {}
        before: dict[str, Fact] = {}
        for e in self.events:
            if e["event_type"] not in self.rule.event_types:
                continue
            last = before.get(e["user_id"])
            starts = (
                last is None
                or e["event_ts"] - last["event_ts"] > session.gap_ms
                or local_day(e["event_ts"], session.tz) != local_day(last["event_ts"], session.tz)
            )
            first_of[identity(e)] = e if starts or last is None else first_of[identity(last)]
            before[e["user_id"]] = e
        return first_of

    def same(self, a: Fact, b: Fact, columns: tuple[str, ...]) -> bool:
        """Equal, non-null match columns; ``session`` among them: the same one, not only its id."""
        mine = cells(self.with_session(a), columns)
        return mine is not None and mine == cells(self.with_session(b), columns)

    def with_session(self, e: Fact) -> Fact:
        """The event with its session as a column."""
        if self.rule.session is None:
            return e
        return e | {"session": identity(self.session_of[identity(e)])}

    def takes(self, touch: Event, e: Fact, a: Fact) -> bool:
        """A7: whether one of ``touches`` takes an event for an action."""
        if not (self.selected(touch, e, a) and self.same(e, a, self.rule.lane(touch))):
            return False
        if self.is_candidate(e) and not standing(e) < standing(a):
            return False
        age = a["event_ts"] - e["event_ts"]
        return bool(self.rule.min_age_ms <= age <= (touch.within_ms or 0))

    def selected(self, touch: Event, e: Fact, a: Fact) -> bool:
        """A7 and R4: whether a touch's selector takes an event, or the row that stands for it."""
        if not isinstance(touch, RowsOf):
            return selects(touch, e, self.twins)
        from tests.model import chained  # noqa: PLC0415 - rules read rules: a circle by nature

        source = touch.source
        assert isinstance(source, LabelRule)
        said = chained.said_as_of(source, self.events, e, a["event_ts"], self.twins)
        if said is None:
            return False
        return touch.where is None or where(touch.where, e | {"said": said}, self.twins) is True

    def number(self, e: Fact, a: Fact) -> int | None:
        """A7 to A8b: the class of the event among the action's touches; None: it is none."""
        if not self.rule.own_page and e["page_id"] is not None and e["page_id"] == a["page_id"]:
            return None
        if self.rule.trail and identity(e) not in self.trail(a):
            return None
        return self.taken_as(e, a)

    def taken_as(self, e: Fact, a: Fact) -> int | None:
        """A7: the number of the first of ``touches`` that takes an event for an action."""
        for number, touch in enumerate(self.rule.touches, start=1):
            if self.takes(touch, e, a):
                return number
        return None

    def trail(self, a: Fact) -> set[Identity]:
        """A8b: of the events that are taken in the action's session, those on its trail."""
        if identity(a) not in self.trails:
            taken = [e for e in self.events if self.taken_as(e, a) is not None]
            visit = identity(self.session_of[identity(a)])
            pages = [e for e in taken if identity(self.session_of[identity(e)]) == visit]
            self.trails[identity(a)] = {identity(e) for e in trail_of(a, pages)}
        return self.trails[identity(a)]

    def is_used_up(self, e: Fact, a: Fact) -> bool:
        """A9: enough actions of the day stand before this one that have the touch."""
        if self.rule.max_actions is None:
            return False
        day = local_day(a["event_ts"], self.rule.day)
        users = [
            b
            for b in self.actions
            if standing(b) < standing(a)
            and local_day(b["event_ts"], self.rule.day) == day
            and self.number(e, b) is not None
        ]
        return len(users) >= self.rule.max_actions

    def touches(self, a: Fact) -> list[Touch]:
        """A7 to A9: all touches of an action."""
        found = []
        for e in self.events:
            number = self.number(e, a)
            if number is not None and not self.is_used_up(e, a):
                found.append(Touch(e, number, e["event_ts"]))
        return found

    def path(self, a: Fact) -> list[Touch]:
        """A10 to A12: what is left of the touches."""
        left = self.collapse(self.touches(a))
        if self.rule.classes:
            lowest = min((t.number for t in left), default=0)
            left = [t for t in left if t.number == lowest]
        if self.rule.priority is not None:
            greatest = max((self.priority(t) for t in left), default=(False, 0))
            left = [t for t in left if self.priority(t) == greatest]
        return left if self.rule.max_touches is None else left[-self.rule.max_touches :]

    def priority(self, t: Touch) -> tuple[bool, int]:
        """A11: a value, null below every other."""
        value = t.event[self.rule.priority or ""]
        return (value is not None, value or 0)

    def collapse(self, touches: list[Touch]) -> list[Touch]:
        """A10: the first of each run of neighbours that are alike."""
        by = self.rule.collapse
        if isinstance(by, Session):
            runs = groupby(touches, lambda t: identity(self.session_of[identity(t.event)]))
            firsts = [next(run) for _, run in runs]
            starts = [self.session_of[identity(t.event)]["event_ts"] for t in firsts]
            return [Touch(t.event, t.number, s) for t, s in zip(firsts, starts, strict=True)]
        if not by:
            return touches
        return [next(run) for _, run in groupby(touches, lambda t: [t.event[c] for c in by])]
