"""Where to look for the points that a watermark passes: which events, and of which times.

Always holds: every anchor with a point of ``[from_ms, to_ms)`` is named by exactly one of the
triggers, as one of its anchors; and for each, an event of the trigger's types and times is there.

Not promised: that an event of a trigger has such a point. Conditions of selectors are not looked
at, and a calendar window is narrowed down to hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import polars as pl

from labeling.model.attribution import AttributionRule
from labeling.model.event import TS
from labeling.model.kinds import Rule
from labeling.model.rows_of import types_read
from labeling.model.rule import LabelRule
from labeling.model.window import Duration

_HOUR_MS: Final = 3_600_000
#: The years 2 and 9999: what Python can tell, with some room.
_FIRST_MS: Final = -62_104_060_800_000
_LAST_MS: Final = 253_370_764_800_000


@dataclass(frozen=True)
class Trigger:
    """Events that bring points about, and the anchors that have them. Times are epoch ms.

    ``types`` at ``[from_ms, to_ms)`` are looked for; the anchors lie in
    ``[anchors_from_ms, anchors_to_ms)``; ``point``: the number of the points meant, None for all.
    """

    types: frozenset[str]
    from_ms: int
    to_ms: int
    anchors_from_ms: int
    anchors_to_ms: int
    point: int | None = None


def triggers(rule: Rule, from_ms: int, to_ms: int) -> list[Trigger]:
    """What to look for, so that no point of ``[from_ms, to_ms)`` is missed.

    Args:
        rule: whose points.
        from_ms: inclusive, epoch ms.
        to_ms: exclusive.
    """
    found = _of_action if isinstance(rule, AttributionRule) else _of_labels
    return [t for t in found(rule, from_ms, to_ms) if t.from_ms < t.to_ms]


def _of_labels(rule: Rule, from_ms: int, to_ms: int) -> Iterator[Trigger]:
    if not isinstance(rule, LabelRule):
        raise TypeError(f"{rule.key} has no labels")
    types = frozenset(rule.anchor_event.types)
    delays = [*rule.early_ms, *([rule.bound.ms] if isinstance(rule.bound, Duration) else [])]
    for point, delay in enumerate(delays):
        low, high = from_ms - delay, to_ms - delay
        yield Trigger(types, low, high, low, high, point)
    if not isinstance(rule.bound, Duration):
        for low, high in _hours_ending(rule, from_ms, to_ms):
            yield Trigger(types, low, high, low, high, len(rule.early_ms))


def _hours_ending(rule: LabelRule, from_ms: int, to_ms: int) -> Iterator[tuple[int, int]]:
    """The runs of hours in which an anchor's calendar window can end in the range.

    A window's end does not go back as the anchor moves on: the two ends of an hour bound it.
    """
    first = (from_ms - rule.bound.longest_ms) // _HOUR_MS
    hours = pl.int_range(first, to_ms // _HOUR_MS + 1, dtype=pl.Int64, eager=True) * _HOUR_MS
    ends = pl.DataFrame({"hour": hours}).with_columns(
        low=rule.bound.end(pl.col("hour").cast(TS)).dt.epoch("ms"),
        high=rule.bound.end((pl.col("hour") + (_HOUR_MS - 1)).cast(TS)).dt.epoch("ms"),
    )
    meant = ends.filter(pl.col("low") < to_ms, pl.col("high") >= from_ms)["hour"]
    if meant.len():
        yield int(meant[0]), int(meant[-1]) + _HOUR_MS


def _of_action(rule: Rule, from_ms: int, to_ms: int) -> Iterator[Trigger]:
    if not isinstance(rule, AttributionRule):
        raise TypeError(f"{rule.key} has no actions")
    types = frozenset(rule.action.types)
    yield Trigger(types, from_ms, to_ms, from_ms, to_ms)
    undone = [e for e in (rule.undone_by, rule.refunded_by) if e is not None]
    if undone:
        low = from_ms - rule.looks_ahead_ms
        yield Trigger(frozenset(types_read(undone)), from_ms, to_ms, low, from_ms)


def reasons(rule: Rule) -> pl.Expr:
    """Why a row was made, from its ``anchor_ts`` and ``point_ts``."""
    if isinstance(rule, AttributionRule):
        own = pl.col("point_ts") == pl.col("anchor_ts")
        return pl.when(own).then(pl.lit("point")).otherwise(pl.lit("undo"))
    return pl.lit("point")


def instant(ms: int) -> datetime:
    """Epoch ms as an instant; what is before or after all others as the first or last there is."""
    return datetime.fromtimestamp(min(max(ms, _FIRST_MS), _LAST_MS) / 1000, UTC)
