"""How a replay is cut: by hours where a rule's reach is short, by users where it is long.

Always holds: what is said here of blocks is looked at in their plan and in the rows they give.

Not promised: speed, which benchmarks/attribution.py measures.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from backfill.blocks import HOUR, FilesByTime, blocks_of
from backfill.plan import plan
from backfill.replay import replay
from labeling.io.archive import Archive, ArchiveFile
from labeling.io.store import Store
from labeling.model.kinds import Rule
from rules.delayed_conversion import DELAYED_CONVERSION
from rules.follow_causes import FOLLOW_CAUSES
from rules.note_labels import NOTE_LABELS
from rules.order_attribution import ORDER_ATTRIBUTION
from tests.attribution_project import ORDERS, AttributionProject, event
from tests.replay_project import T0

ROWS = 1_000_000
#: What half an hour's file of this log needs would fit; a whole hour's does not.
LITTLE = ROWS * 1_000


def hourly(hours: int) -> FilesByTime:
    """A file for each hour from ``T0`` on."""
    starts = [T0 + n * HOUR for n in range(hours)]
    ends = [at + HOUR - timedelta(milliseconds=1) for at in starts]
    return FilesByTime(
        [
            ArchiveFile(
                f"{n}", "hour", at, "log", at, end, 0, 2**64 - 1, ROWS, ROWS * 30, 1, "digest"
            )
            for n, (at, end) in enumerate(zip(starts, ends, strict=True))
        ]
    )


@pytest.mark.parametrize(
    ("rule", "hours"),
    [(NOTE_LABELS, 1), (FOLLOW_CAUSES, 24), (ORDER_ATTRIBUTION, 24), (DELAYED_CONVERSION, 24)],
)
def test_a_long_reach_is_cut_by_users(rule: Rule, hours: int) -> None:
    """Where an hour does not fit, blocks are as long as the reach, a day at most, in parts."""
    asked = [T0 + n * HOUR for n in range(36)]
    blocks = list(blocks_of(rule, asked, hourly(36), LITTLE))
    assert [h for b in blocks for h in b.hours] == asked
    assert max(len(b.hours) for b in blocks) == hours
    assert all(b.buckets > 1 and b.bytes <= LITTLE for b in blocks)
    read = sum(b.events for b in blocks)
    assert read <= 2 * 36 * ROWS


def test_what_fits_is_one_block_longer_than_a_day() -> None:
    """With memory enough nothing is cut, whatever the reach."""
    asked = [T0 + n * HOUR for n in range(36)]
    for rule in (NOTE_LABELS, FOLLOW_CAUSES):
        (block,) = blocks_of(rule, asked, hourly(36), ROWS * 100_000)
        assert (len(block.hours), block.buckets) == (36, 1)


def test_hours_in_parts_give_the_rows_of_hours_at_once(tmp_path: Path) -> None:
    """Several hours in parts of their users: rows, revisions and changes are the same."""
    log = [
        event(kind, 700 * n + place, user=user, value=n, order=f"o{n}")
        for n in range(14)
        for user in ("u", "v", "w")
        for place, kind in enumerate(("click", "order", "refund" if n % 3 else "cancel"))
    ]
    told = []
    for name, memory_bytes in (("parts", 1), ("whole", 2**32)):
        (tmp_path / name).mkdir()
        project = AttributionProject(tmp_path / name)
        text = (tmp_path / name / "labeling.toml").read_text().split("[[source]]")
        project.configure("[[source]]".join(text[:2]))
        project.take_in("log", log)
        config = project.config
        with Store.open(config.store) as store:
            todo = plan(
                store, ORDERS, T0, T0 + 3 * HOUR, sources=["old"], memory_bytes=memory_bytes
            )
            done = list(replay(store, Archive(config.archive, config.columns), todo))
        cut = [(len(b.hours), b.buckets > 1) for b in todo.blocks]
        assert cut == [(3, name == "parts")]
        assert [h.hour for h in done] == [T0 + n * HOUR for n in range(3)]
        rows = project.told("anchor_id", "touch_id", "verdict", "value_linear", "revision")
        told.append((rows, project.log().drop("commit").rows()))
    assert told[0] == told[1]
    assert len(told[0][0]) > len(log)
    assert told[0][1]
