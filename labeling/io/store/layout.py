"""The columns of a rule's table as people are shown them.

Always holds: money is shown in whole units and credit as a part of 1, both as DOUBLE; what is only
said of actions, or of touches, is known as such.

Not promised: that two versions of a rule have the same columns.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from labeling.io.store.database import Database
from labeling.io.store.sample_views import sample_noted
from labeling.model.table import TOUCH_KEY_SCHEMA, SampleOf


@dataclass(frozen=True, slots=True)
class Layout:
    """What views need to know of a version's table; ``columns`` in the table's order."""

    rule: str
    version: int
    columns: tuple[str, ...]
    money: frozenset[str]
    parts: frozenset[str]
    action_only: frozenset[str]
    touch_only: frozenset[str]
    window_ms: int | None
    of_touches: bool
    sample: SampleOf | None

    def select(self, without: Collection[str]) -> str:
        """The columns but some, money in whole units, credit as a part of 1."""
        return ", ".join(self.shown(c) for c in self.columns if c not in without)

    @property
    def of_actions(self) -> str:
        """The columns of rows that are no touches'."""
        return self.select({*self.touch_only, *TOUCH_KEY_SCHEMA} if self.of_touches else ())

    @property
    def actions(self) -> str:
        """Which rows ``r`` are no touches'."""
        return "r.touch_id = ''" if self.of_touches else "TRUE"

    def shown(self, column: str) -> str:
        """A column of row ``r`` in the units that people read."""
        unit = "1e6" if column in self.money else "1e9" if column in self.parts else None
        return f'r."{column}" / {unit} AS "{column}"' if unit else f'r."{column}"'


def layout_of(db: Database, rule: str, version: int) -> Layout:
    """The layout of a version that has a table."""
    noted = db.frame("FROM rules WHERE rule = ? AND version = ?", [rule, version]).row(
        0, named=True
    )
    columns = db.frame(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = 'store' "
        "AND table_name = ? ORDER BY column_index",
        [f"{rule}_v{version}"],
    )["column_name"]
    return Layout(
        rule=rule,
        version=version,
        columns=tuple(columns),
        money=frozenset(noted["money"] or ()),
        parts=frozenset(noted["parts"] or ()),
        action_only=frozenset(noted["action_only"] or ()),
        touch_only=frozenset(noted["touch_only"] or ()),
        window_ms=noted["window_ms"],
        of_touches=noted["touch_only"] is not None,
        sample=sample_noted(noted),
    )
