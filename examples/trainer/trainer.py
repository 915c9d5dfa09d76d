"""A base model from archived hours, and a stream model that goes on from it, sample by sample.

    trainer.py base [--through HOUR | --marker]     base.model, of all hours up to HOUR, inclusive
    trainer.py stream [--from HOUR] [--refresh]     predict, score and learn what there is
    trainer.py report [--truth]                     AUC and log loss by hour, against the base model

Hours are written as 2026-11-20T09, UTC. ``--marker`` takes the last of the markers, one a line,
that ``labeling wait --exec`` gives on standard input. ``stream`` goes on where ``stream.model``
stands; ``--refresh`` begins anew from the base model, right after its hours. ``stream --topic TOPIC
--bootstrap ADDRESS`` reads a topic of ``[[samples]]`` instead of ``offline/click_samples``, to its
end, or with ``--follow`` for good.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from model import Model, encoded
from progress import Progress, by_hour

from labeling.samples import read_parquet, read_topic

BASE = Path("base.model")
STREAM = Path("stream")
TABLE = Path("offline/click_samples")
HOUR = timedelta(hours=1)
ROWS = 2_000  # of a batch: after each the model is saved


def hour(text: str) -> datetime:
    """The start of an hour as it is written."""
    return datetime.fromisoformat(f"{text[:13]}:00:00+00:00")


def base(through: datetime) -> str:
    """Learn the archived hours once, from the first on."""
    model = Model()
    for batch in read_parquet(TABLE, to_ts=through + HOUR):
        # Of clicked ones all are kept, so the least is the part of the others.
        model.kept = min(model.kept, float(batch.frame["kept"].min()))
        for x, label, _ in encoded(batch.frame):
            model.learn(x, label)
    model.position = {"through": f"{through:%Y-%m-%dT%H}"}
    model.save(BASE)
    return f"base model: {model.learned:,} samples through {through:%Y-%m-%dT%H}"


def stream(given: argparse.Namespace) -> str:
    """Go on from where the stream model stands."""
    first = Model.load(BASE)
    if given.refresh:
        Progress(STREAM, first).forget()
    progress = Progress(STREAM, first)
    since = given.since or hour(first.position["through"]) + HOUR
    before = progress.model.learned
    if given.topic:
        progress.run(told(given, since, progress.position))
    else:
        found = read_parquet(TABLE, from_ts=since, batch_rows=ROWS, position=progress.position)
        progress.run((batch.frame, batch.position) for batch in found)
    return f"stream model: {progress.model.learned - before:,} samples more"


def told(
    given: argparse.Namespace, since: datetime, position: Any
) -> Iterator[tuple[pl.DataFrame, Any]]:
    """Samples of a topic, each the first time that it is told of; corrections are left out."""
    found = read_topic(
        given.bootstrap, given.topic, position=position, batch_rows=ROWS, drop_repeats=True,
        until_end=not given.follow,
    )  # fmt: skip
    for batch in found:
        first = (pl.col("kind") == "insert") & (pl.col("anchor_ts") >= since)
        yield batch.frame.filter(first), batch.position


def report(*, truth: bool) -> pl.DataFrame:
    """What was scored, by hour."""
    progress = Progress(STREAM, Model.load(BASE))
    scores = progress.scores()
    if not truth:
        return by_hour(scores)
    from world import truth as true  # noqa: PLC0415 - known of a simulated world only

    key = ("user_id", "anchor_ts", "anchor_id")
    found = (batch.frame.unnest("features") for batch in read_parquet(TABLE))
    known = pl.concat([rows.select(*key, x=true()) for rows in found])
    both = scores.join(known, on=key)
    odds = pl.col("x").exp()
    return by_hour(both.with_columns(truth=odds / (1 + odds)), ("stream", "base", "truth"))


def shown(frame: pl.DataFrame) -> str:
    """A frame as a table of text."""
    width = {"tbl_rows": -1, "tbl_cols": -1, "tbl_width_chars": 200}
    bare = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True}
    with pl.Config(**width, **bare):
        return str(frame.with_columns(pl.col("hour").dt.strftime("%Y-%m-%dT%H")))


def main(words: list[str]) -> None:
    """Run what the words ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parts = parser.add_subparsers(dest="what", required=True)
    one = parts.add_parser("base")
    one.add_argument("--through", type=hour)
    one.add_argument("--marker", action="store_true")
    one = parts.add_parser("stream")
    one.add_argument("--from", dest="since", type=hour)
    one.add_argument("--refresh", action="store_true")
    one.add_argument("--topic")
    one.add_argument("--bootstrap", default="127.0.0.1:9092")
    one.add_argument("--follow", action="store_true")
    parts.add_parser("report").add_argument("--truth", action="store_true")
    given = parser.parse_args(words)
    if given.what == "base":
        if given.marker:
            given.through = max(hour(json.loads(line)["hour"]) for line in sys.stdin)
        print(base(given.through))
    elif given.what == "stream":
        print(stream(given))
    else:
        print(shown(report(truth=given.truth)))


if __name__ == "__main__":
    main(sys.argv[1:])
