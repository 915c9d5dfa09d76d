"""Golden cases through real files: imported into an archive, replayed into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from labeling.cli.golden_files import FILES, imported, replayed, written
from labeling.io.store import Store
from labeling.testing.golden_case import Place, load, places
from labeling.testing.golden_diff import compare_rows
from labeling.testing.golden_run import check
from tests.shipped import RULES

FIXTURES: Final = Path(__file__).resolve().parent.parent / "fixtures"


@pytest.mark.parametrize("place", places(FIXTURES, RULES), ids=lambda p: p.name)
def test_import_and_replay_end_with_the_same_rows(place: Place) -> None:
    """The eighth drive: JSON, import, archive, plan, replay, store; rows as written."""
    assert check(load(place.path, RULES), FILES) is None


def test_events_without_a_user_are_rejected_on_the_way(tmp_path: Path) -> None:
    """The case's two lines without a user reach the import as records, and end as rejects."""
    case = load(FIXTURES / "note_labels" / "impression_without_user", RULES)
    config = written(case.rule, case.lines, tmp_path)
    with Store.open(config.store) as store:
        totals = imported(store, config)
        rows = replayed(store, config, case.rule, case.lines)
    assert (totals.events, totals.rejected, totals.accepted) == (4, 2, 2)
    assert case.rows is not None
    assert not compare_rows(case.rule, case.rows, rows)
