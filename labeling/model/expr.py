"""Expressions that rules are written in: values, compared and combined by operators.

Always holds: an expression is a frozen value with one canonical text (``canonical``), which is
what enters a rule's digest; a comparison is never null (comparing null is ``False``).

Not promised: any meaning. The engine compiles expressions; nothing here evaluates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, NoReturn, cast

import polars as pl

Literal = str | int | float | bool
COMPARISONS: Final = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "is_in", "is_null"})
LOGIC: Final = frozenset({"and", "or", "not"})
ARITHMETIC: Final = frozenset({"add", "sub", "mul", "truediv"})


class Node:
    """Base of all expressions. Operators build new nodes; ``and``, ``or``, ``if`` are refused."""

    def __and__(self, other: Node | bool) -> Op:  # noqa: D105 - an operator
        return Op("and", (self, node(other)))

    def __rand__(self, other: bool) -> Op:  # noqa: D105 - an operator
        return Op("and", (node(other), self))

    def __or__(self, other: Node | bool) -> Op:  # noqa: D105 - an operator
        return Op("or", (self, node(other)))

    def __ror__(self, other: bool) -> Op:  # noqa: D105 - an operator
        return Op("or", (node(other), self))

    def __invert__(self) -> Op:  # noqa: D105 - an operator
        return Op("not", (self,))

    def __eq__(self, other: object) -> Op:  # type: ignore[override] # noqa: D105 - builds a node
        return Op("eq", (self, node(other)))

    def __ne__(self, other: object) -> Op:  # type: ignore[override] # noqa: D105 - builds a node
        return Op("ne", (self, node(other)))

    def __lt__(self, other: Node | Literal) -> Op:  # noqa: D105 - an operator
        return Op("lt", (self, node(other)))

    def __le__(self, other: Node | Literal) -> Op:  # noqa: D105 - an operator
        return Op("le", (self, node(other)))

    def __gt__(self, other: Node | Literal) -> Op:  # noqa: D105 - an operator
        return Op("gt", (self, node(other)))

    def __ge__(self, other: Node | Literal) -> Op:  # noqa: D105 - an operator
        return Op("ge", (self, node(other)))

    def __add__(self, other: Node | Literal) -> Op:  # noqa: D105 - an operator
        return Op("add", (self, node(other)))

    def __radd__(self, other: Literal) -> Op:  # noqa: D105 - an operator
        return Op("add", (node(other), self))

    def __sub__(self, other: Node | Literal) -> Op:  # noqa: D105 - an operator
        return Op("sub", (self, node(other)))

    def __rsub__(self, other: Literal) -> Op:  # noqa: D105 - an operator
        return Op("sub", (node(other), self))

    def __mul__(self, other: Node | Literal) -> Op:  # noqa: D105 - an operator
        return Op("mul", (self, node(other)))

    def __rmul__(self, other: Literal) -> Op:  # noqa: D105 - an operator
        return Op("mul", (node(other), self))

    def __truediv__(self, other: Node | Literal) -> Op:  # noqa: D105 - an operator
        return Op("truediv", (self, node(other)))

    def __rtruediv__(self, other: Literal) -> Op:  # noqa: D105 - an operator
        return Op("truediv", (node(other), self))

    __hash__ = object.__hash__

    def __bool__(self) -> NoReturn:
        """Refuse: a chain of ``and`` would silently keep one side only."""
        raise TypeError(
            "an expression has no truth value here: combine with &, | and ~, not and/or/not/if"
        )

    def is_null(self) -> Op:
        """Whether the value is missing."""
        return Op("is_null", (self,))

    def is_in(self, values: Sequence[Literal]) -> Op:
        """Whether the value is one of ``values``; a missing value is in none."""
        return Op("is_in", (self, *(Lit(v) for v in values)))

    def fill_null(self, value: Node | Literal) -> Op:
        """The value, or ``value`` where it is missing."""
        return Op("fill_null", (self, node(value)))

    def children(self) -> Iterator[Node]:
        """The nodes directly inside this one."""
        for field in fields(cast("Any", self)):
            value = getattr(self, field.name)
            if isinstance(value, Node):
                yield value
            elif isinstance(value, tuple):
                yield from (v for v in value if isinstance(v, Node))

    def walk(self) -> Iterator[Node]:
        """This node and all inside it, outermost first."""
        yield self
        for child in self.children():
            yield from child.walk()


def canonical(value: object) -> str:
    """The one text of a value in a rule: equal texts mean equal definitions."""
    if isinstance(value, pl.Expr):
        return f"polars:{value.meta.serialize(format='json')}"
    if isinstance(value, tuple):
        return "[" + ",".join(canonical(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{canonical(v)}" for k, v in value.items()) + "}"
    if hasattr(value, "__dataclass_fields__") and type(value).__str__ is object.__str__:
        inside = ",".join(canonical(getattr(value, f.name)) for f in fields(cast("Any", value)))
        return f"{type(value).__name__}({inside})"
    return repr(value) if isinstance(value, str | int | float | bool | None) else str(value)


@dataclass(frozen=True, eq=False)
class Lit(Node):
    """A constant."""

    value: Literal


@dataclass(frozen=True, eq=False)
class Column(Node):
    """A column of the event at hand; for ``where``."""

    name: str


@dataclass(frozen=True, eq=False)
class AnchorColumn(Node):
    """A column of the anchor; for labels."""

    name: str


@dataclass(frozen=True, eq=False)
class LabelRef(Node):
    """Another label of the same rule."""

    name: str


@dataclass(frozen=True, eq=False)
class Op(Node):
    """An operator over nodes."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Wrapped(Node):
    """A Polars expression over the columns of an event, where the vocabulary ends."""

    expr: pl.Expr


def node(value: object) -> Node:
    """A node as it is, a constant or a Polars expression wrapped.

    Raises:
        TypeError: anything else, ``None`` among it (use ``is_null()``).
    """
    if isinstance(value, Node):
        return value
    if isinstance(value, pl.Expr):
        return Wrapped(value)
    if isinstance(value, str | int | float | bool):
        return Lit(value)
    if value is None:
        raise TypeError("None cannot be compared: use .is_null()")
    raise TypeError(f"cannot use {value!r} in an expression: a constant or a node was expected")


def column(name: str) -> Column:
    """A column of the event, for ``where=column("scene") == "search"``."""
    return Column(name)


def anchor(name: str) -> AnchorColumn:
    """Read a column of the anchor, for labels: comparable with measures and other labels."""
    return AnchorColumn(name)


def label(name: str) -> LabelRef:
    """Another label of the same rule, defined before or after this one."""
    return LabelRef(name)
