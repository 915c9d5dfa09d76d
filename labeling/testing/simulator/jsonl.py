"""Events as JSON lines, among them lines that are no events.

Always holds: every event of the frame is a good line, in the frame's order, with the
contract's column names, ``event_ts`` in epoch milliseconds and no key for a null; bad lines
are further lines, each a spoiled copy of the event before it.

Not promised: anything about the order of keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from labeling.testing.simulator.world import stream

TEN_YEARS_MS: Final = 10 * 366 * 86_400_000


def _with(**fields: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: json.dumps(event | fields, separators=(",", ":")).encode()


def _without(name: str) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: json.dumps({k: v for k, v in event.items() if k != name}).encode()


def _truncated(event: dict[str, Any]) -> bytes:
    text = json.dumps(event).encode()
    return text[: len(text) // 2]


#: How a line is spoiled, by the reason code that a decoder should give it; several per code.
BAD_LINES: Final[Mapping[str, tuple[Callable[[dict[str, Any]], bytes], ...]]] = {
    "bad_json": (
        _truncated,
        lambda _: b"<html>502 Bad Gateway</html>",
        lambda _: b'{"\xff\xfe": 1}',
    ),
    "missing_field": (_without("user_id"), _without("event_type"), _without("event_ts")),
    "wrong_type": (_with(position="first"), _with(item_id={"id": 7}), _with(experiments="rank:a")),
    "bad_timestamp": (_with(event_ts="yesterday"), _with(event_ts="2026-13-45T00:00:00Z")),
    "future_timestamp": (lambda e: _with(event_ts=e["event_ts"] + TEN_YEARS_MS)(e),),
}


def _lines(frame: pl.DataFrame, time: str) -> pl.Series:
    fields = [name for name in frame.columns if name != time]
    # The one key that is never null goes last: no comma is left over when nulls are dropped.
    record = pl.struct(*fields, pl.col(time).to_physical())
    line = record.struct.json_encode().str.replace_all(r'"[A-Za-z0-9_]+":null,', "")
    return frame.select(line=line)["line"]


def to_jsonl(
    frame: pl.DataFrame, bad_fraction: float = 0.0, seed: int = 0, *, time: str = "event_ts"
) -> bytes:
    r"""The events as newline-ended JSON.

    Args:
        frame: events, with ``event_ts`` and any further columns but times.
        bad_fraction: probability that an event is followed by a bad line, 0 to 1.
        seed: of the bad lines; give each frame of a log its own.
        time: the column of milliseconds, never null; ``served_ts`` for features.

    Raises:
        ValueError: a fraction outside 0 to 1.

    >>> event = pl.DataFrame({"user_id": ["u"], "event_ts": [5]}).cast(
    ...     {"event_ts": pl.Datetime("ms", "UTC")}
    ... )
    >>> to_jsonl(event)
    b'{"user_id":"u","event_ts":5}\n'
    """
    if not 0.0 <= bad_fraction <= 1.0:
        raise ValueError(f"to_jsonl(bad_fraction={bad_fraction}): a share from 0 to 1")
    lines = _lines(frame, time)
    rng = stream(seed, 4)
    spoil = [how for ways in BAD_LINES.values() for how in ways]
    parts: list[bytes] = []
    done = 0
    for row in np.flatnonzero(rng.random(frame.height) < bad_fraction).tolist():
        parts.extend(_joined(lines[done : row + 1]))
        event = json.loads(lines[row])
        parts.extend((spoil[int(rng.integers(len(spoil)))](event), b"\n"))
        done = row + 1
    return b"".join([*parts, *_joined(lines[done:])])


def _joined(lines: pl.Series) -> tuple[bytes, ...]:
    return (lines.str.join("\n").item().encode(), b"\n") if len(lines) else ()
