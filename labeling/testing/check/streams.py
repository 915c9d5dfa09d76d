"""Random streams for one rule: dense, full of ties, made of what the rule can tell apart.

Always holds: the same rule, seed and number of streams give the same events on every machine; no
identity occurs twice; the users of one stream are in no other.

Not promised: likely behaviour. A view may end before it starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

import polars as pl

from labeling.model.kinds import Rule
from labeling.model.rule import LabelRule
from labeling.testing.check.domain import Domain, domain

#: Streams that stand in one frame, and the sizes they have.
TOGETHER: Final = 60
#: One stream in so many also stands alone.
_ALONE: Final = 12
_SIZES: Final = (6, 12, 24, 36)
_USERS: Final = ("u1", "u1", "u1", "u2")
_OTHER: Final = "an_event_of_no_rule"
_MS: Final = timedelta(milliseconds=1)


def frames(rule: Rule, *, seed: int, examples: int) -> Iterator[pl.DataFrame]:
    """Random events: single streams, and ``TOGETHER`` of them side by side.

    What looks past its own group shows where others are near, what looks past its own time where
    few are.

    Args:
        rule: whose bounds and values they are made of.
        seed: another gives other streams.
        examples: how many streams.

    Yields:
        Frames of the rule's ``event_schema``.
    """
    drawn = domain(rule)
    for low in range(0, examples, TOGETHER):
        streams = []
        for n in range(low, min(low + TOGETHER, examples)):
            # Random seeds itself from a text the same way everywhere.
            rng = Random(f"{seed} {rule.digest} {n}")  # noqa: S311 - a stream, not a secret
            records = _stream(rule, drawn, rng, f"{n}.")
            streams.append(pl.DataFrame(records, schema=dict(rule.event_schema)))
        yield from streams[::_ALONE]
        yield pl.concat(streams)


def _stream(rule: Rule, drawn: Domain, rng: Random, prefix: str) -> list[dict[str, Any]]:
    """The events of one stream; their users' names begin with ``prefix``."""
    made: list[dict[str, Any]] = []
    times: list[datetime] = []
    types = _types(drawn, rng)
    for n in range(rng.choice(_SIZES)):
        times.append(_time(drawn, rng, times))
        event = {c: rng.choice(pool) for c, pool in drawn.pools.items()}
        event |= {
            "event_ts": times[-1],
            # A letter before the number: the order of ids is not that of making.
            "event_id": f"{rng.choice('abcdef')}{n}",
            "event_type": _type(drawn, types, rng),
            "user_id": prefix + rng.choice(_USERS),
        }
        made.append(event)
    if isinstance(rule, LabelRule) and rule.reference is not None:
        _refer(rule, rule.reference, made, rng)
    return made


def _time(drawn: Domain, rng: Random, times: list[datetime]) -> datetime:
    """Near the event before, at a bound of the rule from an earlier one, or anywhere in reach."""
    if not times or rng.random() < 0.05:  # noqa: PLR2004 - once in twenty a new beginning
        return rng.choice(drawn.starts)
    if drawn.ends and rng.random() < 0.15:  # noqa: PLR2004 - around midnight, now and then
        return rng.choice(drawn.ends) + rng.randint(-1, 1) * _MS
    way = rng.random()
    if way < 0.25:  # noqa: PLR2004 - ties and neighbours of the event before
        return times[-1] + rng.randint(-1, 2) * _MS
    # Of what came before, any: a stream that only went on would leave its anchors behind.
    if way < 0.7:  # noqa: PLR2004 - a bound of the rule
        return rng.choice(times) + rng.choice(drawn.deltas_ms) * _MS
    return rng.choice(times) + rng.randint(0, drawn.longest_ms) * _MS


def _types(drawn: Domain, rng: Random) -> tuple[str, ...]:
    """What happens in one stream: all that the rule reads, or what a few of its parts read.

    With all types in a few events most labels would stay what they are without any.
    """
    if not drawn.parts or rng.random() < 0.2:  # noqa: PLR2004 - one in five has everything
        return drawn.types
    return tuple(t for part in rng.choices(drawn.parts, k=rng.randint(1, 3)) for t in part)


def _type(drawn: Domain, types: tuple[str, ...], rng: Random) -> str:
    """Anchors often, the rest alike, and now and then what the rule does not read."""
    way = rng.random()
    if way < 0.03:  # noqa: PLR2004 - seldom, but it must not matter
        return _OTHER
    return rng.choice(drawn.anchors if way < 0.3 else types)  # noqa: PLR2004 - a quarter


def _refer(rule: LabelRule, column: str, made: list[dict[str, Any]], rng: Random) -> None:
    """References to events of the stream, to names that they carry, and to nothing."""
    ids = [e["event_id"] for e in made]
    anchors = [e["event_id"] for e in made if e["event_type"] in rule.anchor_event.types] or ids
    for event in made:
        name = rng.choice((*[rng.choice(anchors)] * 3, rng.choice(ids), "r1", "r1", "zz"))
        event[column] = name if rng.random() < 0.3 else None  # noqa: PLR2004 - mostly guessed
