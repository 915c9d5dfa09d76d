"""``labeling verify`` of attributions: the rows of actions and touches that a stream published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from labeling import AttributionRule, Event, linear, session
from tests import attribution_project
from tests.attribution_project import MICRO, ORDERS, AttributionProject, event
from tests.replay_project import T0
from tests.streamed import later

TICK = {"item": "none"}
SESSIONS = AttributionRule(
    name="sessions",
    action=Event("order"),
    match=("user_id",),
    touches=(
        Event("click", within="40m", match=("user_id", "session")),
        Event("order", within="1h"),
    ),
    credit=linear(),
    session=session("10m"),
    max_actions=2,
    undone_by=Event("cancel"),
    undone_within="30m",
    carry=(),
)


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settled: an order that a late click reaches, one cancelled, one that a click missed."""
    made = AttributionProject(tmp_path_factory.mktemp("streamed"))
    with made.stream(ORDERS) as stream:
        stream.take(event("click", 0, "a"), event("order", 100, value=MICRO, order="o"))
        stream.take(event("click", 200, "b"), event("order", 300, value=MICRO, order="p"))
        stream.take(
            event("order", 400, user="v", value=MICRO, order="q"), event("tick", 700, **TICK)
        )
        # The watermark is at 640 s: late, and too late.
        stream.take(event("click", 350, "c", user="v"), event("cancel", 800, order="p"))
        stream.take(event("tick", 5000, **TICK))
        stream.take(event("click", 50, "d"), event("tick", 15_000, **TICK))
    return made.folder


@pytest.fixture
def project(streamed: Path, tmp_path: Path) -> AttributionProject:
    """A copy of it."""
    shutil.copytree(streamed, tmp_path / "copy")
    return AttributionProject(tmp_path / "copy")


def test_live_equals_replay(project: AttributionProject) -> None:
    """Sets are equal without what was too late; what that would change is told by row and touch."""
    done = project.verify()
    assert done.exit_code == 0, done.output
    # Of the first order a touch more, and another share and path; of the undone one another path.
    last = done.output.splitlines()[-1]
    assert last == "live equals replay: 5 rows, 4 differences: 4 too late, 0 bugs"
    assert "too late: orders@1 user u anchor order-u---100 at 2026-11-20T10:01:40.000Z touch " in (
        done.output
    )
    hour = json.loads(project.verify("--format", "json").output.splitlines()[0])
    touches = [d for d in hour["differences"] if d["touch_id"]]
    assert {d["touch_ts"] for d in touches} == {
        "2026-11-20T10:00:00.000Z",
        "2026-11-20T10:00:50.000Z",
    }
    reasons = project.log().select("anchor_id", "touch_id", "kind", "reason").rows()
    assert ("order-v---400", "", "update", "late") in reasons
    assert ("order-u---300", "click-u---200", "retract", "undo") in reasons


def test_publish_heals_once(project: AttributionProject) -> None:
    """``--publish`` brings in what was too late, as whole sets; then there is no difference."""
    assert project.verify("--publish").exit_code == 0
    again = project.verify("--publish")
    assert "live equals replay: 6 rows, 0 differences\nnothing changed" in again.output
    shares = project.query("SELECT touch_item_id, credit_linear FROM orders_touches ORDER BY ALL")
    assert shares.rows() == [("a", 0.5), ("c", 1.0), ("d", 0.5)]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE orders_v1 SET credit_last = 7 WHERE touch_id = 'click-v---350'", "credit_last"),
        ("UPDATE orders_v1 SET path = ['x'] WHERE anchor_id = 'order-v---400'", "different path"),
        ("DELETE FROM orders_v1 WHERE touch_id = 'click-v---350'", "missing: stored no row"),
        ("UPDATE orders_v1 SET touch_id = 'other' WHERE touch_id = 'click-v---350'", "extra"),
        ("UPDATE orders_v1 SET revision = 9 WHERE anchor_id = 'order-u---100'", "revision: stored"),
    ],
)
def test_a_row_that_is_not_what_it_should_be_is_a_bug(
    project: AttributionProject, statement: str, kind: str
) -> None:
    """A touch's share, an action's path, a touch that is not there or not so: all are found."""
    project.sql(statement)
    done = project.verify()
    assert done.exit_code == 1, done.output
    assert any(line.startswith("bug: ") and kind in line for line in done.output.splitlines())


def arrivals(rng: Random, size: int) -> list[list[dict[str, Any]]]:
    """A stream in batches: most in time, some within the lateness, some after it, some twice."""
    kinds = ("click", "click", "click", "order", "order", "cancel", "refund")
    made = []
    for second in (rng.randrange(3 * 3600) for _ in range(size)):
        kind = rng.choice(kinds)
        more = {"value": rng.randrange(9) * MICRO, "order": f"o{rng.randrange(3)}"}
        item = f"i{rng.randrange(3)}"
        made.append(event(kind, second, item, user=f"u{rng.randrange(4)}", **more))
    lag = [rng.choice((0, 0, 0, 50, 300, 5000)) for _ in made]
    arrived = sorted(zip(made, lag, strict=True), key=lambda e: e[0]["ts"] + 1000 * e[1])
    queue = [e for e, _ in arrived for _ in range(1 + (rng.random() < 0.05))]
    return list(cut(queue, rng))


def cut(queue: Sequence[dict[str, Any]], rng: Random) -> list[list[dict[str, Any]]]:
    """The queue in batches of many sizes."""
    batches, rest = [], list(queue)
    while rest:
        size = rng.randrange(1, 120)
        batches.append(rest[:size])
        rest = rest[size:]
    return batches


@pytest.mark.parametrize("seed", [1, 2])
def test_random_streams_keep_law_2(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is late, too late or doubled, in whatever batches: no difference is a bug."""
    rules = (ORDERS, SESSIONS)
    monkeypatch.setattr(attribution_project, "RULES", rules)
    project = AttributionProject(tmp_path)
    with project.stream(*rules) as stream:
        for batch in arrivals(Random(seed), 250):
            stream.take(*batch)
        stream.take(event("tick", 9 * 3600, **TICK))
    end = f"{later(T0, 3):%Y-%m-%dT%H}"
    found = project.verify("--publish", to=end)
    assert found.exit_code == 0, found.output
    assert " 0 bugs" in found.output
    assert " 0 too late" not in found.output
    again = project.verify(to=end)
    assert again.output.splitlines()[-1].endswith(" rows, 0 differences"), again.output
