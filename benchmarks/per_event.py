"""The same labels as a plain per-event Bytewax operator: what one would write first.

Always holds: one consumer, JSON parsed record by record, a dict of open impressions for each user,
rows emitted a minute and thirty after the impression as the newest time moves on; nothing stored.

Not promised: late events, repeats, corrections, a restart, or dwell by heartbeats. It is a measure
of per-event work, not of the same result.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import bytewax.operators as op
import msgspec
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

_EARLY_MS: Final = 60_000
_WINDOW_MS: Final = 1_800_000


@dataclass
class _Open:
    """An impression whose window is open."""

    at_ms: int
    item: str
    told: bool = False
    labels: dict[str, Any] = field(default_factory=dict)


class _User(StatefulLogic[dict[str, Any], dict[str, Any], None]):
    """The labels of one user's impressions."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._views: dict[str, int] = {}

    def on_item(self, value: dict[str, Any]) -> tuple[Iterable[dict[str, Any]], bool]:
        """Take in an event; the rows that its time closes."""
        now, kind = value["event_ts"], value["event_type"]
        rows = []
        for one in self._open:
            if not one.told and now > one.at_ms + _EARLY_MS:
                one.told = True
                rows.append({"item": one.item, **one.labels})
        closed = [o for o in self._open if now > o.at_ms + _WINDOW_MS]
        rows += [{"item": o.item, **o.labels} for o in closed]
        if closed:
            self._open = [o for o in self._open if now <= o.at_ms + _WINDOW_MS]
        item = value.get("item_id")
        if kind == "impression":
            self._open.append(_Open(now, item or ""))
        elif item is not None:
            self._note(kind, item, now, value.get("view_id"))
        return rows, False

    def _note(self, kind: str, item: str, now: int, view: str | None) -> None:
        for one in reversed(self._open):
            if one.item == item:
                if kind == "view_start" and view:
                    self._views[view] = now
                elif kind == "view_end" and view in self._views:
                    dwell = now - self._views.pop(view)
                    one.labels["dwell_ms"] = one.labels.get("dwell_ms", 0) + dwell
                else:
                    one.labels[kind] = True
                return

    def snapshot(self) -> None:
        """Nothing is kept."""


class _Count(DynamicSink[dict[str, Any]], StatelessSinkPartition[dict[str, Any]]):
    """Counts what comes out."""

    def __init__(self) -> None:
        self.rows = 0

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Count:
        """Itself."""
        del step_id, worker_index, worker_count
        return self

    def write_batch(self, items: list[Any]) -> None:
        """Count."""
        self.rows += len(items)


def measured(bootstrap: str, topic: str) -> dict[str, Any]:
    """Run the operator over a topic of JSON events to its end; seconds, rate and rows."""
    read = 0
    decode = msgspec.json.Decoder(dict[str, Any]).decode

    def opened(message: Any) -> Iterable[tuple[str, dict[str, Any]]]:
        nonlocal read
        read += 1
        value = decode(message.value)
        return [(value["user_id"], value)]

    count = _Count()
    flow = Dataflow("per_event")
    messages = op.input("read", flow, KafkaSource([bootstrap], [topic], tail=False))
    users = op.flat_map("decode", messages, opened)
    rows = op.stateful("label", users, lambda _: _User())
    op.output("count", op.map("bare", rows, lambda pair: pair[1]), count)
    began, cpu = time.perf_counter(), time.process_time()
    run_main(flow)  # type: ignore[no-untyped-call]  # its stub has no types
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    return {
        "events": read,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(used, 3),
        "events_per_second": round(read / seconds),
        "rows": count.rows,
    }
