"""The Polars expressions that a rule wraps: no Python inside, no float that is summed.

Always holds: an expression that adds floats is found by its text and types, or by adding the same
values in two orders and getting two results that differ by rounding only.

Not promised: that every float sum is found; one hidden behind types that cannot be inferred, whose
result is rounded, is not. Sums of floats differ in the last bits when the same values come in
another order, so that no two ways of computing them need agree: money belongs into integers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any, Final

import polars as pl

from labeling.model.attribution import AttributionRule
from labeling.model.attribution_checks import WEIGHED
from labeling.model.credit import Weighted
from labeling.model.expr import Node, Wrapped
from labeling.model.kinds import Rule
from labeling.model.vocabulary import Aggregate, Measure
from labeling.testing.check.domain import domain
from labeling.testing.check.finding import ROW, Broken, Cell
from labeling.testing.check.shrink import smallest
from labeling.testing.golden_table import text

_QUOTED: Final = re.compile(r'"[^"]*"')
_PYTHON: Final = re.compile(r"\.(python_udf|fold|reduce|cum_fold|cum_reduce|rolling_map)\(")
_CALL: Final = re.compile(r"\.([\w.]+)\(")
#: What adds up its input, and what adds up floats whatever its input is.
_ADDS: Final = frozenset(
    [
        "sum",
        "mean",
        "cum_sum",
        "product",
        "cum_prod",
        "rolling_sum",
        "rolling_mean",
        "rolling_sum_by",
        "rolling_mean_by",
        "list.sum",
        "list.mean",
        "arr.sum",
        "arr.mean",
    ]
)
_ADDS_FLOATS: Final = frozenset(
    [
        "std",
        "var",
        "skew",
        "kurtosis",
        "pearson_correlation",
        "spearman_rank_correlation",
        "covariance",
        "ewm_mean",
        "ewm_std",
        "ewm_var",
        "rolling_std",
        "rolling_var",
        "rolling_std_by",
        "rolling_var_by",
        "list.std",
        "list.var",
        "arr.std",
        "arr.var",
    ]
)
_CLOSE: Final = 1e-6
_SIZE: Final = 6
_TRIES: Final = 40


@dataclass(frozen=True)
class Used:
    """A wrapped expression and where it stands: a label's name, or None for the anchor."""

    label: str | None
    expr: pl.Expr
    measure: Aggregate | None


def wrapped(rule: Rule) -> Iterator[Used]:
    """Every wrapped expression of a rule, the anchor's first."""
    if isinstance(rule, AttributionRule):
        yield from _of_actions(rule)
        return
    yield from (Used(None, e, None) for e in _conditions(rule.anchor.where))
    for name, root in rule.labels.items():
        for n in root.walk():
            if isinstance(n, Aggregate):
                yield Used(name, n.expr, n)
            if isinstance(n, Measure):
                for selector in n.events():
                    yield from (Used(name, e, None) for e in _conditions(selector.where))


def _of_actions(rule: AttributionRule) -> Iterator[Used]:
    """Conditions of what an attribution reads, and weights of its own."""
    for selector in rule.selectors:
        yield from (Used(None, e, None) for e in _conditions(selector.where))
    for suffix, model in rule.models.items():
        if isinstance(model, Weighted):
            yield Used(f"credit{suffix}", model.expr, None)


def _conditions(where: Node | None) -> Iterator[pl.Expr]:
    if where is not None:
        yield from (n.expr for n in where.walk() if isinstance(n, Wrapped))


def python(rule: Rule) -> Broken | None:
    """Python inside an expression: it runs per row or per column, and has no stable text."""
    cells = []
    for used in wrapped(rule):
        found = _PYTHON.search(_QUOTED.sub('""', str(used.expr)))
        if found or _holds_python(used.expr):
            what = f".{found[1]}()" if found else "a Python function"
            cells.append(Cell({}, used.label or ROW, "Polars only", f"{what}: {used.expr}"))
    said = (
        "Python runs inside the expression: it is slow, and its text says nothing of what it does"
    )
    return Broken(said, tuple(cells), _none(rule)) if cells else None


def _holds_python(expr: pl.Expr) -> bool:
    """Whether it cannot be written down without pickling a function."""
    try:
        return b"cloudpickle" in expr.meta.serialize()
    except pl.exceptions.ComputeError as error:
        return str(error).startswith("python")


def floats(rule: Rule, seed: int) -> Broken | None:
    """A sum of floats, by what the expressions say, else by what they do."""
    schema = {**rule.event_schema, **dict.fromkeys(WEIGHED, pl.Int64())}
    cells = []
    for used in wrapped(rule):
        adds = dict.fromkeys(_float_sums(used.expr, schema))
        cells += [Cell({}, used.label or ROW, "no sum of floats", a) for a in adds]
    said = (
        "floats are summed, whose last bits depend on the order of adding; "
        "sum integers, such as micro-units"
    )
    if cells:
        return Broken(said, tuple(cells), _none(rule))
    for used in wrapped(rule):
        if used.measure is not None and used.label is not None:
            found = _two_orders(rule, used.label, used.measure, seed)
            if found is not None:
                return found
    return None


def _none(rule: Rule) -> pl.DataFrame:
    return pl.DataFrame(schema=dict(rule.event_schema))


def _float_sums(expr: pl.Expr, schema: dict[str, pl.DataType]) -> Iterator[str]:
    """The parts of an expression that add floats, as text."""
    inputs = expr.meta.pop()
    shown = str(expr)
    for given in inputs:
        head = str(given)
        call = _CALL.match(shown[len(head) :]) if shown.startswith(head) else None
        if call and (call[1] in _ADDS_FLOATS or (call[1] in _ADDS and _is_float(given, schema))):
            yield shown
        yield from _float_sums(given, schema)


def _is_float(expr: pl.Expr, schema: dict[str, pl.DataType]) -> bool:
    """Whether any output of the expression is made of floats."""
    try:
        types = pl.LazyFrame(schema=schema).select(expr).collect_schema().dtypes()
    except pl.exceptions.PolarsError:
        return False  # What has no type by itself is tried with values.
    return any(_inner(t).is_float() for t in types)


def _inner(dtype: pl.DataType) -> pl.DataType:
    inner = getattr(dtype, "inner", None)
    return dtype if inner is None else _inner(inner)


def _two_orders(rule: Rule, label: str, measure: Aggregate, seed: int) -> Broken | None:
    """The same events in two orders with results that differ by rounding only."""
    pools = {**domain(rule).pools, "delay_ms": (0, 1, 7, 1000, 60_001)}
    schema = {**rule.event_schema, "delay_ms": pl.Int64()}
    read = sorted({*measure.expr.meta.root_names()} & pools.keys())
    rng = Random(f"{seed} {rule.digest} {label}")  # noqa: S311 - a stream, not a secret

    def fails(events: pl.DataFrame) -> Broken | None:
        return _differing(label, measure, events)

    for _ in range(_TRIES):
        records = [{c: rng.choice(pools[c]) for c in read} for _ in range(_SIZE)]
        ids = pl.Series("event_id", [f"e{n}" for n in range(_SIZE)])
        values = pl.DataFrame(records, schema={c: schema[c] for c in read}, height=_SIZE)
        events = pl.DataFrame([ids]).hstack(values)
        found = fails(events)
        if found is not None:
            return smallest(fails, found, tries=60)
    return None


def _differing(label: str, measure: Aggregate, events: pl.DataFrame) -> Broken | None:
    results = [
        _value(measure, e) for e in (events, events.reverse(), events[1:].vstack(events[:1]))
    ]
    for one, other in pairwise(results):
        if one != other and _near(one, other):
            said = (
                "floats are summed: the same values in another order differ in the last bits; "
                "sum integers, such as micro-units"
            )
            return Broken(said, (Cell({}, label, text(one), text(other)),), events)
    return None


def _value(measure: Aggregate, events: pl.DataFrame) -> Any:
    try:
        values = events.select(value=measure.expr.cast(measure.dtype))
    except pl.exceptions.PolarsError:
        return None
    return values.item() if values.height == 1 else None


def _near(one: Any, other: Any) -> bool:
    if not isinstance(one, float) or not isinstance(other, float):
        return False
    return math.isclose(one, other, rel_tol=_CLOSE)
