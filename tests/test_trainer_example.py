"""The trainer's example: what it learns, that it can be killed, and the whole way from a log to it.

Always holds: samples are those of the example's own simulated world, in which tastes turn half-way;
what could be known at best is the world's own log-odds.

Not promised: the figures of another seed; the margins here are far from those found.
"""

from __future__ import annotations

import importlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from labeling.products.formats.encoding import json_records
from labeling.testing.simulator import traffic
from tests.kafka_broker import Broker

EXAMPLE: Final = Path(__file__).resolve().parent.parent / "examples" / "trainer"
_MODULES: Final = ("model", "progress", "trainer", "world")
_FEATURES: Final = ("item_quality", "affinity")
_KEPT: Final = 0.25


@contextmanager
def _in_example() -> Iterator[None]:
    """Import from the example's folder, which is an operator's own tree, and forget it again."""
    before = {name: sys.modules.pop(name, None) for name in _MODULES}
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield
    finally:
        sys.path.remove(str(EXAMPLE))
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


@pytest.fixture
def ours() -> Iterator[SimpleNamespace]:
    """The example's modules; they stay importable by name for what is pickled."""
    with _in_example():
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in _MODULES})


@cache
def samples() -> pl.DataFrame:
    """Samples of both halves with their true log-odds, made without labeling: clicks are known."""
    parts = []
    with _in_example():
        world = importlib.import_module("world")
        for seed, start in enumerate((world.START, world.TURN), start=1):
            of = world.BEFORE if seed == 1 else world.AFTER
            span: dict[str, Any] = {"events": 60_000, "hours": 3, "seed": seed, "start": start}
            chunks = list(traffic(of, **span, features=True))
            events = pl.concat([c.events for c in chunks])
            served = pl.concat([c.features for c in chunks if c.features is not None])
            parts.append(_joined(events, served))
        return pl.concat(parts).with_columns(truth=world.truth(), features=pl.struct(*_FEATURES))


def _joined(events: pl.DataFrame, served: pl.DataFrame) -> pl.DataFrame:
    """Impressions with features and what was clicked within a minute; a quarter of the others."""
    shown = events.filter(event_type="impression").rename({"event_ts": "anchor_ts"})
    clicks = events.filter(event_type="click").select("user_id", "item_id", clicked_ts="event_ts")
    after = pl.col("clicked_ts") - pl.col("anchor_ts")
    both = shown.join(clicks, on=["user_id", "item_id"]).filter(
        after.is_between(timedelta(0), timedelta(minutes=1))
    )
    clicked = pl.col("event_id").is_in(both["event_id"].to_list())
    chance = random.Random(1)
    rows = shown.join(served, on=["request_id", "item_id"]).with_columns(clicked=clicked)
    coin = pl.Series([chance.random() < _KEPT for _ in range(rows.height)])
    kept = pl.when("clicked").then(1.0).otherwise(_KEPT)
    return (
        rows.filter(coin | pl.col("clicked")).with_columns(kept=kept, weight=1.0)
        .rename({"event_id": "anchor_id"}).sort("anchor_ts", "anchor_id")
    )  # fmt: skip


def halves(ours: SimpleNamespace) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The samples before and after tastes turned."""
    turned = pl.col("anchor_ts") >= ours.world.TURN
    return samples().filter(~turned), samples().filter(turned)


def batches(rows: pl.DataFrame, size: int = 1_000) -> Iterator[tuple[pl.DataFrame, Any]]:
    """Slices, and the row to go on from."""
    for at in range(0, rows.height, size):
        yield rows[at : at + size], {"row": at + size}


def learned(ours: SimpleNamespace, rows: pl.DataFrame) -> Any:
    """A base model."""
    base = ours.model.Model(kept=_KEPT)
    for x, label, _ in ours.model.encoded(rows):
        base.learn(x, label)
    return base


def test_learning_on_beats_standing_still_and_nears_the_truth(
    ours: SimpleNamespace, tmp_path: Path
) -> None:
    """Each sample predicted before it is learned: far above chance, and close to the world."""
    before, after = halves(ours)
    base = learned(ours, before)
    progress = ours.progress.Progress(tmp_path, base)
    progress.run(batches(after))
    odds = after.select("anchor_id", truth=1 / (1 + (-pl.col("truth")).exp()))
    scores = progress.scores().join(odds, on="anchor_id")
    told = ours.progress.by_hour(scores, ("stream", "base", "truth"))
    assert told["samples"].sum() == after.height > 10_000
    assert told["clicks"].sum() == after["clicked"].sum() > 2_000
    first, *_, last = told.iter_rows(named=True)
    assert last["auc_stream"] > 0.7
    assert last["auc_truth"] - last["auc_stream"] < 0.03 < last["auc_stream"] - last["auc_base"]
    assert last["loss_truth"] < last["loss_stream"] < last["loss_base"]
    assert last["loss_stream"] - last["loss_truth"] < 0.01
    assert last["auc_truth"] - last["auc_stream"] < first["auc_truth"] - first["auc_stream"]


def test_resuming_gives_the_model_of_running_through(ours: SimpleNamespace, tmp_path: Path) -> None:
    """Killed between scores and model, loaded anew for each batch: the same, to the last bit."""
    before, after = halves(ours)
    base, rows = learned(ours, before[:3_000]), after[:4_000]
    through = ours.progress.Progress(tmp_path / "through", base)
    through.run(batches(rows, 500))
    again = ours.progress.Progress(tmp_path / "again", base)
    again.take(rows[:700], {"row": 700})
    kept = (tmp_path / "again" / "stream.model").read_bytes()
    again.take(rows[700:900], {"row": 900})
    # As if it had been killed before the second model was there: its scores are.
    (tmp_path / "again" / "stream.model").write_bytes(kept)
    base.save(tmp_path / "base.model")
    while True:
        resumed = ours.progress.Progress(
            tmp_path / "again", ours.model.Model.load(tmp_path / "base.model")
        )
        at = resumed.position["row"]
        if at >= rows.height:
            break
        resumed.take(*next(batches(rows[at:], 450))[:1], {"row": min(at + 450, rows.height)})
    assert resumed.model.learned == through.model.learned == rows.height
    assert resumed.model.weights == through.model.weights
    assert_frame_equal(resumed.scores(), through.scores(), check_exact=True)
    x = next(ours.model.encoded(after[-1:]))[0]
    assert resumed.model.probability(x) == through.model.probability(x)


def test_kept_negatives_are_corrected(ours: SimpleNamespace) -> None:
    """Predictions add up to the clicks of all impressions; uncorrected, to twice as many."""
    rows, _ = halves(ours)
    base = learned(ours, rows)
    told = [(base.probability(x), label, n) for x, label, n in ours.model.encoded(rows)]
    clicked = sum(n for _, label, n in told if label)
    shown = sum(n for *_, n in told)
    assert sum(p * n for p, _, n in told) == pytest.approx(clicked, rel=0.05)
    base.kept = 1.0
    wrong = sum(base.probability(x) * n for x, _, n in ours.model.encoded(rows))
    assert wrong > 2 * clicked
    assert shown == pytest.approx(rows.height + (rows.height - clicked) * 3)


def test_auc_and_loss_are_what_they_are_defined_as(ours: SimpleNamespace) -> None:
    """Pairs counted one by one, with ties; a sample that stands for four counts four times."""
    chance = random.Random(3)
    rows = [
        (chance.random() < 0.4, chance.choice((1.0, 4.0)), chance.randint(1, 9) / 10)
        for _ in range(60)
    ]
    ts = samples()["anchor_ts"][0]
    scores = pl.DataFrame(
        [("u", ts, str(i), label, n, p, p) for i, (label, n, p) in enumerate(rows)],
        schema=ours.progress.SCORES, orient="row",
    )  # fmt: skip
    pairs = [(a > b) + (a == b) / 2 for x, _, a in rows if x for y, _, b in rows if not y]
    losses = [(ours.model.log_loss(p, label) * n, n) for label, n, p in rows]
    (told,) = ours.progress.by_hour(scores).iter_rows(named=True)
    assert told["auc_stream"] == pytest.approx(sum(pairs) / len(pairs), abs=5e-5)
    assert told["loss_base"] == pytest.approx(
        sum(loss for loss, _ in losses) / sum(n for _, n in losses), abs=5e-5
    )


def test_a_topic_is_learned_from_once(
    ours: SimpleNamespace,
    broker: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Samples of a topic, some told again and some corrected: each is learned as first told."""
    before, after = halves(ours)
    base, rows = learned(ours, before[:3_000]), after[:1_500]
    base.position = {"through": f"{ours.world.TURN - timedelta(hours=1):%Y-%m-%dT%H}"}
    base.save(tmp_path / "base.model")
    columns = ("clicked", "scene", "position", "is_ad", "features", "kept", "weight")
    told = rows.select("user_id", "anchor_ts", "anchor_id", *columns).with_columns(
        kind=pl.lit("insert"), commit=pl.int_range(pl.len()) // 100, at=pl.int_range(pl.len()) % 100
    )
    values = json_records(told)["value"].to_list()
    corrected = json_records(told[:5].with_columns(kind=pl.lit("update"), commit=pl.lit(99)))
    topic = broker.create_topic(f"click-samples-{tmp_path.name}", 1)
    monkeypatch.chdir(tmp_path)
    line = ["stream", "--topic", topic, "--bootstrap", broker.bootstrap]
    broker.produce(topic, values[:700])
    ours.trainer.main(line)
    broker.produce(topic, [*values[600:], *corrected["value"].to_list()])
    ours.trainer.main(line)
    ours.trainer.main(line)
    said = capsys.readouterr().out.splitlines()
    assert said == [f"stream model: {n} samples more" for n in (700, 800, 0)]
    through = ours.progress.Progress(tmp_path / "through", base)
    through.run(batches(rows))
    found = ours.progress.Progress(tmp_path / "stream", base)
    assert found.model.weights == through.model.weights
    assert_frame_equal(found.scores(), through.scores())


def script(work: Path, *words: str) -> str:
    """Run a script of the example in a folder, with this interpreter; what it printed."""
    environment = os.environ | {
        "LABELING": f"{sys.executable} -m labeling.cli.main",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(EXAMPLE.parent.parent),
    }
    name, *arguments = words
    ended = subprocess.run(
        ["bash", str(EXAMPLE / name), *arguments],
        cwd=work, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def table(printed: str) -> pl.DataFrame:
    """The report in what a script printed."""
    lines = [line.strip("│").split("┆") for line in printed.splitlines() if line.startswith("│")]
    names, *rows = [[cell.strip() for cell in line] for line in lines]
    return pl.DataFrame(rows, schema=names, orient="row").cast(
        {name: pl.Float64() for name in names if name != "hour"}
    )


def test_from_a_log_to_models_by_markers(
    ours: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The whole way, by commands: import, replay, export, wait, train, learn on, train anew."""
    printed = script(tmp_path, "run.sh", "work", "20000")
    work = tmp_path / "work"
    assert "base model: " in printed
    told = table(printed)
    assert told["hour"].to_list() == [f"2026-11-20T{h:02}" for h in (9, 10, 11)]
    assert told["samples"].sum() > 3_000
    last = told.row(-1, named=True)
    assert last["auc_stream"] > last["auc_base"] + 0.03
    assert last["auc_stream"] > 0.65
    assert last["loss_stream"] < last["loss_base"]
    # There is nothing new, and nothing is learned twice.
    monkeypatch.chdir(work)
    ours.trainer.main(["stream"])
    assert capsys.readouterr().out == "stream model: 0 samples more\n"
    # A batch of an hour more: its model knows the turned world, the stream model begins from it.
    again = script(work, "batch.sh", "2026-11-20T09")
    assert "through 2026-11-20T09" in again
    ours.trainer.main(["report"])
    fresh = table(capsys.readouterr().out)
    assert fresh["hour"].to_list() == ["2026-11-20T10", "2026-11-20T11"]
    assert fresh["samples"].to_list() == told["samples"].to_list()[1:]
    assert fresh["auc_base"][0] > told["auc_base"][1]
