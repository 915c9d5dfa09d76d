"""Rows of another rule where events are read: clauses R1 to R6 of docs/rows-of.md.

Always holds: a rule that reads another holds it, so that the other's definition is part of its
digest, and no rule can read itself.

Not promised: that the other rule is published too. It is evaluated with its reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from labeling.model.expr import Column, LabelRef, Node
from labeling.model.selector import Event

if TYPE_CHECKING:
    from labeling.model.kinds import Rule


@dataclass(frozen=True, eq=False, init=False)
class RowsOf(Event):
    """Selects rows of a rule; ``types`` is the one name that they go by."""

    source: Rule

    def __init__(
        self,
        source: Rule,
        *,
        where: Node | None = None,
        match: tuple[str, ...] | None = None,
        within: str | None = None,
    ) -> None:
        if not hasattr(source, "row_schema"):
            raise TypeError(f"rows_of({source!r}): give the rule itself, not its name")
        super().__init__(f"rows of {source.key}", where=where, match=match, within=within)
        object.__setattr__(self, "source", source)

    @property
    def said(self) -> Mapping[str, pl.DataType]:
        """What a row says that its event does not: the source's values but what it carries."""
        carried = {*self.source.carry}
        return {c: t for c, t in self.source.value_schema.items() if c not in carried}


def rows_of(
    source: Rule,
    *,
    where: Node | None = None,
    match: tuple[str, ...] | None = None,
    within: str | None = None,
) -> RowsOf:
    """Rows of another rule, wherever an ``Event`` may stand.

    A row of a label rule stands where its anchor does: it has the anchor's time, id and columns. A
    row of an attribution rule is a touch of an action: it has the action's time, and the touch's
    columns. Its labels, or its ``credit``, ``rank``, ``direct`` and ``value``, are read as
    ``label(name)`` in ``where``, and as columns by measures, as they are at the reader's point.

    Args:
        source: the rule itself, not its name: its definition is part of the reader's.
        where: a condition over the row; one for which it is not true at the point is not there.
        match: as of ``Event``.
        within: as of ``Event``.

    Raises:
        TypeError: ``source`` is no rule.

    >>> from labeling import Event, LabelRule, happened, label
    >>> shown = LabelRule(name="shown", anchor=Event("show"), match=("user_id", "item_id"),
    ...                   window="1m", labels={"clicked": happened("click")})
    >>> rows_of(shown, where=label("clicked")).types
    ('rows of shown@1',)
    """
    return RowsOf(source, where=where, match=match, within=within)


def sources(selectors: Iterable[Event]) -> tuple[Rule, ...]:
    """The rules whose rows the selectors read, each once, in their order."""
    found = {e.source.key: e.source for e in selectors if isinstance(e, RowsOf)}
    return tuple(found.values())


def types_read(selectors: Iterable[Event]) -> Iterator[str]:
    """The event types that the selectors read, those behind rows among them."""
    for e in selectors:
        if isinstance(e, RowsOf):
            yield from e.source.event_types
        else:
            yield from e.types


def columns_read(where: Node) -> frozenset[str]:
    """The columns of the row's event that a condition over rows reads."""
    return frozenset(n.name for n in where.walk() if isinstance(n, Column))


def labels_read(where: Node) -> frozenset[str]:
    """What of the row a condition over rows reads."""
    return frozenset(n.name for n in where.walk() if isinstance(n, LabelRef))


def value_type(selector: Event, column: str, schema: Mapping[str, pl.DataType]) -> pl.DataType:
    """The type of a column as measures read it; ``schema`` is that of events."""
    said = selector.said if isinstance(selector, RowsOf) else {}
    return said[column] if column in said else schema[column]
