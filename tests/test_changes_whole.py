"""``changes`` of sets that are returned whole: what left a set is retracted from that point on.

Always holds: a plain-Python table, which is told of each set in turn, ends the same.

Not promised: anything about rules. Sets here are drawn.
"""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from labeling.engine.changes import apply, changes, empty_stored
from labeling.model.event import TS
from tests.strategies import examples

WHOLE = ("user_id", "anchor_ts", "anchor_id")
KEYS = (*WHOLE, "touch_ts", "touch_id")
KEY_TYPES = {"user_id": pl.String(), "anchor_ts": TS, "anchor_id": pl.String()}
TOUCH_TYPES = {"touch_ts": TS, "touch_id": pl.String()}
VALUES = {"credit": pl.Int64(), "path": pl.List(pl.String())}
META = {"point_ts": TS, "reason": pl.String(), "present": pl.Boolean()}
SCHEMA = {**META, **KEY_TYPES, **TOUCH_TYPES, **VALUES}
NOTHING = empty_stored({**KEY_TYPES, **TOUCH_TYPES, **VALUES}, KEYS)
PATHS: tuple[list[str | None] | None, ...] = (None, [], ["a"], ["a", None])
#: What is returned of an action at a point: each key of its set, by number, with its value; None:
#: absent, as a repeat's own row is.
Returned = dict[tuple[int, int], dict[int, int | None]]
RETURNED = st.dictionaries(
    st.tuples(st.integers(0, 2), st.integers(1, 4)),
    st.dictionaries(st.integers(0, 3), st.none() | st.integers(0, 3), min_size=1, max_size=3),
    max_size=6,
)


def framed(returned: Returned) -> pl.DataFrame:
    """What is returned, as ``changes`` takes it."""
    rows = [
        {
            "point_ts": point,
            "reason": f"reason of {point}",
            "present": value is not None,
            **named(action, n),
            "credit": value,
            "path": None if value is None else PATHS[value],
        }
        for (action, point), keys in returned.items()
        for n, value in keys.items()
    ]
    numbers = {c: pl.Int64() for c in ("point_ts", "anchor_ts", "touch_ts")}
    return pl.DataFrame(rows, schema={**SCHEMA, **numbers}).cast(dict.fromkeys(numbers, TS))


def named(action: int, n: int) -> dict[str, Any]:
    """The key of one row of an action."""
    return {"user_id": "u", "anchor_ts": action, "anchor_id": "a", "touch_ts": n, "touch_id": "t"}


class Table:
    """The slow twin: revision and value (None: absent) by (action, number)."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], tuple[int, int | None]] = {}

    def take(self, returned: Returned) -> list[tuple[Any, ...]]:
        """Put the sets in place, one after the other; the changes that it took."""
        made = []
        for (action, point), keys in sorted(returned.items()):
            there = {n for a, n in self.rows if a == action}
            for n in sorted(there | set(keys)):
                revision, old = self.rows.get((action, n), (0, None))
                new = keys.get(n)
                if new != old:
                    self.rows[action, n] = (revision + 1, new)
                    kind = "insert" if old is None else "retract" if new is None else "update"
                    made.append((action, n, revision + 1, kind, f"reason of {point}", point))
        return sorted(made)


def told(made: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Changes, as ``Table.take`` returns them."""
    plain = made.with_columns(pl.col(TS).dt.epoch("ms"))
    columns = ["anchor_ts", "touch_ts", "revision", "kind", "reason", "point_ts"]
    return sorted(plain.select(columns).iter_rows())


def held(stored: pl.DataFrame) -> dict[tuple[int, int], tuple[int, int | None]]:
    """A stored frame as the table's rows; its lists are what the values say."""
    rows = stored.with_columns(pl.col(TS).dt.epoch("ms")).to_dicts()
    for r in rows:
        assert r["path"] == (PATHS[r["credit"]] if r["present"] else None)
    return {(r["anchor_ts"], r["touch_ts"]): (r["revision"], r["credit"]) for r in rows}


@given(st.lists(RETURNED, max_size=4))
@examples(100)
def test_sets_end_as_in_a_table(batches: list[Returned]) -> None:
    """Batch after batch, several points of a set in one: the same changes, the same revisions."""
    stored, table = NOTHING, Table()
    for returned in batches:
        made = changes(stored, framed(returned), KEYS, whole=WHOLE)
        assert told(made) == table.take(returned)
        stored = apply(stored, made, KEYS)
        assert held(stored) == table.rows


@given(RETURNED, RETURNED)
@examples(100)
def test_changes_of_sets_compose(old: Returned, new: Returned) -> None:
    """What is stored after them is the last set of each action; twice is once; again is silent."""
    stored = apply(NOTHING, changes(NOTHING, framed(old), KEYS, whole=WHOLE), KEYS)
    made = changes(stored, framed(new), KEYS, whole=WHOLE)
    after = apply(stored, made, KEYS)
    assert apply(after, made, KEYS).equals(after)
    last = {a: max(p for b, p in new if b == a) for a, _ in new}
    final = {(a, p): new[a, p] for a, p in last.items()}
    assert changes(after, framed(final), KEYS, whole=WHOLE).is_empty()
    present = {key: value for key, (_, value) in held(after).items() if value is not None}
    before = {k: v for k, (_, v) in held(stored).items() if v is not None and k[0] not in last}
    now = {(a, n): v for (a, _), keys in final.items() for n, v in keys.items() if v is not None}
    assert present == before | now


def backwards(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows in the opposite order; Polars' own ``reverse`` forgets the type of empty lists."""
    return frame[list(range(frame.height - 1, -1, -1))]


@given(RETURNED, RETURNED)
@examples(50)
def test_the_order_of_rows_does_not_matter(old: Returned, new: Returned) -> None:
    """Stored and returned rows are sets; the changes come in one order."""
    stored = apply(NOTHING, changes(NOTHING, framed(old), KEYS, whole=WHOLE), KEYS)
    rows = framed(new)
    made = changes(stored, rows, KEYS, whole=WHOLE)
    assert changes(backwards(stored), backwards(rows), KEYS, whole=WHOLE).equals(made)
    order = ("point_ts", "anchor_ts", "anchor_id", "user_id", "touch_ts", "touch_id")
    assert made.equals(made.sort(order))


def test_an_undo_takes_touches_back_and_a_refund_does_not() -> None:
    """The plain case: a touch that is not among the rows of a later point is retracted there."""
    made = changes(NOTHING, framed({(5, 5): {5: 1, 2: 2}, (5, 9): {5: 3}}), KEYS, whole=WHOLE)
    assert told(made) == [
        (5, 2, 1, "insert", "reason of 5", 5),
        (5, 2, 2, "retract", "reason of 9", 9),
        (5, 5, 1, "insert", "reason of 5", 5),
        (5, 5, 2, "update", "reason of 9", 9),
    ]
    alone = changes(NOTHING, framed({(5, 5): {5: 1, 2: 2}, (5, 9): {5: 3}}), KEYS)
    assert alone.filter(kind="retract").is_empty()
