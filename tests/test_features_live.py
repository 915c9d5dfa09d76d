"""Features through the real flow: counted, archived beside events, waited for, told when late.

Always holds: what is asserted of a run that died is what one that did not leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from labeling import Event, Features, LabelRule, SampleRule, happened
from labeling.io.archive import Archive
from labeling.io.feature_archive import feature_archives
from labeling.io.store import Store
from labeling.io.store.listener import Listener
from tests.features_project import RANKER, archived_features, item, request
from tests.kafka_broker import Broker
from tests.live_process import flow
from tests.live_project import LiveProject, shows
from tests.store_shapes import T0

LABELS: Final = LabelRule(
    name="joined", anchor=Event("show"), match=("user_id", "item_id"), window="30m", early=("1m",),
    labels={"clicked": happened("click")}, carry=("request_id", "item_id"),
)  # fmt: skip
OTHER: Final = LabelRule(
    name="alone", anchor=Event("show"), match=("user_id", "item_id"), window="30m",
    labels={"clicked": happened("click")},
)  # fmt: skip
SAMPLES: Final = SampleRule(
    name="samples", labels=LABELS, label="clicked", features=Features("ranker")
)
RULES: Final = (LABELS, OTHER, SAMPLES)
COUNTS: Final = ("events", "rejected", "too_late", "duplicate", "accepted")


@pytest.fixture
def project(broker: Broker, tmp_path: Path) -> LiveProject:
    """Events of one topic, features of two partitions of another."""
    return made(broker, tmp_path)


def made(broker: Broker, folder: Path, batch: int = 10_000, lateness: str = "10m") -> LiveProject:
    """A project of a folder."""
    folder.mkdir(exist_ok=True)
    rules = "tests.test_features_live:RULES"
    one = LiveProject(folder, broker, rules=rules, lateness=lateness)
    one.live["batch_events"] = batch
    topic = one.topic("ranker", 2)
    one.more = RANKER.format(where=f'topics = ["{topic}"]')
    one.source("app")
    return one


def topics(project: LiveProject) -> Mapping[str, str]:
    """Source to its topic."""
    return {s.name: s.topics[0] for s in project.config.sources}


def counts(project: LiveProject) -> dict[str, int]:
    """The totals of the ranker's source."""
    names = ", ".join(COUNTS)
    rows = project.query(f"SELECT {names} FROM counts_total WHERE source = 'ranker'")
    return rows.row(0, named=True)


def ranked(first: int, last: int, step: int = 10) -> list[dict[str, Any]]:
    """A request of two items every few seconds."""
    return [
        request(f"r{s}", s, item("i", s / 7, tags=["t"]), item("j", None))
        for s in range(first, last, step)
    ]


def test_counts_files_and_lateness(project: LiveProject) -> None:
    """Law 5 for features; events' archive, names and watermarks know nothing of them."""
    topic = topics(project)["ranker"]
    project.produce(topic, ranked(0, 3600))
    project.run()
    # The mark is at 3590 s less a minute: late from there on, too late ten minutes below.
    project.produce(topic, [request("late", 3500, item("a"))])
    project.produce(topic, [request("gone", 2000, item("a"))])
    project.produce(topic, [request("r3580", 3580, item("i", 3580 / 7, tags=["t"]))])
    project.produce(topic, [request("r3570", 3570, item("i", 9.0))])
    project.produce(topic, [b"{", request("r", 3590, {"ctr_7d": 1.0})])
    project.run()
    assert counts(project) == {
        "events": 726, "rejected": 2, "too_late": 1, "duplicate": 2, "accepted": 721,
    }  # fmt: skip
    served = archived_features(project.config)
    assert served.height == 722
    marked = served.filter(pl.col("arrival") != "on_time").select("user_id", "arrival").rows()
    assert marked == [("gone", "too_late"), ("late", "late")]
    assert project.query("SELECT count(*) FROM conflicts").item() == 1
    late = project.query("SELECT user_id, event_type, arrival FROM late_events ORDER BY ALL").rows()
    assert late == [("gone", "features", "too_late"), ("late", "features", "late")]
    assert project.query("SELECT count(*) FROM archive_files").item() == 0
    files = project.query("FROM feature_files ORDER BY name")
    assert files["kind"].unique().to_list() == ["tail"]
    root = feature_archives(project.config)["ranker"].root
    assert sorted(p.relative_to(root).as_posix() for p in root.rglob("*.parquet")) == [
        *files["name"]
    ]
    assert served["archived"].null_count() == 0


def test_only_labels_with_samples_wait(project: LiveProject) -> None:
    """``F`` of a rule that samples read is held by the ranker's; that of another is not."""
    by = topics(project)
    project.produce(by["app"], shows(0, 4000))
    project.produce(by["ranker"], ranked(0, 3600))
    # An empty partition counts as idle when one runs until caught up.
    project.run()
    rows = dict(project.query("SELECT name, f_ms FROM watermarks WHERE kind = 'rule'").iter_rows())
    sources = project.query("SELECT name, f_ms FROM watermarks WHERE kind = 'source'")
    of = dict(sources.iter_rows())
    assert rows["joined@1"] == of["ranker"] < rows["alone@1"] == of["app"]
    # 3590 s less a minute has passed, so has the early point of what was shown by 3460 s.
    held = project.query("SELECT max(anchor_ts) FROM joined_v1").item()
    assert held == T0 + timedelta(seconds=3460)
    project.produce(by["ranker"], ranked(3600, 4500))
    project.run()
    again = project.query("SELECT name, f_ms FROM watermarks WHERE kind = 'rule'")
    assert len(set(again["f_ms"])) == 1


def test_a_flow_that_died_leaves_what_another_does(broker: Broker, tmp_path: Path) -> None:
    """Killed before and after what is durable, with everything doubled: each record once."""
    records = ranked(0, 2000)
    crashed, clean = (made(broker, tmp_path / n, 150, "2h") for n in ("crashed", "clean"))
    for project in (crashed, clean):
        by = topics(project)
        project.produce(by["app"], shows(0, 1000))
        for partition in (0, 1):
            project.produce(by["ranker"], records[partition::2], partition)
            project.produce(by["ranker"], records[partition::2], partition)
    for point in ("file named", "after COMMIT"):
        with flow(crashed, "--until-caught-up", die=(point, 4)) as one:
            assert one.died(), f"{point}: not reached"
    crashed.run()
    clean.run()
    columns = [c for c in archived_features(clean.config).columns if c not in _MOVING]
    found, wanted = (archived_features(p.config).select(columns) for p in (crashed, clean))
    assert found.equals(wanted)
    assert counts(crashed) == counts(clean)
    assert counts(clean)["duplicate"] == counts(clean)["accepted"] == 400
    for project in (crashed, clean):
        root = feature_archives(project.config)["ranker"].root
        there = {p.relative_to(root).as_posix() for p in root.rglob("*.parquet")}
        assert there == {*project.query("SELECT name FROM feature_files")["name"]}


def _at_least(wanted: int, told: pl.DataFrame) -> bool:
    return int(told.item()) >= wanted


ACCEPTED: Final = (
    "SELECT CAST(coalesce(sum(accepted), 0) AS BIGINT) FROM counts WHERE source = 'ranker'"
)
#: What differs between two projects, or with how a flow is cut into rounds.
_MOVING: Final = frozenset({"archived", "topic", "arrival", "broker_ts"})


def test_repeats_are_known_after_a_restart(project: LiveProject) -> None:
    """Identities come back from the files, for as long as a repeat is not too late."""
    topic = topics(project)["ranker"]
    project.produce(topic, ranked(0, 600))
    project.run()
    project.produce(topic, ranked(0, 600))
    project.run()
    assert counts(project)["duplicate"] == counts(project)["accepted"] == 120


def test_who_listens_hears_of_late_features(
    project: LiveProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the rows of the commit, with all columns; of other commits' nothing is told."""
    heard: list[tuple[str, int, list[str]]] = []

    class Hearing(Listener):
        def features(self, commit: Any, source: str, late: pl.DataFrame) -> None:
            named = commit.database.value(
                "SELECT count(*) FROM feature_files WHERE commit = ?", [commit.number]
            )
            assert late.columns == list(feature_archives(project.config)[source].schema)
            heard.append((source, named, late["user_id"].to_list()))

    monkeypatch.setattr("labeling.live.outbox.listeners", lambda *_: (Hearing(),))
    topic = topics(project)["ranker"]
    project.produce(topic, ranked(0, 600))
    project.run()
    assert heard
    assert {h[:2] for h in heard} == {("ranker", 1)}
    assert not any(h[2] for h in heard)
    heard.clear()
    project.produce(topic, [request("late", 500, item("a"))])
    project.run()
    assert heard == [("ranker", 1, ["late"])]


def test_two_processes_and_a_compaction_beside(project: LiveProject) -> None:
    """Requests are dealt to shards of two processes; a compaction hands its files over."""
    by = topics(project)
    project.write(shards=2, compact=False)  # the flow's own would be in the way of this one
    with flow(project, processes=2) as both:
        for low in (0, 4000, 8000):
            project.produce(by["ranker"], ranked(low, low + 4000, 40))
            project.produce(by["ranker"], ranked(low + 20, low + 4000, 40), 1)
            project.produce(by["app"], shows(low, low + 4000, 40))
            both.until(ACCEPTED, partial(_at_least, (low + 4000) // 40 * 4))
        done = project.command("compact")
        assert done.exit_code == 0, done.output
        both.stop()
    kinds = set(project.query("SELECT kind FROM feature_files")["kind"])
    assert kinds == {"hour", "tail"}
    served = archived_features(project.config)
    assert served.height == served.select("user_id", "event_id").n_unique() == 1200
    with Store.open(project.config.store, read_only=True) as store:
        archive = Archive(project.config.archive, {})
        assert archive.read(store.files()).height == 600
