"""How far back events can still matter, and which files of the archive hold them.

Always holds: an event before ``oldest`` changes no row and no count any more.

Not promised: that a file which touches the span holds an event that matters.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from labeling.engine.watermark import Watermarks
from labeling.io.archive import ArchiveFile
from labeling.io.store import Store
from labeling.model.kinds import Rule


def files_reached(
    store: Store, rules: Sequence[Rule], lateness_ms: int, marks: Collection[Watermarks]
) -> tuple[ArchiveFile, ...]:
    """The files that can hold an event that matters to some shard."""
    lows = [oldest(rules, lateness_ms, m) for m in marks]
    return tuple(store.files(None if None in lows else min(t for t in lows if t is not None)))


def oldest(rules: Sequence[Rule], lateness_ms: int, marks: Watermarks) -> datetime | None:
    """No event before this can matter; None: every one can."""
    reached = [marks.of_rule(r) - r.reach_ms for r in rules]
    return instant(min([*reached, marks.lowest_source]) - lateness_ms)


def instant(ms: int) -> datetime | None:
    """Epoch ms as an instant; None where it is before all events."""
    return datetime.fromtimestamp(ms / 1000, UTC) if ms > 0 else None
