"""The shape of the table that a rule's rows are kept in.

Always holds: a row is found by its table's key alone: ``ROW_KEY``, and for an attribution the touch
beside it; a table belongs to one version of one rule and to one digest of its definition; money is
a whole number of micro-units, credit one of parts per 10^9.

Not promised: that two versions of a rule have the same columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from labeling.errors import RuleError
from labeling.model.attribution import ATTRIBUTION_KEY_SCHEMA, AttributionRule
from labeling.model.event import TS
from labeling.model.kinds import Rule
from labeling.model.window import Duration

ROW_KEY: Final = ("user_id", "anchor_ts", "anchor_id")
ROW_KEY_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "user_id": pl.String(),
    "anchor_ts": TS,
    "anchor_id": pl.String(),
}
#: What an attribution's key has beyond ``ROW_KEY``; an action's own row has an empty ``touch_id``.
TOUCH_KEY_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    name: dtype for name, dtype in ATTRIBUTION_KEY_SCHEMA.items() if name not in ROW_KEY_SCHEMA
}
#: Columns that the store adds to every rule's table; a rule cannot use their names.
ROW_BOOK: Final = ("rule_version", "rule_digest", "revision", "first_commit", "commit")
#: Columns that rows and changes carry beside key and values; a rule cannot use them either.
ROW_MARKS: Final = ("point_ts", "reason", "present", "kind", "old", "new", "row", "fresh", "was")

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class SampleOf:
    """What a table of samples says of the labels in it.

    Args:
        rule: ``name@version`` of the label rule.
        label: the Boolean column that tells a positive from a negative.
        delays: how long after ``anchor_ts`` the early points lie, in ms; kept in their order.
        carried: names in ``values`` that say the same at every point of a row.
    """

    rule: str
    label: str
    delays: Sequence[int] = ()
    carried: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Settle the order."""
        object.__setattr__(self, "delays", tuple(sorted(self.delays)))
        object.__setattr__(self, "carried", tuple(self.carried))


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
        key: the columns that name a row: ``ROW_KEY_SCHEMA``, or with ``TOUCH_KEY_SCHEMA``.
        parts: names in ``values`` that hold parts per 10^9 (Int64), shown as doubles likewise.
        action_only: names in ``values`` that say something of actions alone.
        touch_only: names in ``values`` that say something of touches alone.
        sample: what the rows are samples of; None: they are no samples.

    Raises:
        RuleError: a name that cannot be a table's, a taken or unknown column name, money or
            parts that are not Int64.

    >>> RuleTable("clicks", 1, "d1", {"clicked": pl.Boolean()}).table
    'clicks_v1'
    """

    name: str
    version: int
    digest: str
    values: Mapping[str, pl.DataType]
    money: frozenset[str] = field(default_factory=frozenset)
    window_ms: int | None = None
    key: Mapping[str, pl.DataType] = field(default_factory=lambda: ROW_KEY_SCHEMA)
    parts: frozenset[str] = field(default_factory=frozenset)
    action_only: frozenset[str] = field(default_factory=frozenset)
    touch_only: frozenset[str] = field(default_factory=frozenset)
    sample: SampleOf | None = None

    def __post_init__(self) -> None:
        """Refuse names that a table cannot have."""
        if not _NAME.match(self.name):
            raise RuleError(
                f"rule {self.name!r}: a rule's name becomes a table's; use lower-case letters, "
                "digits and underscores, a letter first"
            )
        if self.version < 1:
            raise RuleError(f"rule {self.name!r}: version {self.version}; versions count from 1")
        taken = {*self.key, *ROW_BOOK, *ROW_MARKS} & set(self.values)
        if taken:
            raise RuleError(
                f"rule {self.name!r}: {', '.join(sorted(taken))} is a column of every rule's "
                "table; rename the label or leave it out of the carried columns"
            )
        for what, unit, columns in (
            ("money", "micro-units", self.money),
            ("credit", "parts per 10^9", self.parts),
        ):
            for column in sorted(columns):
                if self.values.get(column) != pl.Int64():
                    raise RuleError(
                        f"rule {self.name!r}: {what} column {column!r} must be an Int64 label of "
                        f"the rule ({unit}); it is {self.values.get(column, 'not there')}"
                    )

    @property
    def table(self) -> str:
        """The name of the table: ``<name>_v<version>``."""
        return f"{self.name}_v{self.version}"

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Key and value columns, in the table's order."""
        return {**self.key, **self.values}

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that name a row."""
        return tuple(self.key)

    @property
    def of_touches(self) -> bool:
        """Whether the rows of an anchor are a set: an action's own, and one of each touch."""
        return self.keys != ROW_KEY

    @property
    def whole(self) -> tuple[str, ...] | None:
        """The columns by which rows are a set that is published whole; None: each is by itself."""
        return ROW_KEY if self.of_touches else None


def table_of(rule: Rule) -> RuleTable:
    """The table that a rule's rows go to."""
    if isinstance(rule, AttributionRule):
        return _table_of_attribution(rule)
    window_ms = rule.bound.ms if isinstance(rule.bound, Duration) else None
    return RuleTable(
        name=rule.name,
        version=rule.version,
        digest=rule.digest,
        values=rule.value_schema,
        money=frozenset(rule.money),
        window_ms=window_ms,
    )


def _table_of_attribution(rule: AttributionRule) -> RuleTable:
    credit = frozenset(f"credit{model}" for model in rule.models)
    # With one model a touch's share stands in ``value``, as the action's value does.
    shares = {f"value{model}" for model in rule.models if model and rule.value}
    alone = {"value"} if shares else set()
    said = {"rank", "direct", "delay_ms", "touch_type", "touch_class"}
    return RuleTable(
        name=rule.name,
        version=rule.version,
        digest=rule.digest,
        values=rule.value_schema,
        money=frozenset(rule.money),
        window_ms=rule.window_ms,
        key=ATTRIBUTION_KEY_SCHEMA,
        parts=credit,
        action_only=frozenset({"verdict", "touches", "path"} | alone),
        touch_only=frozenset({*said, *(f"touch_{c}" for c in rule.touch_carry), *credit, *shares}),
    )
