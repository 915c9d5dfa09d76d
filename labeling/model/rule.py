"""A label rule: for every anchor, what happened after it.

Always holds: a rule is a frozen value that made it through its own checks, so that whoever holds
one need not check again; its digest is a function of its definition alone. A row's value at a
point is a function of the events with ``event_ts`` up to the point, inclusive.

Not promised: that a digest survives a Polars upgrade where a rule wraps Polars expressions: their
text is part of it, and Polars may print them differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import polars as pl

from labeling.model import label_types, rule_checks
from labeling.model.event import TS, event_schema
from labeling.model.expr import AnchorColumn, Column, Node, Wrapped, canonical, node
from labeling.model.rows_of import RowsOf, columns_read, sources, types_read
from labeling.model.selector import Event, event
from labeling.model.vocabulary import Aggregate, Dwell, Measure, OfColumn
from labeling.model.window import Duration, Window, duration_ms

if TYPE_CHECKING:
    from labeling.model.kinds import Rule

#: Columns of the anchor that every row carries unless the rule says otherwise.
CARRY: Final = (
    "item_id",
    "author_id",
    "request_id",
    "scene",
    "page_id",
    "position",
    "platform",
    "session_id",
    "experiments",
)
KEY_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "user_id": pl.String(),
    "anchor_ts": TS,
    "anchor_id": pl.String(),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelRule:
    """Labels of anchors: one row per anchor, one column per label.

    Args:
        name: lower-case identifier; the store's table is named by it and the version.
        version: from 1; another definition needs another version.
        anchor: the events that rows are about, such as ``Event("impression")``, or rows of another
            label rule.
        match: columns whose equality relates an event to an anchor, ``user_id`` among them.
        window: how far forward the labels look, inclusive: a duration or ``end_of_day(...)``.
        labels: name to expression.
        early: delays at which a row is published before its window ends, increasing.
        reference: the column by which an event may name its anchor, as that column's value of the
            anchor or as its ``event_id``. It beats guessing and never falls back.
        assign: ``"latest"`` gives an event without a reference to the latest matching anchor at or
            before it, ``"every"`` to each anchor whose window covers it.
        repeat_within: an anchor this close after another of the same match columns, inclusive,
            repeats it and gets no row of its own (a double click is one).
        carry: columns of the anchor that rows carry.
        columns: declared extra columns that the rule reads, name to type, as in the
            configuration's ``[columns]``.
        money: labels in micro-units of a currency, shown as doubles by the store's views.

    Raises:
        RuleError: the definition cannot mean anything; the message names the rule and the fix.
    """

    name: str
    version: int = 1
    anchor: Event
    match: tuple[str, ...]
    window: str | Window
    labels: Mapping[str, Node]
    early: tuple[str, ...] = ()
    reference: str | None = None
    assign: str = "latest"
    repeat_within: str | None = None
    carry: tuple[str, ...] = CARRY
    columns: Mapping[str, str] = field(default_factory=dict)
    money: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Settle the forms a caller may abbreviate, then check the whole."""
        put = object.__setattr__
        put(self, "anchor", event(self.anchor))
        put(self, "match", tuple(self.match))
        put(self, "labels", MappingProxyType({k: node(v) for k, v in self.labels.items()}))
        put(self, "columns", MappingProxyType(dict(self.columns)))
        rule_checks.check(self)

    # ---- what the definition amounts to -------------------------------------------------------

    @property
    def key(self) -> str:
        """``name@version``: how people and frames name the rule."""
        return f"{self.name}@{self.version}"

    @cached_property
    def bound(self) -> Window:
        """The window as a value."""
        return Duration(duration_ms(self.window)) if isinstance(self.window, str) else self.window

    @cached_property
    def early_ms(self) -> tuple[int, ...]:
        """The early delays in milliseconds."""
        return tuple(duration_ms(e) for e in self.early)

    @cached_property
    def repeat_ms(self) -> int:
        """How far back an anchor looks for one that it repeats; 0 where it does not look."""
        return 0 if self.repeat_within is None else duration_ms(self.repeat_within)

    @property
    def row_keys(self) -> tuple[str, ...]:
        """The columns that name a row."""
        return tuple(KEY_SCHEMA)

    @property
    def looks_ahead_ms(self) -> int:
        """How far ahead of an anchor an event can matter to it."""
        return self.bound.longest_ms

    @property
    def looks_back_ms(self) -> int:
        """How far before an anchor an event can matter to it: the anchor may repeat another."""
        return self.repeat_ms + max((s.looks_back_ms for s in self.sources), default=0)

    @property
    def window_ms(self) -> int:
        """How long after an anchor its last point lies, at most."""
        return self.bound.longest_ms

    @property
    def reach_ms(self) -> int:
        """How long an event can matter: to an anchor before it, and to a repeat after it."""
        return self.looks_ahead_ms + self.looks_back_ms

    @cached_property
    def measures(self) -> tuple[Measure, ...]:
        """Every measure in the labels, in the order of writing."""
        return tuple(n for e in self.labels.values() for n in e.walk() if isinstance(n, Measure))

    @cached_property
    def selectors(self) -> tuple[Event, ...]:
        """What the labels read."""
        return tuple(e for m in self.measures for e in m.events())

    @cached_property
    def sources(self) -> tuple[Rule, ...]:
        """The rules whose rows are anchors, or read by labels."""
        return sources((self.anchor, *self.selectors))

    @property
    def anchor_event(self) -> Event:
        """What selects the events that anchors are, also where an anchor is a row of a rule."""
        behind = self.anchor.source if isinstance(self.anchor, RowsOf) else None
        return behind.anchor_event if isinstance(behind, LabelRule) else self.anchor

    @cached_property
    def lanes(self) -> tuple[tuple[str, ...], ...]:
        """The distinct matches by which events are assigned, the rule's own first."""
        return tuple(dict.fromkeys((self.match, *map(self.lane, self.selectors))))

    def lane(self, selector: Event) -> tuple[str, ...]:
        """The match columns by which the selector's events are assigned."""
        return selector.match or self.match

    @cached_property
    def group(self) -> tuple[str, ...]:
        """The columns that all events of the rule share: what a row is local to."""
        shared = (*self.lanes, *(s.group for s in self.sources))
        return tuple(c for c in self.match if all(c in lane for lane in shared))

    @cached_property
    def event_types(self) -> frozenset[str]:
        """The event types that the rule reads, its anchors' among them."""
        return frozenset(types_read((self.anchor, *self.selectors)))

    @cached_property
    def event_columns(self) -> frozenset[str]:
        """The contract's and declared columns that the rule reads of events or anchors."""
        read = {"user_id", "event_ts", "event_id", "event_type", *self.carry}
        read.update(*self.lanes)
        if self.reference:
            read.add(self.reference)
        read.update(*map(columns_of, self.labels.values()), conditioned(self.anchor))
        read.update(*(s.event_columns for s in self.sources))
        return frozenset(read)

    @cached_property
    def event_schema(self) -> Mapping[str, pl.DataType]:
        """The contract with the rule's declared columns."""
        return event_schema(self.columns)

    @cached_property
    def label_schema(self) -> Mapping[str, pl.DataType]:
        """Label to Polars type, in the order of writing."""
        return label_types.label_types(self)

    @cached_property
    def value_schema(self) -> Mapping[str, pl.DataType]:
        """Carried columns, then labels: what a row says beyond its key."""
        carried = {name: self.event_schema[name] for name in self.carry}
        return {**carried, **self.label_schema}

    @cached_property
    def row_schema(self) -> Mapping[str, pl.DataType]:
        """Key, then values: the columns of a row."""
        return {**KEY_SCHEMA, **self.value_schema}

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the definition, its name and version left out."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)} | {
            "window": self.bound,
            "early": self.early_ms,
            "repeat_within": self.repeat_ms,
        }
        text = canonical({k: v for k, v in parts.items() if k not in ("name", "version")})
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def __repr__(self) -> str:
        """Name, version and digest."""
        return f"LabelRule({self.key} {self.digest})"


def columns_of(root: Node) -> frozenset[str]:
    """The event columns that an expression reads, of the anchor or of events."""
    return frozenset(name for n in root.walk() for name in _named(n))


def _named(n: Node) -> tuple[str, ...]:
    """The event columns that one node names itself, its selectors' conditions among them."""
    if isinstance(n, Column | AnchorColumn):
        return (n.name,)
    if isinstance(n, Wrapped):
        return tuple(n.expr.meta.root_names())
    own: tuple[str, ...] = ()
    if isinstance(n, OfColumn) and not (isinstance(n.event, RowsOf) and n.column in n.event.said):
        own = (n.column,)
    if isinstance(n, Dwell):
        own = ("view_id",)
    if isinstance(n, Aggregate):
        own = tuple(c for c in n.expr.meta.root_names() if c != "delay_ms")
    if isinstance(n, Measure):
        own += tuple(name for e in n.events() for name in conditioned(e))
    return own


def conditioned(selector: Event) -> frozenset[str]:
    """The event columns that a selector's condition reads."""
    if selector.where is None:
        return frozenset()
    return (columns_read if isinstance(selector, RowsOf) else columns_of)(selector.where)
