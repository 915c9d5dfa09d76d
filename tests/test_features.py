"""Features from a configuration into files that the store names: imports, rejects, compaction.

Always holds: what is counted of them is what is counted of events. The live flow is in
test_features_live.py, what reads the files in test_feature_files.py.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling import Event, Features, LabelRule, SampleRule, happened
from labeling.config import load_config, load_tree, parse_config
from labeling.config.features import apart_from, waits_of
from labeling.engine.keys import text_key
from labeling.errors import ConfigError, DataError
from labeling.io.compaction import compact, stems
from labeling.io.feature_archive import content_key, feature_archives
from labeling.io.store import Store
from labeling.model.event import EXTRA_TYPES
from tests.features_project import FEATURES, FeaturesProject, item, request
from tests.import_project import row
from tests.replay_project import same_modules
from tests.store_shapes import T0

MAP = {"request_id": "r", "item_id": "i", "served_ts": "t"}
SOURCE: dict[str, Any] = {
    "name": "ranker", "kind": "features", "files": "x", "features": {"ctr": "f64"}, "map": MAP,
}  # fmt: skip
LABELS = LabelRule(
    name="shown", anchor=Event("show"), match=("user_id",), window="30m",
    labels={"clicked": happened("click")}, carry=("request_id", "item_id"),
)  # fmt: skip
READS_FEATURES = LabelRule(
    name="odd", anchor=Event("features"), match=("user_id",), window="30m",
    labels={"clicked": happened("click")},
)  # fmt: skip
SAMPLES = SampleRule(name="samples", labels=LABELS, label="clicked", features=Features("ranker"))
STRAY = SampleRule(name="stray", labels=LABELS, label="clicked", features=Features("rankr"))
ALONE = LabelRule(
    name="alone", anchor=Event("show"), match=("user_id",), window="30m",
    labels={"clicked": happened("click")},
)  # fmt: skip
SOUND, ODD, LOST = (LABELS, SAMPLES), (READS_FEATURES,), (LABELS, STRAY)
REPLAYED = (LABELS, ALONE, SAMPLES)


@pytest.fixture
def project(tmp_path: Path) -> FeaturesProject:
    """An empty one."""
    return FeaturesProject(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"map": MAP | {"user_id": "u"}}, "map.user_id: features have request_id, item_id"),
        ({"map": MAP | {"event_type": "u"}}, "map.event_type: features have"),
        ({"map": {"request_id": "r", "item_id": "i"}}, "map.served_ts is missing"),
        ({"map": MAP | {"crt": "u"}}, "map.crt: .*did you mean 'ctr'"),
        ({"map": MAP | {"served_ts": {"path": "t", "scale": 5}}}, "map.served_ts: a time takes"),
        ({"event_types": ["x"]}, "event_types belongs to kind = 'events'"),
        ({"types": {"a": "b"}}, "types belongs to kind = 'events'"),
        ({"features": {}}, "features is missing"),
        ({"features": {"ctr": "float"}}, "features.ctr: unknown type 'float'"),
        ({"features": {"position": "i64"}}, "features.position: the name is taken"),
        ({"features": {"features_key": "i64"}}, "features.features_key: the name is taken"),
        ({"kind": "feature"}, "kind"),
        ({"kind": "events"}, "features belong to kind = 'features'"),
        (
            {"kind": "events", "features": {}, "map": {"event_type": {"const": "features"}}},
            "event type 'features' is that of features",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], says: str) -> None:
    """Each message names the source, the key, and the fix."""
    with pytest.raises(ConfigError, match=f"'ranker'.*{says}|{says}"):
        parse_config({"source": [SOURCE | change]}, Path("/p/labeling.toml"))


def test_vectors_are_of_features() -> None:
    """Rules have no use for a list of numbers."""
    with pytest.raises(ConfigError, match="for features only"):
        parse_config({"columns": {"emb": "list[f64]"}}, Path("/p/labeling.toml"))


def test_rules_and_samples_are_held_to_the_sources(project: FeaturesProject) -> None:
    """A sample needs its source, and no rule reads features."""
    text = (project.folder / "labeling.toml").read_text()
    for name, says in (("ODD", "a SampleRule joins them"), ("LOST", "did you mean 'ranker'")):
        project.configure(f'rules = "tests.test_features:{name}"\n{text}')
        with same_modules(), pytest.raises(ConfigError, match=says):
            load_tree(project.config)
    project.configure(f'rules = "tests.test_features:SOUND"\n{text}')
    with same_modules():
        tree = load_tree(project.config)
    waits = waits_of(tree.samples)
    assert waits == {"shown@1": {"features:ranker"}}
    assert apart_from(project.config.sources, ["ranker"]) == []
    assert apart_from(project.config.sources, []) == ["ranker"]


def test_a_list_of_items_gives_a_record_each(project: FeaturesProject) -> None:
    """The item's id is the event's, without a place; a bad element costs itself alone."""
    items = (
        item("a", 0.25, author={"fans": 3}, embedding=[1, 2.5e-3], tags=["x", "y"]),
        item("b", "high"),  # type: ignore[arg-type] # as someone logs it
        item("c", embedding=[1, None]),
        item("d", None),
    )
    totals = project.load(project.file("a.ranked", [request("r", 0, *items)]), source="ranker")
    assert (totals.records, totals.events, totals.rejected, totals.accepted) == (1, 4, 2, 2)
    served = project.served()
    keys = served.select("user_id", "event_id", "event_type", "request_id", "item_id").rows()
    assert keys == [("r", i, "features", "r", i) for i in "ad"]
    assert served["event_ts"].unique().to_list() == [T0]
    assert served.select(FEATURES).rows() == [
        (0.25, 3, [1.0, 0.0025], ["x", "y"]),
        (None, None, None, None),
    ]
    assert served["props"].null_count() == 2
    rejects = project.query("SELECT index, reason, detail FROM rejects ORDER BY index").rows()
    assert [r[:2] for r in rejects] == [(1, "wrong_type"), (2, "wrong_type")]
    assert "list of numbers" in rejects[1][2]
    assert project.registered() == []
    told = project.command("source", "try", "ranker")
    assert "2 events, 2 rejects" in told.output


def test_an_import_is_idempotent_and_rejects_come_again(project: FeaturesProject) -> None:
    """Counts add up; what was fixed is taken in once; conflicts are those of the content."""
    rows = [request("r", n, item("a", n), item("b", "x" if n == 2 else n)) for n in range(4)]  # type: ignore[arg-type] # as someone logs it
    path = project.file("a.ranked", rows)
    project.load(path, source="ranker")
    again = project.load(path, source="ranker")
    assert (again.accepted, again.duplicate, again.rejected) == (0, 7, 1)
    other = project.file("b.ranked", [request("r", 0, item("a", 9.0))])
    assert project.load(other, source="ranker").conflicts == 1
    text = (project.folder / "labeling.toml").read_text()
    project.configure(text.replace('kind = "features"', 'kind = "features"\nnull_tokens = ["x"]'))
    assert project.command("rejects", "retry").exit_code == 0
    project.configure(text)
    assert project.query("SELECT accepted FROM counts_total WHERE source = 'ranker'").item() == 8
    assert project.query("SELECT bool_and(adds_up) FROM counts_total").item()
    assert project.query("SELECT count(*) FROM archive_files").item() == 0


def test_a_lost_file_is_told_and_forgotten(project: FeaturesProject) -> None:
    """The advice names the file as --forget takes it."""
    project.load(project.file("a.ranked", [request("r", 0, item("a"))]), source="ranker")
    name = project.query("SELECT name FROM feature_files").item()
    (project.config.archive / "features/ranker" / name).unlink()
    with pytest.raises(DataError, match=f"--forget features/ranker/{name}"):
        project.served()
    done = project.command("import", "--forget", f"features/ranker/{name}")
    assert done.exit_code == 0, done.output
    assert project.served().is_empty()


def test_tails_become_hours_sorted_by_request(project: FeaturesProject) -> None:
    """The records stay, with their origin and keys; what nobody names is deleted."""
    rows = [request(f"r{n % 7}", 60 * n, item(f"i{n}", n / 3)) for n in range(120)]
    project.load(project.file("a.ranked", rows), source="ranker")
    before = project.served()
    config = project.config
    archive = feature_archives(config)["ranker"]
    with Store.open(config.store) as store:
        hours = store.feature_files("ranker")
        with store.commit("as a stream would have") as commit:
            commit.remove_feature_files("ranker", [f.name for f in hours])
            parts = [before[:50], before[50:]]
            stem = f"tail-{store.store_id}-000001-000"
            tails = [archive.write_tail(p, f"{stem}-{n}") for n, p in enumerate(parts)]
            commit.add_feature_files("ranker", tails)
        keys = pl.read_parquet(archive.root / tails[0].name)["user_key"]
        assert keys.is_sorted()
        done = compact(store, archive, T0.replace(hour=23), stems(store).__next__)
        assert (done.tails, done.events, len(done.hours)) == (2, 120, 2)
        assert {f.kind for f in store.feature_files("ranker")} == {"hour"}
        assert store.files() == []
    assert project.served().equals(before)
    left = {p.relative_to(archive.root).as_posix() for p in archive.root.rglob("*.parquet")}
    named = set(project.query("SELECT name FROM feature_files")["name"])
    assert named <= left
    assert not any(name.startswith("tail/") for name in left)


def test_the_key_is_the_content() -> None:
    """Written down once: another version of a library must give the same."""
    frame = pl.DataFrame(
        {"f": [0.1, None], "t": ["", None], "l": [["a,b"], []], "v": [[0.5], None], "props": None},
        schema_overrides={"props": pl.String},
    )
    keys = frame.select(content_key(frame.schema, ("f", "t", "l", "v"))).to_series()
    texts = ["f4591870180066957722|+0:|1[+3:a,b|1[f4602678819172646912|-", "-|-|0[|-|-"]
    of_texts = pl.DataFrame({"t": texts}).select(text_key(pl.col("t")).reinterpret(dtype=pl.Int64))
    assert keys.to_list() == of_texts["t"].to_list() == KNOWN_KEYS


#: As xxh3 has always given them.
KNOWN_KEYS = [-4150255870567037331, 8003946722527869693]
VALUES = {
    "str": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3),
    "i32": st.integers(-2, 2),
    "i64": st.sampled_from([0, 1, -1, 2**62]),
    "f64": st.sampled_from([0.0, 1.0, 0.1, 0.1 + 2**-56, 1e300]),
    "bool": st.booleans(),
    "datetime": st.sampled_from([T0, T0.replace(minute=1)]),
    "list[str]": st.lists(st.sampled_from(["", "a", ",", "1:a", "+1:a"]), max_size=3),
    "list[f64]": st.lists(st.sampled_from([0.0, 1.0, 0.5]), max_size=3),
}


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_equal_content_has_equal_keys_and_no_other(data: st.DataObject) -> None:
    """Nulls, empty texts, empty lists, separators inside texts, neighbouring floats."""
    kinds = {k: data.draw(st.sampled_from(sorted(VALUES))) for k in ("a", "b")}
    one = st.tuples(*(st.none() | VALUES[kind] for kind in kinds.values()))
    rows = data.draw(st.lists(one, min_size=2, max_size=12))
    schema = {k: EXTRA_TYPES[kind] for k, kind in kinds.items()}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        props=pl.lit(None, pl.String)
    )
    keys = frame.select(content_key(frame.schema, ("a", "b"))).to_series().to_list()
    by_content: dict[str, int] = {}
    for content, key in zip(rows, keys, strict=True):
        assert by_content.setdefault(repr(content), key) == key
    assert len(set(by_content.values())) == len(by_content)
    assert not any(math.isnan(k) for k in keys)


def test_a_features_file_is_loaded_by_name(tmp_path: Path) -> None:
    """Without a map the keys are the fields of their names."""
    (tmp_path / "labeling.toml").write_text(
        '[[source]]\nname = "r"\nkind = "features"\nfiles = "x"\nfeatures = { a = "f64" }\n'
    )
    (emit,) = load_config(tmp_path / "labeling.toml").sources[0].emits()
    assert {c: s.path for c, s in emit.map.items() if s.path} == {
        "request_id": "request_id", "user_id": "request_id", "item_id": "item_id",
        "event_id": "item_id", "event_ts": "served_ts", "a": "a",
    }  # fmt: skip


def test_a_replay_waits_for_the_features_of_samples(project: FeaturesProject) -> None:
    """Of other rules it does not; more features make an hour that was replayed worth another."""
    text = (project.folder / "labeling.toml").read_text()
    project.configure(f'rules = "tests.test_features:REPLAYED"\n{text}')
    shown = [row(n, type="show", user=f"u{n}") for n in range(3)]
    project.load(project.file("a.jsonl", shown))

    def replay() -> str:
        with same_modules():
            args = ("--from", "2026-11-20T10", "--to", "2026-11-20T11")
            return project.command("replay", *args).output

    first = replay()
    assert "alone@1: 1 hours published" in first
    assert "shown@1: nothing to publish" in first
    served = project.file("a.ranked", [request("r", 0, item("i0"))])
    project.load(served, source="ranker")
    second = replay()
    assert "shown@1: 1 hours published" in second
    assert "alone@1: nothing to publish" in second
    assert "shown@1: nothing to publish" in replay()
    project.load(project.file("b.ranked", [request("r", 1, item("i1"))]), source="ranker")
    third = replay()
    assert "shown@1: 1 hours published" in third
    assert "alone@1: nothing to publish" in third
