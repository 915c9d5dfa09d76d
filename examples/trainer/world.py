"""The simulated feed of this example: half a day, in the middle of which tastes turn.

Always holds: the same numbers give the same logs; clicks follow a logistic model whose coefficients
are those of ``BEFORE`` up to ``TURN`` and those of ``AFTER`` from there on.

Not promised: that the turn is a gentle one. A model that does not learn on is soon wrong.

    world.py EVENTS     write logs/day-1 and logs/day-2, each of so many events, with their features
"""

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from labeling.testing.simulator import FeatureLog, World, click_log_odds, write_log

START: Final = datetime(2026, 11, 20, 6, tzinfo=UTC)
HOURS: Final = 3
TURN: Final = START + timedelta(hours=HOURS)
BEFORE: Final = World(users=20_000, items=5_000)
#: What is alike is no longer liked: affinity counts the other way.
AFTER: Final = replace(BEFORE, click_affinity=-0.5, click_quality=0.9)


def truth() -> pl.Expr:
    """The true log-odds of a click, over samples; nobody can rank better.

    Reads the features as columns: of samples, ``rows.unnest("features")``.
    """
    turned = pl.col("anchor_ts") >= TURN
    return pl.when(turned).then(click_log_odds(AFTER)).otherwise(click_log_odds(BEFORE))


def write(folder: Path, events: int) -> None:
    """Both logs; of one request in a hundred the ranker logged nothing."""
    folder.mkdir(exist_ok=True)
    for number, (world, start) in enumerate(((BEFORE, START), (AFTER, TURN)), start=1):
        write_log(
            world, folder / f"day-{number}.parquet", events=events, hours=HOURS, seed=number,
            start=start, features=FeatureLog(missing=0.01, unshown=0.01),
        )  # fmt: skip


if __name__ == "__main__":
    write(Path("logs"), int(sys.argv[1]))
