"""What any rule's columns, matches and selectors must satisfy.

Always holds: a check raises ``RuleError`` naming the rule, the place and the fix, or what it looked
at can be evaluated on any events that satisfy the contract.

Not promised: that a wrapped Polars expression obeys the laws; ``labeling check`` tries that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

import polars as pl

from labeling.model.expr import AnchorColumn, Column, LabelRef, Node, Wrapped
from labeling.model.label_types import Named, fail, infer
from labeling.model.rows_of import RowsOf
from labeling.model.selector import Event
from labeling.model.vocabulary import Measure

if TYPE_CHECKING:
    from labeling.model.kinds import Rule

#: A name that can be a table's or a column's.
NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
#: How Polars prints constants, calls of Python functions, and selectors.
_QUOTED: Final = re.compile(r'"[^"]*"')
_PYTHON: Final = re.compile(r"python_udf|\.fold\(|\.reduce\(|\.rolling_map\(")
_SELECTOR: Final = re.compile(r"\bcs\.")


def check_name(rule: Named) -> None:
    """The rule's name and version."""
    if not NAME.fullmatch(rule.name):
        fail(rule, "name: use lower-case letters, digits and _, a letter first")
    if rule.version < 1:
        fail(rule, f"version={rule.version}: versions count from 1")


def check_match(
    rule: Named, match: Iterable[str], where: str, schema: Mapping[str, pl.DataType]
) -> None:
    """Columns whose equality relates events."""
    names = tuple(match)
    if "user_id" not in names:
        fail(rule, f"{where}={names}: add 'user_id': events are sharded by user")
    check_once(rule, names, where)
    for name in names:
        check_column(rule, name, where, schema)
        if schema[name] != pl.String():
            fail(rule, f"{where}: {name!r} is not a string column and cannot be matched")


def check_once(rule: Named, names: Sequence[str], where: str) -> None:
    """Columns of which none is named twice."""
    if len(set(names)) != len(names):
        fail(rule, f"{where}={tuple(names)}: a column is named twice")


def check_column(rule: Named, name: str, where: str, schema: Mapping[str, pl.DataType]) -> None:
    """A column that events have."""
    if name not in schema:
        near = get_close_matches(name, schema, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        fail(
            rule,
            f"{where}: unknown column {name!r}; {hint}A column beyond the contract is declared "
            f"in the rule, columns={{{name!r}: 'str'}}, and in the configuration's [columns]",
        )


def check_selector(
    rule: Named, selector: Event, where: str, schema: Mapping[str, pl.DataType]
) -> None:
    """An ``Event``: its match columns and its condition."""
    if selector.match is not None:
        check_match(rule, selector.match, f"{where}, match", schema)
    if selector.where is None:
        return
    where = f"{where}, where"
    for n in selector.where.walk():
        _check_condition(rule, selector, n, where, schema)
    if not isinstance(selector.where, Wrapped):
        said = selector.said if isinstance(selector, RowsOf) else {}
        kind = infer(rule, selector.where, where, schema, said)
        if kind != pl.Boolean():
            fail(rule, f"{where}: is {kind}, not a condition; compare it with something")


def check_sources(rule: Rule, selectors: Iterable[Event]) -> None:
    """The rules whose rows are read: one of each key, what they declare declared here too."""
    known: dict[str, str] = {}
    for source in (e.source for e in selectors if isinstance(e, RowsOf)):
        if known.setdefault(source.key, source.digest) != source.digest:
            fail(rule, f"rows_of: two rules are {source.key}; give one another name or version")
        for name, kind in source.columns.items():
            if rule.columns.get(name) != kind:
                fail(
                    rule,
                    f"columns: {source.key}, whose rows are read, declares {name!r}; declare it "
                    f"here too: columns={{{name!r}: {kind!r}}}",
                )


def _check_condition(
    rule: Named, selector: Event, n: Node, where: str, schema: Mapping[str, pl.DataType]
) -> None:
    """One node of a condition: over events, or over rows."""
    if isinstance(n, LabelRef) and isinstance(selector, RowsOf):
        _check_said(rule, selector, n.name, where)
    elif isinstance(n, Measure | LabelRef | AnchorColumn):
        fail(rule, f"{where}: reads the event's own columns only, not {type(n).__name__}")
    if isinstance(n, Column):
        check_column(rule, n.name, where, schema)
    if isinstance(n, Wrapped):
        if isinstance(selector, RowsOf):
            fail(rule, f"{where}: a condition over rows is written with label() and column()")
        check_polars(rule, n.expr, where, schema)


def _check_said(rule: Named, selector: RowsOf, name: str, where: str) -> None:
    """Something that rows of another rule say."""
    if name not in selector.said:
        near = get_close_matches(name, selector.said, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"they say {', '.join(selector.said)}"
        fail(rule, f"{where}: rows of {selector.source.key} say nothing of {name!r}; {hint}")


def check_polars(
    rule: Named,
    expr: pl.Expr,
    where: str,
    schema: Mapping[str, pl.DataType],
    beside: Iterable[str] = ("delay_ms",),
) -> None:
    """A wrapped expression, over the columns of events and those named ``beside``."""
    text = _QUOTED.sub("", str(expr))
    if _PYTHON.search(text) or _holds_python(expr):
        fail(rule, f"{where}: row-wise Python is refused; write it with Polars expressions")
    if _SELECTOR.search(text):
        fail(rule, f"{where}: a selector may take any column; name the columns that are read")
    for name in expr.meta.root_names():
        if name not in beside:
            check_column(rule, name, where, schema)


def _holds_python(expr: pl.Expr) -> bool:
    """Whether it cannot be written down without pickling a function."""
    try:
        return "cloudpickle" in expr.meta.serialize(format="json")
    except pl.exceptions.ComputeError:
        return True
