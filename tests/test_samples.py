"""Samples of label rows, by hand: clauses S3 to S11 of docs/samples.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from labeling import Features, SampleRule
from labeling.engine.keys import text_key
from labeling.errors import StoreError
from labeling.model.table import RuleTable
from labeling.products.samples.rows import SampleRows
from labeling.products.samples.unused import unused
from tests.model.samples import Key, Row, Samples, Served
from tests.sample_drive import (
    HOUR,
    LABELS,
    MINUTE,
    SAMPLES,
    T0,
    T0_MS,
    TABLE,
    Drive,
    State,
    check,
    declared,
)

#: Negatives of the first are not kept, those of the second are.
LOST: Final = ("u0", T0_MS, "a")
KEPT: Final = ("u2", T0_MS + 2 * MINUTE, "a")


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Drive]:
    """A store of its own."""
    with Drive(tmp_path) as one:
        yield one


def shown(key: Key, clicks: int = 0, reason: str = "point", **more: Any) -> State:
    """A state of a label row."""
    row = {"request_id": "r", "item_id": "i", "clicked": clicks > 0, "clicks": clicks}
    return (key, row | more, reason)


def gone(key: Key) -> State:
    """No label row any more."""
    return (key, None, "late")


def said(drive: Drive) -> list[tuple[str, int, str, str]]:
    """User, revision, kind and reason of every change of a sample."""
    return [(t.key[0], t.revision, t.kind, t.reason) for t in drive.heard.told]


def row_of(drive: Drive, key: Key) -> Row:
    """What the current sample says beyond its label row."""
    row = drive.rows()[key]
    return {c: row[c] for c in ("status", "served_ts", "features_key", "kept", "weight")}


def test_positives_are_all_there_negatives_in_part(drive: Drive) -> None:
    """S6 and S7: a negative that is not kept has no sample; weights are of the label row."""
    other = ("u1", T0_MS + MINUTE, "a")
    drive.commit([shown(LOST), shown(KEPT), shown(other, 2)])
    assert row_of(drive, KEPT) == {
        "status": "no_features", "served_ts": None, "features_key": None,
        "kept": 500_000_000, "weight": 1_000_000,
    }  # fmt: skip
    assert row_of(drive, other)["kept"] == 1_000_000_000
    assert row_of(drive, other)["weight"] == 1_500_000
    assert {*drive.rows()} == {KEPT, other}
    shown_in_views = drive.store.query("SELECT user_id, kept, weight FROM shown_samples ORDER BY 1")
    assert shown_in_views.rows() == [("u1", 1.0, 1.5), ("u2", 0.5, 1.0)]


def test_the_hash_that_keeps_is_pinned(drive: Drive) -> None:
    """S6: xxh3_64 by its published vector, and the limit is exact to the last of 10^9 parts."""
    assert pl.select(text_key(pl.lit(""))).item() == 0x2D06800538D394C2
    rule = declared()
    u = rule.hashed(f"shown_samples|u0|{T0_MS}|a")
    parts = u * 10**9 // 2**64
    frame = pl.DataFrame({"user_id": ["u0"], "anchor_ts": [T0], "anchor_id": ["a"]})
    for kept, there in ((parts, False), (parts + 1, True)):
        sample = SampleRule(name="shown_samples", labels=LABELS, label="clicked",
                            features=Features("ranker"), negatives=kept / 10**9)  # fmt: skip
        assert sample.kept_parts == kept
        assert frame.select(SampleRows(sample, drive.context.features).kept).item() is there


def test_turning_positive_and_back(drive: Drive) -> None:
    """S6 and S8: inserted when it turns, retracted when it turns back, back with the next one."""
    drive.commit([shown(LOST), shown(KEPT)])
    drive.commit([shown(LOST, 1), shown(KEPT, 1)])
    drive.commit([shown(LOST, 0, "late"), shown(KEPT, 0, "late")])
    drive.commit([shown(LOST, 3)])
    assert said(drive) == [
        ("u2", 1, "insert", "point"),
        ("u0", 1, "insert", "point"), ("u2", 2, "update", "point"),
        ("u0", 2, "retract", "late"), ("u2", 3, "update", "late"),
        ("u0", 3, "insert", "point"),
    ]  # fmt: skip


def test_changes_of_one_commit_keep_their_order(drive: Drive) -> None:
    """S8: of a key that turns twice in one publication both changes are told; rows go with rows."""
    drive.commit([shown(LOST), shown(LOST, 1), shown(LOST, 0, "late"), shown(LOST, 2)])
    assert said(drive) == [
        ("u0", 1, "insert", "point"), ("u0", 2, "retract", "late"), ("u0", 3, "insert", "point"),
    ]  # fmt: skip
    drive.commit([gone(LOST)])
    assert drive.rows() == {}
    assert said(drive)[-1] == ("u0", 4, "retract", "late")


@pytest.mark.parametrize(
    ("served", "found"),
    [
        ([], None),
        ([(-10 * MINUTE, 5)], (-10 * MINUTE, 5)),
        ([(-10 * MINUTE - 1, 5)], None),
        ([(MINUTE, 5)], (MINUTE, 5)),
        ([(MINUTE + 1, 5)], None),
        ([(10, 5), (-20, 9), (0, 1)], (-20, 9)),
        ([(0, 7), (0, -7)], (0, -7)),
    ],
)
def test_which_features_count(
    drive: Drive, served: list[tuple[int, int]], found: tuple[int, int] | None
) -> None:
    """S3: both ends inclusive, up to the first delay after; the first by time, then by key."""
    records = [Served("r", "i", KEPT[1] + at, key) for at, key in served]
    others = [Served("r", "j", KEPT[1], 1), Served("q", "i", KEPT[1], 1)]
    drive.commit([shown(KEPT)], [*records, *others])
    row = row_of(drive, KEPT)
    assert row["status"] == ("no_features" if found is None else "joined")
    expected = (None, None) if found is None else (KEPT[1] + found[0], found[1])
    assert (row["served_ts"], row["features_key"]) == expected


@pytest.mark.parametrize("column", ["request_id", "item_id"])
def test_a_row_without_request_or_item_has_no_features(drive: Drive, column: str) -> None:
    """S3: null names nothing, also where features came."""
    null: dict[str, Any] = {column: None}
    drive.commit([shown(KEPT, **null)], [Served("r", "i", KEPT[1], 5)])
    drive.commit([], [Served("r", "i", KEPT[1], 4, "late")])
    assert row_of(drive, KEPT)["status"] == "no_features"
    assert len(drive.heard.told) == 1


def test_late_features_both_ways(drive: Drive) -> None:
    """S9 and S10: they join what had none, and come before what had; others change nothing."""
    at = KEPT[1]
    drive.commit([shown(KEPT), shown(LOST)])
    for ms, key in ((at, 5), (at + 1, 1), (at, 6), (at - 1, 9), (at - 1, 8)):
        drive.commit([], [Served("r", "i", ms, key, "late")])
    assert said(drive) == [
        ("u2", 1, "insert", "point"), ("u2", 2, "update", "late"),
        ("u2", 3, "update", "late"), ("u2", 4, "update", "late"),
    ]  # fmt: skip
    assert [t.new and t.new["features_key"] for t in drive.heard.told] == [None, 5, 9, 8]
    assert drive.differences().is_empty()


def test_too_late_features_are_replay_s(drive: Drive) -> None:
    """S3 and S11: the stream does not see them; replay does, and what follows it keeps them."""
    drive.commit([shown(KEPT)], [Served("r", "i", KEPT[1] - 5, 3, "too_late")])
    drive.commit([], [Served("r", "i", KEPT[1], 4, "late")])
    assert row_of(drive, KEPT)["features_key"] == 4
    drive.replay(T0)
    assert said(drive)[-1] == ("u2", 3, "update", "replay")
    drive.commit([shown(KEPT, 1, "late")])
    assert row_of(drive, KEPT)["features_key"] == 3
    assert drive.differences().is_empty()
    drive.commit([], [Served("r", "i", KEPT[1] - 6, 2, "too_late")])
    found = drive.differences()
    assert found.select("kind", "cause").rows() == [("different", "too late")]
    assert '"features_key":2' in found["recounted"].item()


def test_counting_anew_finds_what_is_wrong(drive: Drive) -> None:
    """A sample that is missing, one too many and another value are each told, as bugs."""
    keys = [("p", T0_MS, "a"), ("q", T0_MS + 1, "a"), ("s", T0_MS + 2, "a")]
    drive.commit([shown(key, 1) for key in keys[:2]])
    drive.store.database.run("DELETE FROM shown_samples_v1 WHERE user_id = 'p'")
    drive.store.database.run("UPDATE shown_samples_v1 SET clicks = 7 WHERE user_id = 'q'")
    drive.store.database.run(
        "INSERT INTO shown_samples_v1 BY NAME SELECT * REPLACE ('s' AS user_id) "
        "FROM shown_samples_v1"
    )
    found = drive.differences()
    assert found.select("user_id", "kind", "cause").rows() == [
        ("p", "missing", "bug"), ("q", "different", "bug"), ("s", "extra", "bug"),
    ]  # fmt: skip
    assert found.filter(user_id="q").select("stored", "recounted").row(0) == (
        '{"clicks":7}',
        '{"clicks":1}',
    )


def test_samples_begin_with_their_rule(tmp_path: Path) -> None:
    """S11: rows that were there before have samples after a replay, in one change each."""
    with Drive(tmp_path) as drive:
        begun, drive.store.listener = drive.store.listener, drive.heard
        drive.commit([shown(KEPT, 1)], [Served("r", "i", KEPT[1], 5)])
        drive.store.listener = begun
        later = ("u9", T0_MS + HOUR.seconds * 1000, "a")
        drive.commit([shown(later, 1)])
        assert {*drive.rows()} == {later}
        drive.replay(T0)
        assert said(drive) == [("u9", 1, "insert", "point"), ("u2", 1, "insert", "replay")]
        assert row_of(drive, KEPT)["features_key"] == 5


def test_a_commit_that_fails_leaves_nothing(drive: Drive) -> None:
    """Made again it gives what it would have given: neither rows nor books are half there."""
    oracle = Samples(declared())
    steps = [
        ([shown(KEPT), shown(LOST, 1)], [Served("r", "i", KEPT[1], 5)]),
        ([shown(LOST), shown(KEPT, 1)], [Served("r", "i", KEPT[1] - 1, 5, "late")]),
    ]
    for states, served in steps:
        before = drive.rows() if oracle.told else None
        with pytest.raises(RuntimeError, match="fails"):
            drive.commit(states, served, fails=True)
        if before is None:
            assert drive.store.query("FROM rules").is_empty()
        else:
            assert drive.rows() == before
        drive.commit(states, served)
        oracle.commit(states, served)
        check(drive, oracle)


def test_status_by_hour(drive: Drive) -> None:
    """S12: how many samples of an hour were joined, and how many were not."""
    drive.commit([shown(KEPT), shown(LOST, 1, request_id=None)], [Served("r", "i", KEPT[1], 5)])
    told = drive.store.query("SELECT * EXCLUDE rule_version FROM shown_samples_status")
    assert told.rows() == [(T0, "joined", 1, 0), (T0, "no_features", 1, 1)]


def test_features_never_shown_are_counted(drive: Drive) -> None:
    """S12: by the hour that they were served in; one that counts for a later hour is used."""
    at, hour = KEPT[1], HOUR.seconds * 1000
    records = [
        Served("r", "i", at, 1), Served("r", "i", at - 1, 1), Served("r", "j", at, 1),
        Served("r", "i", T0_MS - 1, 1), Served("r", "i", at - 10 * MINUTE - 1, 1),
        Served("q", "i", T0_MS + hour, 1),
    ]  # fmt: skip
    drive.commit([shown(KEPT)], records)
    hours = [T0 + HOUR * n for n in (-1, 0, 1, 2)]
    told = unused(drive.store, drive.context, drive.rule, hours)
    assert told.rows() == [(T0 - HOUR, 2, 1), (T0, 3, 1), (T0 + HOUR, 1, 1)]


def test_a_taken_name_of_the_status_is_refused(drive: Drive) -> None:
    """The rule that has it is named, and nothing is published."""
    taken = RuleTable("shown_samples_status", 1, "digest", TABLE.values)
    with drive.store.commit("another") as commit:
        commit.set_hours(taken, {T0: True}, archive_commit=0)
    with pytest.raises(StoreError, match="shown_samples_status"):
        drive.commit([shown(KEPT)])


def test_the_shape_of_a_sample() -> None:
    """S7: the label row's values, then the sample's own; the key is the label row's."""
    assert list(SAMPLES.table.schema) == [
        "user_id", "anchor_ts", "anchor_id", "request_id", "item_id", "clicked", "clicks",
        "status", "served_ts", "features_key", "kept", "weight",
    ]  # fmt: skip


def test_samples_that_outlive_their_label_rows(drive: Drive) -> None:
    """Rows that retention dropped and replay makes anew find their samples: no key twice."""
    states = [shown(KEPT), shown(KEPT, 1), shown(LOST, 2)]
    drive.commit(states)
    drive.store.database.run("DELETE FROM shown_v1")
    drive.replay(T0, states)
    assert drive.store.query("SELECT count(*) AS n FROM shown_samples_v1").item() == 2
    assert drive.differences().is_empty()
    assert [t.revision for t in drive.heard.told if t.key == KEPT] == [1, 2, 3, 4]
