"""``evaluate`` alone, from a frame in memory, at the final points and at all of them.

Always holds: the rule is the shipped ``note_labels``; the frame holds the columns and types that it
reads; ``events`` counts the whole log, also the events that the rule does not read.

Not promised: anything about reading or writing: that is ``replay``.
"""

from __future__ import annotations

from statistics import median
from typing import Any, Final

from benchmarks import data, measure
from labeling.engine.evaluate import evaluate
from labeling.engine.points import points
from rules.note_labels import NOTE_LABELS

SMALL: Final = {"events": 100_000, "repeat": 1}


def run(
    *, events: int = 10_000_000, hours: float = 4.0, seed: int = 1, repeat: int = 3
) -> dict[str, Any]:
    """Evaluate a simulated log; the median of several runs.

    Args:
        events: of the log.
        hours: that it spans.
        seed: of the log.
        repeat: how many runs.
    """
    frame = data.read_by(NOTE_LABELS, data.log(events, hours, seed))
    every = points(NOTE_LABELS, frame)
    results: dict[str, Any] = {"read": frame.height}
    for name, asked in (("final", every.filter("final")), ("early_and_final", every)):
        took = []
        for _ in range(repeat):
            with measure.timed() as one:
                rows = evaluate(NOTE_LABELS, frame, asked).height
            took.append(one)
        middle = measure.Took(median(t.seconds for t in took), median(t.cpu_seconds for t in took))
        results[name] = {**middle.told(events), "rows": rows}
        measure.say(f"{name}: {results[name]}")
    return results
