"""The shape of the table that a rule's rows are kept in.

Always holds: a row is found by ``ROW_KEY`` alone; a table belongs to one version of one rule
and to one digest of its definition; money is a whole number of micro-units.

Not promised: that two versions of a rule have the same columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from labeling.errors import RuleError
from labeling.model.event import TS
from labeling.model.rule import LabelRule
from labeling.model.window import Duration

ROW_KEY: Final = ("user_id", "anchor_ts", "anchor_id")
ROW_KEY_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "user_id": pl.String(),
    "anchor_ts": TS,
    "anchor_id": pl.String(),
}
#: Columns that the store adds to every rule's table; a rule cannot use their names.
ROW_BOOK: Final = ("rule_version", "rule_digest", "revision", "first_commit", "commit")
#: Columns that rows and changes carry beside key and values; a rule cannot use them either.
ROW_MARKS: Final = ("point_ts", "reason", "present", "kind", "old", "new")

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class RuleTable:
    """One version of one rule as the store sees it.

    Args:
        name: the rule's name: lower-case letters, digits and underscores.
        version: from 1.
        digest: of the rule's definition; the same version never has two.
        values: columns beside the key, in order: carried ones, then labels.
        money: names in ``values`` that hold micro-units (Int64); the rule's views show them
            as doubles in whole units.
        window_ms: how long after ``anchor_ts`` the last point of a row lies, in ms, where that
            is the same for all rows; None for a calendar window.

    Raises:
        RuleError: a name that cannot be a table's, a taken or unknown column name, money
            that is not Int64.

    >>> RuleTable("clicks", 1, "d1", {"clicked": pl.Boolean()}).table
    'clicks_v1'
    """

    name: str
    version: int
    digest: str
    values: Mapping[str, pl.DataType]
    money: frozenset[str] = field(default_factory=frozenset)
    window_ms: int | None = None

    def __post_init__(self) -> None:
        """Refuse names that a table cannot have."""
        if not _NAME.match(self.name):
            raise RuleError(
                f"rule {self.name!r}: a rule's name becomes a table's; use lower-case letters, "
                "digits and underscores, a letter first"
            )
        if self.version < 1:
            raise RuleError(f"rule {self.name!r}: version {self.version}; versions count from 1")
        taken = {*ROW_KEY, *ROW_BOOK, *ROW_MARKS} & set(self.values)
        if taken:
            raise RuleError(
                f"rule {self.name!r}: {', '.join(sorted(taken))} is a column of every rule's "
                "table; rename the label or leave it out of the carried columns"
            )
        for column in sorted(self.money):
            if self.values.get(column) != pl.Int64():
                raise RuleError(
                    f"rule {self.name!r}: money column {column!r} must be an Int64 label of the "
                    f"rule (micro-units); it is {self.values.get(column, 'not there')}"
                )

    @property
    def table(self) -> str:
        """The name of the table: ``<name>_v<version>``."""
        return f"{self.name}_v{self.version}"

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Key and value columns, in the table's order."""
        return {**ROW_KEY_SCHEMA, **self.values}


def table_of(rule: LabelRule) -> RuleTable:
    """The table that a label rule's rows go to."""
    window_ms = rule.bound.ms if isinstance(rule.bound, Duration) else None
    return RuleTable(
        name=rule.name,
        version=rule.version,
        digest=rule.digest,
        values=rule.value_schema,
        money=frozenset(rule.money),
        window_ms=window_ms,
    )
