"""The formats of samples: what is told of each, folded, is what the store holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from labeling import end_of_day
from labeling.io.remote.parcel import Packer, Unpacker
from labeling.io.store import sample_views
from labeling.io.store.sample_views import delay_text
from labeling.model.event import TS
from tests.sample_told import FORMATS, LABELS, MINUTE, POINTS, SAMPLES, T0, T0_MS, Key, Telling

Rows = dict[Key, dict[str, Any]]


@pytest.fixture(scope="module", params=[1])
def lived(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Telling]:
    """Hours of rows: late ones, failed commits, features late or never, a healed hour.

    The tests only read it.
    """
    telling = Telling(tmp_path_factory.mktemp("lived"), request.param)
    luck = telling.random
    for number in range(11):
        # Once the flow was down: a long way at once.
        minutes = 75 if number == 4 else luck.uniform(0.5, 9.5)
        f_ms = telling.f_ms + round(minutes * MINUTE)
        telling.show(luck.randrange(6, 18), f_ms)
        if number in (4, 7):
            telling.step(f_ms, late=2, fails=True)
        telling.step(f_ms, late=luck.randrange(3))
    healed = min(telling.lives.values(), key=lambda life: life.key[1]).key
    was = telling.lives[healed].said[-1][1]
    telling.heal(T0, healed, clicked=not was)
    yield telling
    telling.close()


def fold(told: Iterable[dict[str, Any]]) -> Rows:
    """The last record of each key, unless it takes the row back."""
    rows: Rows = {}
    for record in told:
        key = key_of(record)
        if record["kind"] == "retract":
            rows.pop(key, None)
        else:
            rows[key] = record
    return rows


def key_of(record: dict[str, Any]) -> Key:
    """The key of a row, its time as one."""
    at = record["anchor_ts"]
    return (
        record["user_id"],
        datetime.fromisoformat(at) if isinstance(at, str) else at,
        record["anchor_id"],
    )


def shown(telling: Telling, name: str) -> list[dict[str, Any]]:
    """The rows of a view that have features."""
    frame = telling.store.query(f"SELECT * FROM {name} WHERE status = 'joined' ORDER BY ALL")
    return list(frame.iter_rows(named=True))


def same(record: dict[str, Any], row: dict[str, Any], but: tuple[str, ...] = ()) -> bool:
    """Whether a record says what a row says."""
    times = {"anchor_ts", "served_ts"}
    return all(
        (datetime.fromisoformat(record[c]) if c in times else record[c]) == value
        for c, value in row.items()
        if c in record and c not in but
    )


def test_each_stream_folds_to_the_samples(lived: Telling) -> None:
    """Whatever failed, came late, or was healed.

    Of ``changes`` and ``delay_buckets`` it is all samples, of ``wait`` the final ones, of ``fnw``
    the labels of all.
    """
    rows = {key_of(row): row for row in shown(lived, SAMPLES.name)}
    final = {key_of(row): row for row in shown(lived, f"{SAMPLES.name}_final")}
    assert 5 < len(final) < len(rows) < len(lived.lives)
    expected = {"changes": rows, "delay_buckets": rows, "wait": final, "fnw": rows}
    for name, samples in expected.items():
        folded = fold(lived.told(name))
        assert folded.keys() == samples.keys(), name
        # A record is of the commit that told it.
        but = ("clicks", "weight", "revision", "commit") if name == "fnw" else ("commit",)
        assert all(same(folded[key], row, but) for key, row in samples.items()), name
        assert all(r["features"] == {"ctr": int(key[0][1:]) / 8} for key, r in folded.items())


def test_each_view_is_what_its_topic_says(lived: Telling) -> None:
    """Row by row and column by column; of ``fnw`` the negatives and the positives apart."""
    for name in ("wait", "delay_buckets", "fnw"):
        view = shown(lived, f"{SAMPLES.name}_{name}")
        last: dict[Any, dict[str, Any]] = {}
        for record in lived.told(name):
            key = key_of(record)
            if record["kind"] in ("retract", "fake_negative"):
                last = {k: r for k, r in last.items() if k[0] != key}
            if record["kind"] != "retract":
                last[key, record["kind"] == "duplicate"] = record
        assert len(view) == len(last)
        for row in view:
            told = last[key_of(row), row.get("kind") == "duplicate"]
            assert same(told, row), (name, told, row)


def test_buckets_say_what_was_published_at_each_point(lived: Telling) -> None:
    """The last word of a point up to the delay, and null until ``F`` has passed it."""
    for row in shown(lived, f"{SAMPLES.name}_delay_buckets"):
        life = lived.lives[key_of(row)]
        anchor = int(row["anchor_ts"].timestamp() * 1000)
        # The hour that was healed is complete; of a row that is there the first point has passed.
        passed = [d for d in POINTS if d == POINTS[0] or anchor + d < lived.f_ms]
        known = {f"clicked_at_{delay_text(d)}": life.at(d) for d in passed}
        assert {c: row[c] for c in known} == known
        assert not [c for c in row if "_at_" in c and c not in known and row[c] is not None]
        assert (row["matured_ms"], row["final"]) == (passed[-1], passed[-1] == POINTS[-1])


def test_observed_labels_come_before_true_ones(lived: Telling) -> None:
    """``es_dfm``: what the first point said, and positives again that were none then.

    ``defer``: the same, and all final samples again. Negatives left out then were not observed.
    """
    samples = {key_of(row): row for row in shown(lived, SAMPLES.name)}
    final = {key_of(row) for row in shown(lived, f"{SAMPLES.name}_final")}
    for name in ("es_dfm", "defer"):
        rows = shown(lived, f"{SAMPLES.name}_{name}")
        observed = {key_of(r): r for r in rows if r["kind"] == "observed"}
        again = {key_of(r): r for r in rows if r["kind"] == "duplicate"}
        assert len(observed) + len(again) == len(rows)
        for key, row in observed.items():
            assert row["clicked"] == lived.lives[key].at(POINTS[0])
            assert row["matured_ms"] == POINTS[0]
        unseen = samples.keys() - observed.keys()
        assert unseen
        assert not [k for k in unseen if lived.lives[k].at(POINTS[0]) or not samples[k]["clicked"]]
        if name == "defer":
            assert again.keys() == final
            assert all(row["clicked"] == samples[key]["clicked"] for key, row in again.items())
            continue
        late = {k for k, r in samples.items() if r["clicked"] and not lived.lives[k].at(POINTS[0])}
        assert again.keys() == late
        for key, row in again.items():
            assert row["matured_ms"] == next(d for d in POINTS if lived.lives[key].at(d))


def test_a_sample_is_first_told_as_a_negative(lived: Telling) -> None:
    """``fnw``: the negative comes first, unless it was one of those left out.

    A positive of the first point has both.
    """
    told: dict[Key, list[str]] = {}
    for record in lived.told("fnw"):
        told.setdefault(key_of(record), []).append(record["kind"])
        assert record["clicked"] == (record["kind"] == "duplicate") or record["kind"] == "retract"
    firsts = [kinds[0] for kinds in told.values()]
    assert {"fake_negative", "duplicate"} == set(firsts)
    always = {key for key in told if all(clicked for _, clicked, _ in lived.lives[key].said)}
    clicked = {key for key in always if lived.lives[key].said[0][0] == POINTS[0]}
    assert clicked
    assert all(told[key][:2] == ["fake_negative", "duplicate"] for key in clicked)


def test_failed_commits_tell_nothing(tmp_path: Path) -> None:
    """Records are numbered by commit and place, without gaps or repeats, in every topic."""
    telling = Telling(tmp_path, 9)
    telling.show(20, T0_MS + 2 * MINUTE)
    for minute in (5, 12, 40):
        telling.step(T0_MS + minute * MINUTE, late=3, fails=True)
        telling.step(T0_MS + minute * MINUTE, late=3)
    for name in FORMATS:
        places = [(r["commit"], r["at"]) for r in telling.told(name)]
        assert places == sorted(set(places))
        commits = {commit for commit, _ in places}
        assert all((commit, 0) in places for commit in commits)
    telling.close()


def test_arrow_says_what_json_says(tmp_path: Path) -> None:
    """The same rows in the same order for each hour, typed."""
    frames = []
    for encoding in ("json", "arrow"):
        folder = tmp_path / encoding
        folder.mkdir()
        telling = Telling(folder, 3, encoding)
        for minute in range(1, 60, 7):
            telling.show(5, T0_MS + minute * MINUTE)
            telling.step(T0_MS + minute * MINUTE, late=1)
        frames.append({name: telling.told(name) for name in FORMATS})
        telling.close()
    texts, typed = frames
    for name in FORMATS:
        assert len(texts[name]) == len(typed[name]) > 0
        assert all(same(a, b) for a, b in zip(texts[name], typed[name], strict=True))
        assert isinstance(typed[name][0]["anchor_ts"], datetime)


def test_a_delay_is_named_as_it_is_written() -> None:
    """Days to milliseconds, and the end of a calendar window."""
    delays = (90_061_001, 1_800_000, 0, None)
    assert [delay_text(d) for d in delays] == ["1d1h1m1s1ms", "30m", "0ms", "end"]
    assert pl.Series([timedelta(milliseconds=90_061_001)]).dt.total_milliseconds()[0] == delays[0]


def test_every_shape_of_rule_has_its_views(tmp_path: Path) -> None:
    """Without early points, and with a calendar window: a last point that only an hour tells."""
    plain = replace(LABELS, name="plain", early=())
    calendar = replace(LABELS, name="calendar", window=end_of_day())
    telling = Telling(tmp_path)
    for labels, buckets in (
        (plain, ["clicked_at_30m"]),
        (calendar, ["clicked_at_1m", "clicked_at_10m", "clicked_at_end"]),
    ):
        sample = replace(SAMPLES, name=f"{labels.name}_samples", labels=labels)
        values = {"clicked": True, "kept": 10**9, "weight": 10**6, "status": "joined"}
        row = {"user_id": "u", "anchor_ts": T0, "anchor_id": "a", "revision": 1, **values}
        frame = pl.DataFrame([row]).with_columns(pl.col("anchor_ts").cast(TS))
        with telling.store.commit("rows") as commit:
            commit.publish_first(sample.table, frame, pl.DataFrame())
        shown_now = {name: shown(telling, f"{sample.name}_{name}") for name in sample_views.FORMATS}
        known = shown_now["delay_buckets"][0]
        assert [c for c in known if "_at_" in c] == buckets
        kinds = {name: [r["kind"] for r in rows if "kind" in r] for name, rows in shown_now.items()}
        assert kinds["fnw"] == ["duplicate", "fake_negative"]
        # Nothing says that the last point of the calendar has passed, nor of the half hour.
        assert shown_now["wait"] == []
        with telling.store.commit("hour") as commit:
            commit.set_hours(sample.table, {T0: True}, archive_commit=0)
        assert shown(telling, f"{sample.name}_wait")[0]["final"]
        assert shown(telling, f"{sample.name}_delay_buckets")[0][buckets[-1]]
        assert min(r["kind"] for r in shown(telling, f"{sample.name}_defer")) == "duplicate"
    telling.close()


def test_a_table_of_samples_is_the_same_elsewhere(tmp_path: Path) -> None:
    """A publication that another process asks for makes the same views."""
    with (tmp_path / "parcel").open("wb+") as file:
        with Packer(file) as packer:
            packer.close(packer.pack(SAMPLES.table))
        file.seek(0)
        unpacker = Unpacker(file)
        assert unpacker.unpack(unpacker.value) == SAMPLES.table
