"""Rows of attributions in the store, and a store made before there were any."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from labeling.engine.changes import apply, changes, empty_stored
from labeling.errors import RuleError, StoreError
from labeling.io.remote.parcel import Packer, Unpacker
from labeling.io.store import Store
from labeling.io.store.tables import TABLES
from labeling.model.attribution import ATTRIBUTION_KEY_SCHEMA
from labeling.model.event import TS
from labeling.model.table import ROW_KEY, RuleTable, table_of
from tests.attribution_project import ORDERS
from tests.store_shapes import CLICKS, at, key, keys, value
from tests.store_shapes import changes as label_changes

VALUES: dict[str, pl.DataType] = {
    "item_id": pl.String(),
    "path": pl.List(pl.String()),
    "rank": pl.Int64(),
    "credit": pl.Int64(),
    "value": pl.Int64(),
}
BUYS = RuleTable(
    "buys",
    1,
    "digest",
    VALUES,
    frozenset({"value"}),
    window_ms=0,
    key=ATTRIBUTION_KEY_SCHEMA,
    parts=frozenset({"credit"}),
    action_only=frozenset({"path"}),
    touch_only=frozenset({"rank", "credit"}),
)
KEYS = BUYS.keys


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store, open for writing."""
    with Store.open(tmp_path / "store.duckdb") as opened:
        yield opened


def row(action: int, touch: int | None, n: int = 0, *, present: bool = True) -> dict[str, Any]:
    """A row of an action at ``n`` ms after it: its own, or a touch's."""
    said = {"item_id": "i", "value": 2_500_000 * n}
    more = {"path": ["a", None][:n]} if touch is None else {"rank": touch, "credit": 250_000_000}
    return {
        "point_ts": at(action + n),
        "reason": "undo" if n else "point",
        "present": present,
        "user_id": "u",
        "anchor_ts": at(action),
        "anchor_id": "a",
        "touch_ts": at(action if touch is None else touch),
        "touch_id": "" if touch is None else f"t{touch}",
        **(said | more if present else {}),
    }


def framed(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as ``changes`` takes them."""
    meta = {"point_ts": TS, "reason": pl.String(), "present": pl.Boolean()}
    return pl.DataFrame(rows, schema={**meta, **BUYS.schema})


def publish(store: Store, rows: list[dict[str, Any]]) -> None:
    """Publish what is returned of actions, as a driver does."""
    new = framed(rows)
    with store.commit("publish") as commit:
        commit.publish(BUYS, changes(store.current(BUYS, new), new, KEYS, whole=BUYS.whole))


@pytest.mark.parametrize("seed", range(4))
def test_sets_end_where_changes_say(store: Store, seed: int) -> None:
    """Whatever sets come and go, the store holds what ``apply`` holds, touches and revisions."""
    rng = random.Random(seed)
    held = empty_stored(BUYS.schema, KEYS)
    logged = 0
    for _ in range(6):
        rows = []
        for action in rng.sample(range(100, 105), 3):
            rows.append(row(action, None, rng.randrange(3), present=rng.random() < 0.8))
            touches = rng.sample(range(5), rng.randrange(4)) if rows[-1]["present"] else []
            n = (rows[-1]["point_ts"] - rows[-1]["anchor_ts"]).microseconds // 1000
            rows += [row(action, touch, n) for touch in touches]
        made = changes(held, framed(rows), KEYS, whole=BUYS.whole)
        logged += made.filter(pl.col("kind") != "insert").height
        held = apply(held, made, KEYS)
        publish(store, rows)
    assert store.stored_between(BUYS, at(), at(hours=1)).equals(held)
    assert store.current(BUYS, held.sample(fraction=1, shuffle=True, seed=1)).equals(held)
    assert store.rows_between(BUYS, at(), at(hours=1)).height == held["present"].sum()
    log = store.query("FROM label_changes")
    assert (log.height, log["touch_id"].null_count()) == (logged, 0)
    gone = store.query(f"SELECT {', '.join(KEYS)} FROM retracted ORDER BY ALL")
    assert gone.rows() == held.filter(~pl.col("present")).select(KEYS).sort(KEYS).rows()


def test_first_publication_remembers_what_went_again(store: Store) -> None:
    """A touch that the same replay inserted and retracted continues its revisions later."""
    new = framed([row(100, None), row(100, 1), row(100, None, 2)])
    made = changes(empty_stored(BUYS.schema, KEYS), new, KEYS, whole=BUYS.whole)
    last = made.filter((pl.col("touch_id") == "") & (pl.col("kind") == "update"))
    with store.commit("first") as commit:
        rows = last.select(*KEYS, "revision", pl.col("new").struct.unnest())
        commit.publish_first(BUYS, rows, made.filter(pl.col("kind") != "insert"))
    publish(store, [row(100, None, 2), row(100, 1, 2)])
    back = store.query("SELECT revision, first_commit, commit FROM buys_touches").rows()
    assert back == [(3, 1, 2)]
    assert store.query("FROM retracted").is_empty()


def test_views_show_each_grain_in_whole_units(store: Store) -> None:
    """Actions without the columns of touches, touches without those of actions."""
    publish(store, [row(100, None, 1), row(100, 1, 1), row(200, None)])
    book = ["rule_version", "rule_digest", "revision", "first_commit", "commit"]
    actions = store.query("FROM buys ORDER BY anchor_ts")
    assert actions.columns == [*ROW_KEY, "item_id", "path", "value", *book]
    assert actions.select("path", "value").rows() == [(["a"], 2.5), ([], 0.0)]
    touches = store.query("FROM buys_touches")
    assert touches.columns == [*KEYS, "item_id", "rank", "credit", "value", *book]
    assert touches.select("credit", "value").rows() == [(0.25, 2.5)]
    assert store.query("FROM buys_final").is_empty()
    with store.commit("hours") as commit:
        rows = commit.set_hours(BUYS, {at(): False}, archive_commit=1, through_ts=at(200))
    assert rows == {at(): 3}
    assert store.query("SELECT epoch_ms(anchor_ts) FROM buys_final").height == 1


def test_all_views_follow_the_active_version(store: Store) -> None:
    """A later version, of labels, takes the touches away; the one before brings them back."""
    publish(store, [row(100, None), row(100, 1)])
    labels = RuleTable("buys", 2, "other", {"clicked": pl.Boolean()})
    with store.commit("labels") as commit:
        commit.publish_first(labels, pl.DataFrame(schema=labels.schema), pl.DataFrame())
    assert "clicked" in store.query("FROM buys").columns
    with pytest.raises(StoreError, match="buys_touches"):
        store.query("FROM buys_touches")
    with store.commit("back") as commit:
        commit.activate("buys", 1)
    assert store.query("FROM buys").height == store.query("FROM buys_touches").height == 1


def test_the_name_of_the_touches_is_taken(store: Store) -> None:
    """No rule can be named as another's view of touches."""
    publish(store, [row(100, None)])
    other = RuleTable("buys_touches", 1, "d", VALUES)
    with pytest.raises(StoreError, match="another name"), store.commit("taken") as commit:
        commit.publish_first(other, pl.DataFrame(schema=other.schema), pl.DataFrame())


def test_retention_takes_both_grains(store: Store) -> None:
    """Rows go with the day of their action, those of touches too, and what was retracted."""
    publish(store, [row(100, None), row(100, 1), row(100, 2)])
    publish(store, [row(100, None, 1), row(100, 1, 1)])
    with store.commit("later") as commit:
        commit._newest = at(hours=72)  # noqa: SLF001 - an event of another day, without its file
    assert store.retain({"buys": 86_400_000}) == {"buys_v1": 2}
    assert store.query("FROM retracted").is_empty()


def test_a_table_is_a_rules(store: Store) -> None:
    """What a rule says of its columns is what its table shows; a parcel keeps it."""
    table = table_of(ORDERS)
    assert (table.window_ms, table.whole) == (0, ROW_KEY)
    assert table.parts == {"credit_last", "credit_linear"}
    assert table.action_only == {"verdict", "touches", "path", "value"}
    path = store.path.with_name("parcel")
    with path.open("wb") as out, Packer(out) as packer:
        packer.close(packer.pack(table))
    with path.open("rb") as stream:
        unpacker = Unpacker(stream)
        assert unpacker.unpack(unpacker.value) == table


def test_credit_is_whole_numbers() -> None:
    """A column of parts that is no Int64 is refused when the table is described."""
    with pytest.raises(RuleError, match="credit column 'rank' must be an Int64"):
        RuleTable("r", 1, "d", {"rank": pl.Float64()}, parts=frozenset({"rank"}))


# ---- a store of version 2 -------------------------------------------------------------------


def columns(store: Store) -> list[tuple[Any, ...]]:
    """Every column of every table, in order."""
    return store.query(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE table_name NOT LIKE 'clicks%' AND database_name = 'store' "
        "ORDER BY table_name, column_index"
    ).rows()


def made_before(path: Path) -> None:
    """A store with rows as version 2 of the tables had it."""
    with Store.open(path) as store, store.commit("rows") as commit:
        k = key("u", 5)
        rows = [(k, 1, "insert", None, value(1)), (k, 2, "update", value(1), value(2))]
        gone = key("v", 6)
        more = [(gone, 1, "insert", None, value(1)), (gone, 2, "retract", value(1), None)]
        commit.publish(CLICKS, label_changes([*rows, *more]))
    con = duckdb.connect(str(path))
    con.execute("UPDATE meta SET value = '2' WHERE key = 'schema_version'").fetchall()
    later = {"retracted": ("touch_ts", "touch_id"), "label_changes": ("touch_ts", "touch_id")}
    samples = ("sample_of", "sample_label", "sample_delays", "sample_carried")
    rules = ("parts", "action_only", "touch_only", *samples)
    for table, names in (later | {"rules": rules}).items():
        for name in names:
            con.execute(f"ALTER TABLE {table} DROP COLUMN {name}").fetchall()
    con.close()


def test_a_store_of_version_2_is_migrated_once(tmp_path: Path) -> None:
    """The tables are those of a new store, what was in them stays, and its rules go on."""
    path = tmp_path / "old.duckdb"
    made_before(path)
    with pytest.raises(StoreError, match=r"schema version 2.*labeling compact"):
        Store.open(path, read_only=True)
    with Store.open(path) as store, Store.open(tmp_path / "new.duckdb") as new:
        assert columns(store) == columns(new)
        assert {name for name, *_ in columns(store)} >= {t.name for t in TABLES}
        assert store.query("SELECT paid FROM clicks").rows() == [(2e-6,)]
        changed = store.query("SELECT user_id, revision, touch_id FROM label_changes ORDER BY ALL")
        assert changed.rows() == [("u", 2, None), ("v", 2, None)]
        with store.commit("return") as commit:
            back = (key("v", 6), 3, "insert", None, value(7))
            commit.publish(CLICKS, label_changes([back]))
        found = store.current(CLICKS, keys(key("v", 6)))
        assert found.select("revision", "present").rows() == [(3, True)]
        publish(store, [row(100, None), row(100, 1)])
        assert store.query("FROM buys_touches").height == 1
    with Store.open(path, read_only=True) as again:
        assert again.query("SELECT value FROM meta WHERE key = 'schema_version'").item() == "4"
