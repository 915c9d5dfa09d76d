"""An attribution rule: for every action, what caused it, and how the credit is shared.

Always holds: a rule is a frozen value that made it through its own checks; its digest is a
function of its definition alone. docs/attribution.md is its meaning.

Not promised: that a digest survives a Polars upgrade where a rule wraps Polars expressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import polars as pl

from labeling.model import attribution_checks
from labeling.model.credit import Credit, Weighted, last_touch
from labeling.model.event import TS, event_schema
from labeling.model.expr import canonical
from labeling.model.rows_of import sources, types_read
from labeling.model.rule import CARRY, conditioned
from labeling.model.selector import Event, event
from labeling.model.session import DAY_MS, SESSION, Session
from labeling.model.window import duration_ms

if TYPE_CHECKING:
    from labeling.model.kinds import Rule

#: Columns of a touch that its rows carry unless the rule says otherwise.
TOUCH_CARRY: Final = ("item_id", "author_id", "request_id", "scene", "page_id", "position")
#: A row is an action and a touch; the action's own row has an empty ``touch_id``.
ATTRIBUTION_KEY_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "user_id": pl.String(),
    "anchor_ts": TS,
    "anchor_id": pl.String(),
    "touch_ts": TS,
    "touch_id": pl.String(),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class AttributionRule:
    """Causes of actions: a row for each action, and one for each touch that has a part in it.

    Args:
        name: lower-case identifier; the store's table is named by it and the version.
        version: from 1; another definition needs another version.
        action: the events to be explained, such as ``Event("follow")``.
        match: columns whose equality relates a touch to an action, ``user_id`` among them.
        touches: what may have caused it, each with its own ``within`` (how far back, inclusive),
            and its own ``match`` or ``where`` if need be.
        credit: how the credit is shared: one model, or several by name (``credit_<name>``).
        min_age: how long before the action a touch must be at least, inclusive.
        classes: only touches of the selector listed first among those present have a part.
        priority: an integer column of touches; only those of its greatest value have a part.
        collapse: columns by which neighbours on the path are one touch, or ``session(...)``.
        max_touches: so many of the latest touches are kept.
        max_actions: a touch has a part in so many actions of a day; 1: it is consumed.
        trail: only the pages that led to the action have a part: by ``referrer_page_id`` where it
            is logged, else by time within the ``session``, going back taking back the path.
        own_page: whether a touch may lie on the action's own ``page_id``.
        repeat_within: an action so close after another kept one, inclusive, repeats it and has no
            row.
        repeat_match: columns that a repeat shares with what it repeats; ``match`` unless given.
        day: time zone of the days at which ``repeat_within`` and ``max_actions`` start afresh.
        undone_by: what takes an action back, such as ``Event("unfollow")``.
        undone_within: how long after an action it, or a refund, counts, inclusive.
        refunded_by: what takes a part of an action's value back.
        value: an integer column of the action, shared by credit.
        session: what ``session`` means among match columns.
        path: the column whose values along the path an action's row lists.
        carry: columns of the action that all rows carry.
        touch_carry: columns of the touch that its rows carry, as ``touch_<column>``.
        columns: declared extra columns that the rule reads, name to type.

    Raises:
        RuleError: the definition cannot mean anything; the message names the rule and the fix.
    """

    name: str
    version: int = 1
    action: Event
    match: tuple[str, ...]
    touches: tuple[Event, ...]
    credit: Credit | Mapping[str, Credit] = field(default_factory=last_touch)
    min_age: str | None = None
    classes: bool = False
    priority: str | None = None
    collapse: tuple[str, ...] | Session = ()
    max_touches: int | None = None
    max_actions: int | None = None
    trail: bool = False
    own_page: bool = True
    repeat_within: str | None = None
    repeat_match: tuple[str, ...] | None = None
    day: str = "UTC"
    undone_by: Event | None = None
    undone_within: str | None = None
    refunded_by: Event | None = None
    value: str | None = None
    session: Session | None = None
    path: str = "scene"
    carry: tuple[str, ...] = CARRY
    touch_carry: tuple[str, ...] = TOUCH_CARRY
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Settle the forms a caller may abbreviate, then check the whole."""
        put = object.__setattr__
        put(self, "action", event(self.action))
        put(self, "match", tuple(self.match))
        listed = (self.touches,) if isinstance(self.touches, Event | str) else self.touches
        put(self, "touches", tuple(event(t) for t in listed))
        if isinstance(self.collapse, str):
            put(self, "collapse", (self.collapse,))
        for name in ("undone_by", "refunded_by"):
            given = getattr(self, name)
            put(self, name, None if given is None else event(given))
        if isinstance(self.credit, Mapping):
            put(self, "credit", MappingProxyType(dict(self.credit)))
        put(self, "columns", MappingProxyType(dict(self.columns)))
        attribution_checks.check(self)

    # ---- what the definition amounts to -------------------------------------------------------

    @property
    def key(self) -> str:
        """``name@version``: how people and frames name the rule."""
        return f"{self.name}@{self.version}"

    @cached_property
    def models(self) -> Mapping[str, Credit]:
        """The suffix of the columns of each model to the model; the empty text for a single one."""
        if isinstance(self.credit, Mapping):
            return {f"_{name}": model for name, model in self.credit.items()}
        return {"": self.credit}

    @cached_property
    def min_age_ms(self) -> int:
        """How long before the action a touch must be, at least."""
        return 0 if self.min_age is None else duration_ms(self.min_age)

    @cached_property
    def repeat_ms(self) -> int | None:
        """How far after a kept action another repeats it; None: none does."""
        return None if self.repeat_within is None else duration_ms(self.repeat_within)

    @cached_property
    def undone_ms(self) -> int:
        """How long after an action an undo or a refund counts; 0 where there are none."""
        return 0 if self.undone_within is None else duration_ms(self.undone_within)

    @cached_property
    def lookback_ms(self) -> int:
        """How far before an action an event can matter to it (clause A20)."""
        # Whether a touch is in the action's session is told by the events between the two; where
        # the session starts is not.
        starts = self.collapse if isinstance(self.collapse, Session) else None
        chains = (self.repeat_within, self.max_actions, starts)
        longest = max(t.within_ms or 0 for t in self.touches)
        behind = max((s.looks_back_ms for s in self.sources), default=0)
        return longest + behind + (DAY_MS if any(c is not None for c in chains) else 0)

    @property
    def row_keys(self) -> tuple[str, ...]:
        """The columns that name a row; an action's rows share all but the last two."""
        return tuple(ATTRIBUTION_KEY_SCHEMA)

    @property
    def looks_ahead_ms(self) -> int:
        """How far ahead of an action an event can matter to it: its own undo, or a repeat's."""
        if self.undone_by is None and self.refunded_by is None:
            return 0
        return self.undone_ms + min(self.repeat_ms or 0, DAY_MS)

    @property
    def looks_back_ms(self) -> int:
        """How far before an action an event can matter to it."""
        return self.lookback_ms

    @property
    def window_ms(self) -> int:
        """How long after an action its rows are there: at once. What undoes them comes later."""
        return 0

    @property
    def reach_ms(self) -> int:
        """How long an event can matter."""
        return self.looks_back_ms + self.looks_ahead_ms

    @property
    def sessions(self) -> Session | None:
        """The sessions that the rule speaks of."""
        return self.collapse if isinstance(self.collapse, Session) else self.session

    @cached_property
    def selectors(self) -> tuple[Event, ...]:
        """All that the rule reads: action, touches, undo, refund."""
        more = (e for e in (self.undone_by, self.refunded_by) if e is not None)
        return (self.action, *self.touches, *more)

    @cached_property
    def sources(self) -> tuple[Rule, ...]:
        """The rules whose rows are touches."""
        return sources(self.touches)

    def lane(self, selector: Event) -> tuple[str, ...]:
        """The match columns by which the selector's events are related to an action."""
        return selector.match or self.match

    @cached_property
    def group(self) -> tuple[str, ...]:
        """The columns that all events of the rule share: what a set of rows is local to."""
        if self.sessions is not None:
            return ("user_id",)
        lanes = [self.lane(e) for e in self.selectors]
        if self.repeat_within is not None:
            lanes.append(self.repeat_columns)
        lanes += [s.group for s in self.sources]
        return tuple(c for c in self.match if all(c in lane for lane in lanes))

    @property
    def repeat_columns(self) -> tuple[str, ...]:
        """What a repeat shares with what it repeats, beside its type."""
        return self.repeat_match or self.match

    @cached_property
    def event_types(self) -> frozenset[str]:
        """The event types that the rule reads."""
        return frozenset(types_read(self.selectors))

    @cached_property
    def event_columns(self) -> frozenset[str]:
        """The contract's and declared columns that the rule reads."""
        read = {"user_id", "event_ts", "event_id", "event_type", self.path}
        read.update(self.carry, self.touch_carry, self.repeat_columns)
        read.update(*(self.lane(e) for e in self.selectors))
        read.update(*(conditioned(e) for e in self.selectors))
        read.update(*(s.event_columns for s in self.sources))
        read.update(c for c in (self.priority, self.value) if c is not None)
        if self.trail:
            read.update(("page_id", "referrer_page_id", "item_id"))
        if not self.own_page:
            read.add("page_id")
        if not isinstance(self.collapse, Session):
            read.update(self.collapse)
        for model in self.models.values():
            if isinstance(model, Weighted):
                read.update(model.expr.meta.root_names())
        return frozenset(read) - {SESSION, "delay_ms", "rank", "touches"}

    @cached_property
    def event_schema(self) -> Mapping[str, pl.DataType]:
        """The contract with the rule's declared columns."""
        return event_schema(self.columns)

    @cached_property
    def value_schema(self) -> Mapping[str, pl.DataType]:
        """What a row says beyond its key: carried columns, then what clauses A16 and A17 name."""
        known = self.event_schema
        shares = {f"value{s}": pl.Int64() for s in self.models} if self.value else {}
        return {
            **{c: known[c] for c in self.carry},
            "verdict": pl.String(),
            "touches": pl.Int64(),
            "path": pl.List(pl.String()),
            "rank": pl.Int64(),
            "direct": pl.Boolean(),
            "delay_ms": pl.Int64(),
            "touch_type": pl.String(),
            "touch_class": pl.Int64(),
            **{f"touch_{c}": known[c] for c in self.touch_carry},
            **{f"credit{s}": pl.Int64() for s in self.models},
            **({"value": pl.Int64()} if self.value else {}),
            **shares,
        }

    @cached_property
    def row_schema(self) -> Mapping[str, pl.DataType]:
        """Key, then values: the columns of a row."""
        return {**ATTRIBUTION_KEY_SCHEMA, **self.value_schema}

    @property
    def money(self) -> tuple[str, ...]:
        """Values in micro-units of a currency, shown as doubles by the store's views."""
        if self.value is None:
            return ()
        return tuple(dict.fromkeys(("value", *(f"value{s}" for s in self.models))))

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the definition, its name and version left out."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)} | {
            "min_age": self.min_age_ms,
            "repeat_within": self.repeat_ms,
            "undone_within": self.undone_ms,
        }
        text = canonical({k: v for k, v in parts.items() if k not in ("name", "version")})
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def __repr__(self) -> str:
        """Name, version and digest."""
        return f"AttributionRule({self.key} {self.digest})"
