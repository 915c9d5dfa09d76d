"""Rollups: clauses U1 to U6 of docs/rollups.md.

Always holds: sums are compared with two counts that share no code with them: one in SQL over the
store's rows, one in plain Python over what was published.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling import LabelRule, Rollup, happened, rows, total
from labeling.config import Config
from labeling.config.rules import Tree
from labeling.errors import RuleError, StoreError
from labeling.io.store import Store
from labeling.io.store.listener import DEAF
from labeling.model.table import table_of
from labeling.products.rollups.recount import differences, hours
from rules.follow_causes import FOLLOW_CAUSES
from rules.hourly import FOLLOW_HOURLY
from tests.product_histories import (
    KEYS,
    SEEN,
    SEEN_HOURLY,
    TABLE,
    TREE,
    Change,
    Past,
    attach,
    config_of,
    kept,
    lose,
    publication,
    publish,
    publish_first,
    summed,
)

#: ``list_distinct`` leaves nulls out: a row's groups are told apart by their names instead.
ONCE = f"SELECT DISTINCT {', '.join(TABLE.keys)}, scene, clicked, liked, clicks, paid, position"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A configuration; the stores are the examples' own."""
    return config_of(tmp_path_factory.mktemp("rollups"))


def stored(store: Store) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """The rollup's table as the twin has it."""
    found = store.query("FROM seen_hourly_v1").rows()
    assert len(found) == len({row[:4] for row in found})
    return {row[:4]: row[4:] for row in found}


def in_sql(store: Store) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """The same by DuckDB, from the rows."""
    each = (
        "SELECT *, unnest(CASE WHEN len(experiments) > 0 THEN experiments ELSE [NULL] END) AS e "
        "FROM seen_v1"
    )
    found = store.query(
        f"SELECT epoch_ms(anchor_ts) // 3600000, scene, e, clicked, count(*), "
        "count(*) FILTER (liked), CAST(sum(clicks) AS BIGINT), "
        "CAST(coalesce(sum(paid), 0) AS BIGINT), count(*) FILTER (liked AND position = 0) "
        f"FROM ({ONCE}, e FROM ({each})) GROUP BY ALL"
    ).rows()
    return {(row[0], *row[1:4]): row[4:] for row in found}


def numbered(sums: dict[tuple[Any, ...], tuple[int, ...]]) -> dict[tuple[Any, ...], Any]:
    """Hours as numbers, as ``in_sql`` has them."""
    return {(int(g[0].timestamp()) // 3600, *g[1:]): v for g, v in sums.items()}


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_sums_are_those_of_a_recount(data: st.DataObject, config: Config) -> None:
    """Inserts, updates, retractions, returns, first publications, several in a commit, a failure.

    Also where the rollup came to a store that had rows already.
    """
    past = Past()
    with kept(config.folder / "s.duckdb", config) as store:
        deaf = data.draw(st.integers(0, 2), "commits before the rollup was declared")
        for number in range(data.draw(st.integers(1, 4), "commits")):
            if number < deaf:
                store.listener = DEAF
            elif number == deaf:
                attach(store, config)
            with store.commit("c") as commit:
                for first in data.draw(st.lists(st.booleans(), min_size=1, max_size=3)):
                    made = data.draw(publication(past, first=first))
                    if first:
                        publish_first(commit, made, timed=False)
                    else:
                        publish(commit, made)
            if data.draw(st.booleans(), "a commit fails"):
                lose(store, data.draw(publication(Past({**past.changes}), first=True)))
            if number >= deaf:
                assert stored(store) == summed(past.there())
                assert numbered(stored(store)) == in_sql(store)
                for hour in hours(store.database, SEEN_HOURLY):
                    assert differences(store.database, SEEN_HOURLY, hour).is_empty()


VALUE: dict[str, Any] = {
    "scene": "feed", "experiments": ["x", "y"], "position": 0,
    "clicked": True, "liked": False, "clicks": 2, "paid": 2_500_000,
}  # fmt: skip


def shown(place: int = 0, **more: Any) -> Change:
    """A row of the first key, inserted."""
    return Change(KEYS[place], 1, "insert", 0, None, {**VALUE, **more})


def test_the_view_shows_units(config: Config) -> None:
    """Money in whole units, counts as they are, the rule and its version beside the hour."""
    with kept(config.folder / "v.duckdb", config) as store:
        with store.commit("c") as commit:
            publish(commit, [shown()])
        row = store.query("FROM seen_hourly ORDER BY experiments").row(0, named=True)
        kinds = store.query("FROM seen_hourly").schema
    assert row | {"hour": None} == {
        "rule": "seen", "rule_version": 1, "hour": None, "scene": "feed", "experiments": "x",
        "clicked": True, "shown": 1, "liked": 0, "clicks": 2, "paid": 2.5, "liked_first": 0,
    }  # fmt: skip
    assert (kinds["paid"], kinds["clicks"]) == (pl.Float64(), pl.Int64())


def test_a_changed_definition_needs_a_version(config: Config) -> None:
    """U4: the same version of another definition is refused; the next one has a table of its own.

    The view shows the newest version, also where an older one is told again.
    """
    other = Rollup(name="seen_hourly", of=SEEN, by=("scene",), sums={"shown": rows()})
    newer = Rollup(name="seen_hourly", version=2, of=SEEN, by=(), sums={"shown": rows()})
    with kept(config.folder / "d.duckdb", config) as store:
        with store.commit("c") as commit:
            publish(commit, [shown()])
        attach(store, config, replace(TREE, rollups=(other,)))
        changed = pytest.raises(StoreError, match=r"seen_hourly@1 has changed.*version 2")
        with changed, store.commit("c") as commit:
            publish(commit, [shown(1)])
        attach(store, config, replace(TREE, rollups=(newer, SEEN_HOURLY)))
        with store.commit("c") as commit:
            publish(commit, [shown(1)])
        assert store.query("SELECT shown FROM seen_hourly").rows() == [(2,)]
        assert store.query("SELECT sum(shown) FROM seen_hourly_v1").item() == 4


@pytest.mark.parametrize("name", ["seen", "seen_final", "seen_v1", "commits", "health"])
def test_taken_names_are_refused(config: Config, name: str) -> None:
    """A rollup cannot take the name of a rule's view or table, or of one of the store's own."""
    rollup = Rollup(name=name, of=SEEN, by=(), sums={"shown": rows()})
    with kept(config.folder / "n.duckdb", config, Tree((SEEN,), (), (rollup,))) as store:
        with pytest.raises(StoreError, match="another name"), store.commit("c") as commit:
            publish(commit, [shown()])
        assert store.last_commit == 0


def test_a_rule_cannot_take_a_rollups_name(config: Config) -> None:
    """Nor a rule's view that of a rollup that was there before."""
    rollup = Rollup(name="other_final", of=SEEN, by=(), sums={"shown": rows()})
    other = LabelRule(
        name="other", anchor=SEEN.anchor, match=("user_id",), window="1m",
        labels={"clicked": happened("click")},
    )  # fmt: skip
    with kept(config.folder / "o.duckdb", config, Tree((SEEN,), (), (rollup,))) as store:
        with store.commit("c") as commit:
            publish(commit, [shown()])
        with pytest.raises(StoreError, match="other_final"), store.commit("c") as commit:
            commit.publish_first(table_of(other), pl.DataFrame(), pl.DataFrame())


def test_an_hour_that_retention_dropped_is_counted_anew(config: Config) -> None:
    """U5: sums outlive the rows; when the hour is published again, they are of the new rows."""
    with kept(config.folder / "r.duckdb", config) as store:
        with store.commit("c") as commit:
            publish_first(commit, [shown(0), shown(1)], timed=True)
            commit.append_imports(pl.DataFrame())
        before = stored(store)
        for table in ("seen_v1", "retracted"):
            store.database.run(f"DELETE FROM {table}")
        assert stored(store) == before
        assert differences(store.database, SEEN_HOURLY, KEYS[0][1]).height
        with store.commit("c") as commit:
            # In two parts, as a replay publishes users.
            publish_first(commit, [shown(0)], timed=True)
            publish_first(commit, [shown(1)], timed=True)
        assert stored(store) == before
        assert store.query("SELECT max(rows) FROM health_counts").item() == 2


def test_credits_add_up_to_attributed_follows(config: Config) -> None:
    """Law 6 in a rollup: the credit of an hour's touches is the number of attributed actions."""
    table = table_of(FOLLOW_CAUSES)
    action = {
        "user_id": "u", "anchor_ts": KEYS[0][1], "anchor_id": "f", "touch_ts": KEYS[0][1],
        "touch_id": "", "touches": 3, "verdict": "attributed",
    }  # fmt: skip
    touches = [
        {**action, "touch_id": f"t{i}", "touch_ts": KEYS[0][1] - timedelta(minutes=1 + i),
         "verdict": None, "touches": None, "touch_type": "view_start", "credit": credit}
        for i, credit in enumerate((400_000_000, 200_000_000, 400_000_000))
    ]  # fmt: skip
    alone = {**action, "anchor_id": "g", "verdict": "unattributed", "touches": 0}
    told = pl.DataFrame([action, *touches, alone], schema={**table.schema}, orient="row")
    first = told.with_columns(revision=pl.lit(1, pl.Int32))
    tree = Tree((FOLLOW_CAUSES,), (), (FOLLOW_HOURLY,))
    with kept(config.folder / "a.duckdb", config, tree) as store:
        with store.commit("c") as commit:
            commit.publish_first(table, first, pl.DataFrame())
        sums = "sum(follows), sum(attributed), sum(credit)"
        assert store.query(f"SELECT {sums} FROM follow_hourly").row(0) == (2, 1, 1.0)
        undone = told.filter(pl.col("anchor_id") == "f").select(
            *table.keys,
            revision=pl.lit(2, pl.Int32),
            kind=pl.lit("retract"),
            reason=pl.lit("undo"),
            point_ts="anchor_ts",
            old=pl.struct(list(table.values)),
            new=pl.lit(None, pl.Struct(dict(table.values))),
        )
        with store.commit("c") as commit:
            commit.publish(table, undone)
        assert store.query(f"SELECT {sums} FROM follow_hourly").row(0) == (1, 0, 0.0)


def test_a_name_that_no_table_can_have_is_refused() -> None:
    """As of a rule, so that it can be written without quotes."""
    with pytest.raises(RuleError, match="lower-case"):
        Rollup(name="Hourly sums", of=SEEN, by=(), sums={"clicks": total("clicks")})


def test_rows_without_rollups_cost_nothing(config: Config) -> None:
    """Where none is of a rule, no table is made and nothing is asked."""
    with kept(config.folder / "e.duckdb", config, Tree((SEEN,), (), ())) as store:
        with store.commit("c") as commit:
            publish(commit, [shown()])
        assert store.query("FROM rollups").is_empty()
        assert TABLE.name in set(store.query("SELECT rule FROM rules").to_series())
