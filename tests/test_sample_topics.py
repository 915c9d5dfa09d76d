"""Topics of samples: through the real flow and brokers, and what is refused at its start."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from labeling.config.rules import Tree
from labeling.config.settings import parse_config
from labeling.errors import ConfigError, DataError
from labeling.products.context import Context
from labeling.products.formats.topics import SampleTopics
from labeling.samples import read_topic
from tests.features_project import item, request
from tests.kafka_broker import Broker
from tests.live_project import LiveProject, event
from tests.sample_told import LABELS, SAMPLES
from tests.test_features_live import made, topics
from tests.test_samples_live import impressions, served

FORMATS = (("wait", "arrow"), ("changes", "json"), ("fnw", "arrow"))


def folded(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The last of each key's records that is no retraction, by key."""
    told = pl.concat(frames, how="diagonal_relaxed")
    last = told.group_by("user_id").last().filter(pl.col("kind") != "retract")
    return last.sort("anchor_ts", "user_id")


def told(project: LiveProject, topic: str, **options: Any) -> pl.DataFrame:
    """All of a topic, folded."""
    batches = read_topic(project.broker.bootstrap, topic, until_end=True, **options)
    return folded(batch.frame for batch in batches)


def test_topics_say_what_views_say(broker: Broker, tmp_path: Path) -> None:
    """A real flow, two runs of it and a replay; Arrow and JSON, features beside the labels."""
    project = made(broker, tmp_path)
    names = {form: project.topic(form, 2) for form, _ in FORMATS}
    for form, encoding in FORMATS:
        project.more += (
            f'[[samples]]\nrule = "samples"\ntopic = "{names[form]}"\n'
            f'format = "{form}"\nencoding = "{encoding}"\n'
        )
    project.write()
    topic = topics(project)
    project.produce(topic["app"], [*impressions(0, 900), event("x", 2400)])
    project.produce(topic["ranker"], [*served(0, 900), request("end", 2400, item("i"))])
    project.run()
    wait = told(project, names["wait"])
    assert wait.height == project.query("SELECT count(*) FROM samples_wait").item() == 54
    project.produce(topic["app"], [event("x", 12_000)])
    project.produce(topic["ranker"], [request("end", 12_000, item("i"))])
    project.run()
    rows = project.query("SELECT * FROM samples ORDER BY anchor_ts")
    for form in ("wait", "changes"):
        found = told(project, names[form])
        for column in ("user_id", "anchor_ts", "anchor_id", "revision", "clicked", "served_ts"):
            assert found[column].to_list() == rows[column].to_list(), (form, column)
    assert told(project, names["wait"])["final"].all()
    assert told(project, names["fnw"])["clicked"].to_list() == rows["clicked"].to_list()
    features = told(project, names["wait"])["features"].struct.field("ctr_7d")
    assert features.to_list() == [s / 7 for s in range(0, 900, 10)]
    shards(project, names["fnw"])


def shards(project: LiveProject, topic: str) -> None:
    """Two readers have all records between them; each goes on from where it stood."""
    bootstrap = project.broker.bootstrap
    whole = pl.concat(b.frame for b in read_topic(bootstrap, topic, until_end=True))
    parts: list[pl.DataFrame] = []
    ends: dict[str, Any] = {}
    for place in range(2):
        batches = list(read_topic(bootstrap, topic, shard=(place, 2), until_end=True, batch_rows=1))
        parts += [b.frame for b in batches]
        ends |= json.loads(json.dumps(batches[-1].position)) if batches else {}
        for number, batch in enumerate(batches[:3]):
            options: dict[str, Any] = {"shard": (place, 2), "until_end": True, "batch_rows": 1}
            rest = read_topic(bootstrap, topic, position=batch.position, **options)
            after = pl.concat([b.frame for b in rest] or [whole.clear()])
            left = pl.concat([b.frame for b in batches[number + 1 :]] or [whole.clear()])
            assert after.equals(left)
    order = ("commit", "at")
    assert pl.concat(parts).sort(order).equals(whole.sort(order))
    assert list(read_topic(bootstrap, topic, position=ends, until_end=True)) == []
    with pytest.raises(DataError, match="no partition 9"):
        list(read_topic(bootstrap, topic, position={"9": 1}, until_end=True))


def test_repeats_are_dropped_where_asked(broker: Broker) -> None:
    """What a flow tells again after a crash: the same (commit, at), after it and before more."""
    topic = broker.create_topic("samples-repeated", 1)
    places = [(1, 0), (1, 1), (2, 0), (1, 1), (2, 0), (2, 1), (5, 0)]
    records = [{"user_id": "u", "kind": "insert", "commit": c, "at": a} for c, a in places]
    broker.produce(topic, [json.dumps(r).encode() for r in records])
    every = list(read_topic(broker.bootstrap, topic, until_end=True))
    assert sum(len(batch) for batch in every) == len(places)
    once = pl.concat(
        b.frame for b in read_topic(broker.bootstrap, topic, until_end=True, drop_repeats=True)
    )
    assert once.select("commit", "at").rows() == sorted({*places})
    # From the middle, as a trainer goes on: what was seen before it stays seen.
    rest = read_topic(
        broker.bootstrap, topic, until_end=True, drop_repeats=True, position={"0": [3, 2, 0]}
    )
    assert pl.concat(b.frame for b in rest).select("commit", "at").rows() == [(2, 1), (5, 0)]
    broker.produce(topic, [b"no sample"])
    with pytest.raises(DataError, match="from offset"):
        list(read_topic(broker.bootstrap, topic, until_end=True, position={"0": 7}))


@pytest.mark.parametrize(
    ("rule", "said"),
    [("shown_sample", "did you mean 'shown_samples'"), ("shown_samples@2", "shown_samples@1")],
)
def test_a_rule_that_is_not_there_is_named(tmp_path: Path, rule: str, said: str) -> None:
    """At the start, with the nearest."""
    data = {
        "cluster": {"main": {"bootstrap": "nowhere:1"}},
        "samples": [{"rule": rule, "topic": "t"}],
    }
    config = parse_config(data, tmp_path / "labeling.toml")
    with pytest.raises(ConfigError, match=said):
        SampleTopics(Context(config, Tree((LABELS,), (SAMPLES,)), lambda *_: None))
    with pytest.raises(ConfigError, match="no sample rule at all"):
        SampleTopics(Context(config, Tree((LABELS,)), lambda *_: None))
