"""Rule expressions as Polars expressions.

Always holds: a compiled condition is never null: comparing null is ``False``, also ``!=``.

Not promised: measures. They are computed first and stand here as columns.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

import polars as pl

from labeling.model.expr import AnchorColumn, Column, LabelRef, Lit, Node, Op, Wrapped
from labeling.model.selector import Event
from labeling.model.vocabulary import Measure

_BINARY: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "and": operator.and_,
    "or": operator.or_,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
}
_CONDITIONS: Final = frozenset({"and", "or", "eq", "ne", "lt", "le", "gt", "ge"})


def selects(selector: Event) -> pl.Expr:
    """Whether the selector takes an event: its type is listed and ``where`` is true. Never null."""
    types = selector.types
    of_type = pl.any_horizontal(pl.col("event_type") == t for t in types)
    if selector.where is None:
        return of_type
    return of_type & compile_node(selector.where).fill_null(value=False)


def compile_node(node: Node, measures: Mapping[int, str] | None = None) -> pl.Expr:
    """An expression over columns named by the node.

    Args:
        node: columns stand for themselves, ``anchor(c)`` for ``anchor:c``, ``label(n)`` for ``n``.
        measures: ``id`` of a measure to the column that holds it.
    """
    if isinstance(node, Op):
        return _compile_op(node, [compile_node(a, measures) for a in node.args])
    if isinstance(node, Lit):
        return pl.lit(node.value)
    if isinstance(node, Column | LabelRef):
        return pl.col(node.name)
    if isinstance(node, AnchorColumn):
        return pl.col(f"anchor:{node.name}")
    if isinstance(node, Wrapped):
        return node.expr
    if isinstance(node, Measure) and measures is not None:
        return pl.col(measures[id(node)])
    raise TypeError(f"{type(node).__name__} cannot be compiled here")


def _compile_op(op: Op, args: list[pl.Expr]) -> pl.Expr:
    if op.name == "not":
        return ~args[0].fill_null(value=False)
    if op.name == "is_null":
        return args[0].is_null()
    if op.name == "fill_null":
        return args[0].fill_null(args[1])
    if op.name == "is_in":
        values = [a.value for a in op.args[1:] if isinstance(a, Lit)]
        return args[0].is_in(values).fill_null(value=False)
    if op.name == "truediv":
        return pl.when(args[1] != 0).then(args[0] / args[1])
    if op.name in ("add", "sub", "mul"):
        # Times one of 64 bits: an Int32 column would wrap around, a float stays what it is.
        args = [a * pl.lit(1, dtype=pl.Int64) for a in args]
    combined: pl.Expr = _BINARY[op.name](*args)
    return combined.fill_null(value=False) if op.name in _CONDITIONS else combined
