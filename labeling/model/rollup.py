"""A rollup: hourly sums over the rows of a rule, by some of their columns.

Always holds: its sums are whole numbers, so that adding the differences of corrections gives what
counting anew would; clauses U1 to U8 of docs/rollups.md are its meaning.

Not promised: sums over the values of a list column add up to the whole: a row with two experiments
counts in both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

import polars as pl

from labeling.errors import RuleError
from labeling.model.event import TS
from labeling.model.expr import canonical
from labeling.model.kinds import Rule
from labeling.model.sample import SampleRule
from labeling.model.table import RuleTable, table_of

#: What a dimension may be.
_DIMENSIONS: Final = (pl.String(), pl.Int32(), pl.Int64(), pl.Boolean(), pl.List(pl.String()))
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*\Z")
_SUMMED: Final = (pl.Int64(), pl.Int32(), pl.UInt32(), pl.Boolean())


@dataclass(frozen=True, eq=False)
class Total:
    """A sum over rows: of a column (Boolean: how many are true), or with None of the rows.

    ``where`` is an expression over the row's columns: which rows count.
    """

    column: str | None
    where: pl.Expr | None = None

    def value(self) -> pl.Expr:
        """What one row adds, Int64; null adds nothing."""
        own = pl.lit(1, pl.Int64) if self.column is None else pl.col(self.column).cast(pl.Int64)
        told = own if self.where is None else pl.when(self.where).then(own)
        return told.fill_null(0)

    def columns(self) -> frozenset[str]:
        """The columns of a row that it reads."""
        named = () if self.column is None else (self.column,)
        asked = () if self.where is None else self.where.meta.root_names()
        return frozenset((*named, *asked))


def rows(where: pl.Expr | None = None) -> Total:
    """How many rows there are, of those that ``where`` holds for."""
    return Total(None, where)


def total(column: str, where: pl.Expr | None = None) -> Total:
    """The sum of a whole-number column, or how often a Boolean one is true."""
    return Total(column, where)


@dataclass(frozen=True, eq=False, kw_only=True)
class Rollup:
    """Hourly sums of a rule's rows.

    Args:
        name: lower-case identifier; its table is ``<name>_v<version>``, its view ``<name>``.
        version: from 1; another definition needs another version.
        of: a label, attribution or sample rule. Rows of an attribution are of actions
            (``touch_id = ''``) and of touches.
        by: columns of the rows to group by, beside the hour of ``anchor_ts``. Of a list column
            a row counts once for each of its distinct values, and for null where it has none.
        sums: name to ``rows(...)`` or ``total(...)``.

    Raises:
        RuleError: the definition cannot mean anything; the message names the rollup and the fix.

    Example:
        ``Rollup(name="note_hourly", of=NOTE_LABELS, by=("scene", "platform"),
        sums={"impressions": rows(), "clicks": total("clicked"), "dwell_ms": total("dwell_ms")})``
    """

    name: str
    version: int = 1
    of: Rule | SampleRule
    by: tuple[str, ...] = ("scene", "experiments", "platform")
    sums: Mapping[str, Total] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot mean anything."""
        object.__setattr__(self, "by", tuple(self.by))
        object.__setattr__(self, "sums", MappingProxyType(dict(self.sums)))
        if not _NAME.match(self.name) or self.version < 1:
            raise self._wrong(
                f"version {self.version}: a rollup's name becomes a table's: lower-case letters, "
                "digits and underscores, a letter first; versions count from 1"
            )
        schema = self.of_table.schema
        for column in self.by:
            if schema.get(column) not in _DIMENSIONS:
                found = schema.get(column, "not there")
                raise self._wrong(f"by {column!r}: {found}; group by a text, whole number or flag")
        if not self.sums:
            raise self._wrong("nothing is summed; add sums={'impressions': rows()}")
        for name, summed in self.sums.items():
            unknown = sorted(summed.columns() - {*schema})
            if unknown:
                raise self._wrong(f"sum {name!r} reads {', '.join(unknown)}, which no row has")
            if summed.column is not None and schema[summed.column] not in _SUMMED:
                raise self._wrong(
                    f"sum {name!r}: {summed.column} is {schema[summed.column]}; only whole numbers "
                    "and flags add up the same in any order"
                )
        twice = sorted({*self.by, "hour", "rule", "rule_version"} & {*self.sums})
        if twice:
            raise self._wrong(f"{', '.join(twice)} is a column already; give the sum another name")

    def _wrong(self, what: str) -> RuleError:
        return RuleError(f"rollup {self.name!r}: {what}")

    @property
    def key(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @cached_property
    def of_table(self) -> RuleTable:
        """The table whose rows are summed."""
        return self.of.table if isinstance(self.of, SampleRule) else table_of(self.of)

    @property
    def table(self) -> str:
        """The name of its own table."""
        return f"{self.name}_v{self.version}"

    @cached_property
    def group_schema(self) -> Mapping[str, pl.DataType]:
        """``hour`` and the dimensions; of a list its element."""
        schema = self.of_table.schema
        inner = {c: pl.String() if isinstance(schema[c], pl.List) else schema[c] for c in self.by}
        return {"hour": TS, **inner}

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the definition and of the rule's."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        parts |= {"of": f"{self.of.key} {self.of.digest}"}
        text = canonical({k: v for k, v in parts.items() if k not in ("name", "version")})
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def __repr__(self) -> str:
        """Name, version and digest."""
        return f"Rollup({self.key} {self.digest})"
