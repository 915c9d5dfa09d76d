"""The shipped action sources on simulated traffic, where every page is known by what opened it.

Always holds: a page of the simulator is opened once, from one list or note, and views log the
scene of the list.
"""

from __future__ import annotations

import polars as pl
import pytest

from labeling.config import Config
from labeling.engine.evaluate import evaluate
from labeling.engine.points import points
from rules.action_sources import ACTION_SOURCES
from tests.simulated import log

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    """Three hours of traffic."""
    columns = sorted(ACTION_SOURCES.event_columns)
    return log(events=60_000, hours=3.0).select(columns)


def actions(events: pl.DataFrame) -> pl.DataFrame:
    """Each action's own row, with ``source``: the scene of its direct page."""
    made = evaluate(ACTION_SOURCES, events, points(ACTION_SOURCES, events))
    key = ["user_id", "anchor_ts", "anchor_id"]
    source = made.filter("direct").select(*key, source="touch_scene")
    return made.filter(touch_id="").join(source, on=key, how="left")


def views(events: pl.DataFrame) -> dict[str, str]:
    """The page of each view to its scene."""
    viewed = events.filter(pl.col("event_type") == "view_start", pl.col("page_id").is_not_null())
    return dict(viewed.select("page_id", "scene").rows())


def opened_from(events: pl.DataFrame) -> dict[str, str]:
    """Each page to the one that it was opened from."""
    told = events.filter(pl.col("event_type").is_in(["impression", "view_start"]))
    return dict(told.select("page_id", "referrer_page_id").drop_nulls().rows())


@pytest.mark.parametrize("referrers", [True, False], ids=["by referrer", "by time"])
def test_the_source_is_the_scene_of_the_note(events: pl.DataFrame, *, referrers: bool) -> None:
    """Of each action on the page of a note, whether or not referrers are logged."""
    if not referrers:
        events = events.with_columns(referrer_page_id=pl.lit(None, pl.String))
    scene = views(events)
    done = actions(events).filter(pl.col("page_id").is_in(list(scene)), verdict="attributed")
    expected = [scene[page] for page in done["page_id"]]
    assert done.height > 500
    assert done["source"].to_list() == expected
    assert set(expected) >= {"discovery", "search", "profile"}


def test_the_path_is_the_way_that_referrers_tell(events: pl.DataFrame) -> None:
    """From the action's page to a visit's first list; beyond it only time tells what led there."""
    before, scene = opened_from(events), views(events)
    done = actions(events).filter(pl.col("page_id").is_in(list(scene)), verdict="attributed")
    told = 0
    for path, page in done.select("path", "page_id").rows():
        way = [page]
        while len(way) < len(path) and way[-1] in before:
            way.append(before[way[-1]])
        assert path[-len(way) :] == way[::-1]
        told += len(way) == len(path)
    assert told > 0.8 * done.height
    assert done.select((pl.col("touches") == 20).any()).item()


def test_it_is_hot() -> None:
    """An hour, and not a day for its sessions: it is streamed with the usual ``hot_horizon``."""
    usual = Config.model_fields["hot_horizon_ms"].default
    assert ACTION_SOURCES.reach_ms == HOUR_MS <= usual
