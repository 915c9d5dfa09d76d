"""What people read of a rule: its current rows, and those of them that are final.

Always holds: ``<rule>`` shows the current rows of one version for every anchor, the newest unless
``active_versions`` names others, each from an hour on; ``<rule>_final`` shows those whose last
point has been published: every row of a complete hour, and in other hours the rows whose window
ended before ``hours.through_ts``, or before the watermark of the stream that owns them. Of an
attribution these are the rows of actions, without what is only said of touches, and
``<rule>_touches`` shows those of touches. Money is shown in whole units as DOUBLE, credit as a part
of 1; the tables keep micro-units and parts per 10^9.

Not promised: that a rule with a calendar window shows final rows before their hour is complete;
that no later event takes back what is final, where the rule says what may; nor that versions shown
side by side have the same columns: what one has not is null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from labeling.errors import StoreError
from labeling.io.store.database import Database
from labeling.io.store.finality import passed, rows_noted
from labeling.io.store.health_view import HEALTH
from labeling.io.store.layout import Layout, layout_of
from labeling.io.store.lookup import known
from labeling.io.store.sample_views import FORMATS, Samples, sample_note
from labeling.io.store.schema import create_table
from labeling.io.store.tables import BOOK_SCHEMA, COUNTS_TOTAL, RULES, TABLES
from labeling.model.table import RuleTable

_RESERVED = {t.name for t in TABLES} | {"counts_total", "health"}
_NUMBERS = ("INTEGER", "BIGINT", "DOUBLE")


def create_all(db: Database) -> None:
    """Make every fixed table and view in a new file."""
    for table in TABLES:
        db.run(table.ddl)
    db.run(COUNTS_TOTAL)
    db.run(HEALTH)


def register(db: Database, table: RuleTable, commit: int) -> None:
    """Make the table of a rule's version and turn its views to it, unless that is done.

    Raises:
        StoreError: the version is known with another digest, or a name is taken.
    """
    if known(db, table):
        return
    _refuse_taken_names(db, table)
    schema = {**table.schema, **BOOK_SCHEMA}
    db.run(create_table(table.table, schema, {*table.key, *BOOK_SCHEMA}))
    row = {
        "rule": table.name,
        "version": table.version,
        "digest": table.digest,
        "money": sorted(table.money),
        "window_ms": table.window_ms,
        "commit": commit,
        "parts": sorted(table.parts),
        "action_only": sorted(table.action_only),
        "touch_only": sorted(table.touch_only) if table.of_touches else None,
        **sample_note(table.sample),
    }
    db.append(RULES.name, RULES.conform(pl.DataFrame([row], schema=RULES.schema)))
    refresh(db, table.name)


def _refuse_taken_names(db: Database, table: RuleTable) -> None:
    names = _view_names(
        table.name, of_touches=table.of_touches, of_samples=table.sample is not None
    )
    mine = {table.table, *names}
    known = (
        "SELECT rule, version, touch_only IS NOT NULL AS of_touches, "
        "sample_of IS NOT NULL AS of_samples FROM rules"
    )
    taken = _RESERVED | {
        name
        for rule, version, of_touches, of_samples in db.frame(known).iter_rows()
        for name in (
            f"{rule}_v{version}",
            *(
                _view_names(rule, of_touches=of_touches, of_samples=of_samples)
                if rule != table.name
                else ()
            ),
        )
    }
    taken |= {
        name
        for rollup, version in db.frame("SELECT rollup, version FROM rollups").iter_rows()
        for name in (rollup, f"{rollup}_v{version}")
    }
    if mine & taken:
        raise StoreError(
            f"rule {table.name}: the store already has a table or view named "
            f"{', '.join(sorted(mine & taken))}; give the rule another name"
        )


def _view_names(rule: str, *, of_touches: bool, of_samples: bool) -> tuple[str, ...]:
    formats = [f"{rule}_{name}" for name in FORMATS] if of_samples else []
    return (rule, f"{rule}_final", *((f"{rule}_touches",) if of_touches else ()), *formats)


def require(db: Database, rule: str, version: int) -> None:
    """Refuse a version that has no table.

    Raises:
        StoreError: names the versions that there are.
    """
    known = db.frame("SELECT version FROM rules WHERE rule = ? ORDER BY version", [rule])
    versions = known["version"].to_list()
    if version not in versions:
        there = ", ".join(map(str, versions)) or "none"
        raise StoreError(f"rule {rule} has no version {version} in this store; it has {there}")


@dataclass(frozen=True, slots=True)
class Shown:
    """A version that a rule's views show, for anchors of ``[from_ts, to_ts)``; None: no bound."""

    version: int
    from_ts: datetime | None
    to_ts: datetime | None

    @property
    def condition(self) -> str:
        """Which rows ``r`` are shown."""
        parts = [
            f"r.anchor_ts {sign} TIMESTAMPTZ '{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}+00:00'"
            for sign, at in ((">=", self.from_ts), ("<", self.to_ts))
            if at is not None
        ]
        return " AND ".join(parts) or "TRUE"


def shown(db: Database, rule: str) -> list[Shown]:
    """What a rule's views show, by time; nothing for a rule without a table."""
    named = db.frame(
        "SELECT version, from_ts FROM active_versions WHERE rule = ? ORDER BY from_ts NULLS FIRST",
        [rule],
    ).rows()
    if not named:
        newest = db.value("SELECT max(version) FROM rules WHERE rule = ?", [rule])
        named = [] if newest is None else [(newest, None)]
    ends = [*(start for _, start in named[1:]), None]
    return [Shown(v, start, end) for (v, start), end in zip(named, ends, strict=True)]


def activate(db: Database, rule: str, version: int, from_ts: datetime | None, commit: int) -> None:
    """Let a rule's views show a version, whether or not a newer one exists.

    Args:
        db: in a transaction.
        rule: its name.
        version: which is to be shown.
        from_ts: for anchors from this hour on; earlier ones keep the version that they have. Where
            none was named and the version is the newest, that is the one before it. None: for all.
        commit: the number of the transaction.

    Raises:
        StoreError: the rule has no such version here, or the versions' columns do not go together.
    """
    require(db, rule, version)
    ranges = [*_before(db, rule, version, from_ts), (version, from_ts)]
    ranges = [r for i, r in enumerate(ranges) if i == 0 or r[0] != ranges[i - 1][0]]
    db.run("DELETE FROM active_versions WHERE rule = ?", [rule])
    for number, start in ranges:
        db.run("INSERT INTO active_versions VALUES (?, ?, ?, ?)", [rule, number, start, commit])
    refresh(db, rule)


def _before(
    db: Database, rule: str, version: int, from_ts: datetime | None
) -> list[tuple[int, datetime | None]]:
    """The versions shown of anchors before a time."""
    if from_ts is None:
        return []
    named = db.value("SELECT count(*) FROM active_versions WHERE rule = ?", [rule])
    kept = [(s.version, s.from_ts) for s in shown(db, rule)]
    if not named and kept == [(version, None)]:
        # It is shown because it is the newest: what was shown before it came is meant.
        older = db.value(
            "SELECT max(version) FROM rules WHERE rule = ? AND version < ?", [rule, version]
        )
        return [(version if older is None else int(older), None)]
    return [(v, start) for v, start in kept if start is None or start < from_ts]


def refresh(db: Database, rule: str) -> None:
    """Point a rule's views at what they show.

    Raises:
        StoreError: columns of two versions do not go together.
    """
    parts = [(part, layout_of(db, rule, part.version)) for part in shown(db, rule)]
    _refuse_mixed(db, rule, [part.version for part, _ in parts])
    touches = [(part, layout) for part, layout in parts if layout.of_touches]
    samples = [(part, layout) for part, layout in parts if layout.sample is not None]
    for name, of, select in (
        (rule, parts, _current),
        (f"{rule}_final", parts, _final),
        (f"{rule}_touches", touches, _touches),
        *((f"{rule}_{name}", samples, _format(name)) for name in FORMATS),
    ):
        # The columns come in the order of the latest.
        selects = [select(layout, part) for part, layout in reversed(of)]
        if selects:
            db.run(f'CREATE OR REPLACE VIEW "{name}" AS {" UNION ALL BY NAME ".join(selects)}')
    if not touches and _has_view(db, f"{rule}_touches"):
        db.run(f'DROP VIEW "{rule}_touches"')


def _has_view(db: Database, name: str) -> bool:
    views = db.frame("SELECT view_name FROM duckdb_views() WHERE database_name = 'store'")
    return name in set(views["view_name"])


def _refuse_mixed(db: Database, rule: str, versions: Sequence[int]) -> None:
    """Refuse versions of which a column has types that DuckDB would turn into one another.

    It would do so when the view is read, and fail there, or make text of truth values.
    """
    tables = sorted({f"{rule}_v{version}" for version in versions})
    mixed = db.frame(
        "SELECT column_name, string_agg(DISTINCT data_type, ', ' ORDER BY data_type) "
        "FROM duckdb_columns() WHERE database_name = 'store' AND table_name IN (SELECT unnest(?)) "
        "GROUP BY column_name HAVING count(DISTINCT data_type) > 1 "
        f"AND NOT bool_and(data_type IN {_NUMBERS}) ORDER BY ALL",
        [tables],
    )
    if mixed.height:
        column, types = mixed.row(0)
        raise StoreError(
            f"rule {rule}: {', '.join(tables)} cannot be shown together, column {column} has the "
            f"types {types}; show one version for all anchors, or give the column another name"
        )


def _current(of: Layout, part: Shown) -> str:
    """The current rows of a version; of an attribution those of actions."""
    table = f"{of.rule}_v{of.version}"
    return f'SELECT {of.of_actions} FROM "{table}" r WHERE {part.condition} AND {of.actions}'


def _touches(of: Layout, part: Shown) -> str:
    """The current rows of touches."""
    columns, table = of.select(of.action_only), f"{of.rule}_v{of.version}"
    return f"SELECT {columns} FROM \"{table}\" r WHERE {part.condition} AND r.touch_id <> ''"


def select_of(db: Database, rule: str, part: Shown, *, touches: bool = False) -> str:
    """The SELECT of what ``<rule>``, or ``<rule>_touches``, shows of one version.

    Unlike the view it means the same whatever version is activated meanwhile.
    """
    layout = layout_of(db, rule, part.version)
    return _touches(layout, part) if touches else _current(layout, part)


def _format(name: str) -> Callable[[Layout, Shown], str]:
    """The samples of a version in one of the formats that trainers want."""
    return lambda of, part: FORMATS[name](_samples(of), part.condition)


def _final(of: Layout, part: Shown) -> str:
    """Those of ``_current`` whose last point has been published."""
    return (
        f"SELECT {of.of_actions} {rows_noted(of.rule, of.version)} "
        f"WHERE {passed(of.window_ms)} AND {part.condition} AND {of.actions}"
    )


def samples_of(db: Database, rule: str, version: int) -> Samples:
    """What the formats of samples are made from, of one version of a rule of samples.

    Raises:
        StoreError: the rule makes no samples.
    """
    return _samples(layout_of(db, rule, version))


def _samples(of: Layout) -> Samples:
    if of.sample is None:
        raise StoreError(f"rule {of.rule} makes no samples")
    return Samples(of.rule, of.version, of.columns, of.shown, of.sample, of.window_ms)
