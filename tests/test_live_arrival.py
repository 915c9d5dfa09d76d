"""Arrival does not matter to the real flow, and no record is beyond it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from polars.testing import assert_frame_equal

from tests.kafka_broker import Broker
from tests.live_checks import check, tables
from tests.live_fuzz import fuzz
from tests.live_stream import dealt, send, simulated, simulated_project

#: Of the source.
DISORDER_MS = 60_000


def rearranged(records: Sequence[bytes], copies: int, seed: int) -> list[bytes]:
    """Events some times over in another order, none further out of it than the disorder allows."""
    chance = random.Random(seed)
    events = []
    for record in records:
        try:
            events.append((json.loads(record)["event_ts"], record))
        except (ValueError, KeyError, TypeError):
            continue
    moved = [(ts + chance.uniform(0, DISORDER_MS), r) for ts, r in events for _ in range(copies)]
    return [record for _, record in sorted(moved, key=lambda one: one[0])]


def test_another_arrival_gives_the_same_tables(broker: Broker, tmp_path: Path) -> None:
    """Shuffled within the bound, doubled, over uneven partitions: all columns, revisions too."""
    records = [r for r in simulated(12_000) if good(r)]
    plain = simulated_project(tmp_path / "plain", broker, partitions=1)
    send(plain, [records])
    other = simulated_project(tmp_path / "other", broker, partitions=4, batch_events=1_000)
    send(other, dealt(rearranged(records, 2, 3), (20, 5, 2, 1)))
    ends = max(json.loads(r)["event_ts"] for r in records) + 2 * DISORDER_MS
    for project, partitions in ((plain, 1), (other, 4)):
        project.run()
        closing = {"event_type": "closing", "user_id": "z", "event_ts": ends}
        lasts = [closing | {"event_id": f"z{p}"} for p in range(partitions)]
        send(project, [[json.dumps(last).encode()] for last in lasts])
        project.run()
        check(project)
    wanted, found = tables(plain), tables(other)
    for name in ("note_labels_v1", "ad_click_v1", "label_changes", "retracted", "hours"):
        assert_frame_equal(found[name], wanted[name])
    assert wanted["label_changes"].height


def good(record: bytes) -> bool:
    """Whether it is an event at all."""
    try:
        return isinstance(json.loads(record)["event_ts"], int)
    except (ValueError, KeyError, TypeError):
        return False


def test_mutated_records(broker: Broker, tmp_path: Path) -> None:
    """Fifty thousand of them; a million by ``python -m tests.live_fuzz --records 1000000``."""
    project = simulated_project(tmp_path / "fuzzed", broker, batch_events=20_000)
    fuzz(project, 50_000, 1)
    counts = project.counts()
    assert all(counts[outcome] for outcome in ("rejected", "too_late", "duplicate", "accepted"))
