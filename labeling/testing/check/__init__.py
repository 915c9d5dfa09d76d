"""``check``: holds rules to laws 1, 3 and 4, on the events of their golden cases and on random ones.

Always holds: the same rules, fixtures, seed and number of examples give the same results; each rule
gets one result per check, in the order of ``CHECKS``; a failure shows the smallest events found to
break the law, and which label differs.

Not promised: a proof. A rule that passes kept the laws on what was tried.

    order      the same events in another order, or evaluated again, give the same rows
    batches    batches, lateness, restarts and repeats change no row
    locality   events of other groups and other users have no influence
    reach      events outside an anchor's reach have no influence
    point      events after a point have no influence on the row at it
    changes    old rows and their changes give the new ones; equal rows make no change
    python     no Python runs inside an expression
    floats     no float is summed
    empty      no events give no rows, of the same columns
    types      labels are of their declared types, and no Boolean is null
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from labeling.model.expr import LabelRef
from labeling.model.rule import LabelRule
from labeling.testing.check import drive, laws, wrapped
from labeling.testing.check.finding import ROW, Broken, Cell
from labeling.testing.check.fixtures import fixture_events
from labeling.testing.check.shrink import smallest
from labeling.testing.check.streams import frames
from labeling.testing.check.subject import Subject, Unrunnable, rows_of

__all__ = ["CHECKS", "EXAMPLES", "Result", "check", "fixture_events"]

#: Random streams per rule unless asked otherwise.
EXAMPLES: Final = 20
_TRIES: Final = 120

_ON_EVENTS: Final[Mapping[str, Callable[[Subject], Broken | None]]] = {
    "order": laws.order,
    "batches": drive.batches,
    "locality": laws.locality,
    "reach": laws.reach,
    "point": laws.point,
    "changes": drive.published,
}
_ON_RULES: Final[Mapping[str, Callable[[LabelRule, int], Broken | None]]] = {
    "python": lambda rule, _: wrapped.python(rule),
    "floats": wrapped.floats,
}
_ON_TYPES: Final = {"empty": laws.empty, "types": laws.types}
#: The names of the checks, in the order in which they are reported.
CHECKS: Final = (*_ON_EVENTS, *_ON_RULES, *_ON_TYPES)


@dataclass(frozen=True, eq=False)
class Result:
    """What one check says of one rule; ``broken`` is None where the law held."""

    rule: LabelRule
    check: str
    broken: Broken | None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that break the law; empty where it held, or where rows as a whole differ."""
        return () if self.broken is None else self.broken.labels(self.rule)

    def __str__(self) -> str:
        """One line; of a failure also what was expected and the smallest events that show it."""
        line = f"{self.rule.key}  {self.check:<8}  "
        if self.broken is None:
            return line + "ok"
        named = ", ".join(repr(n) for n in self.labels) or "the anchors"
        what = "label" if len(self.labels) == 1 else "labels" if self.labels else "rows:"
        block = "".join(f"    {text}\n" if text else "\n" for text in str(self.broken).splitlines())
        return f"{line}FAILED  {what} {named}: {self.broken.said}\n{block}".rstrip("\n")


def check(
    rules: Sequence[LabelRule],
    *,
    fixtures: Mapping[str, pl.DataFrame] | None = None,
    seed: int = 0,
    examples: int = EXAMPLES,
) -> Iterator[Result]:
    """Hold each rule to each law, one result at a time.

    Args:
        rules: what to check.
        fixtures: rule key to events to check it on beside random ones (see ``fixture_events``).
        seed: another gives other random streams.
        examples: how many of them, at least one.

    Yields:
        Results, rule by rule, in the order of ``CHECKS``.

    >>> from labeling import Event, LabelRule, happened
    >>> rule = LabelRule(name="shown", anchor=Event("show"), match=("user_id",), window="1m",
    ...                  labels={"clicked": happened("click")})
    >>> [result.check for result in check((rule,), examples=1) if result.broken]
    []
    """
    if examples < 1:
        raise ValueError(f"examples={examples}: at least one stream is needed")
    for rule in rules:
        given = (fixtures or {}).get(rule.key)
        yield from _of_rule(rule, list(_events(rule, given, seed, examples)), seed)


def _events(
    rule: LabelRule, given: pl.DataFrame | None, seed: int, examples: int
) -> Iterator[pl.DataFrame]:
    """Frames of events; those of golden cases stand in the first, among random ones."""
    for n, frame in enumerate(frames(rule, seed=seed, examples=examples)):
        yield pl.concat([given.select(frame.columns), frame]) if given is not None and n == 0 else frame


def _of_rule(rule: LabelRule, found: Sequence[pl.DataFrame], seed: int) -> Iterator[Result]:
    subjects = [Subject(rule, events, seed) for events in found]
    for name, law in _ON_EVENTS.items():
        yield Result(rule, name, _first(law, subjects))
    for name, look in _ON_RULES.items():
        yield Result(rule, name, look(rule, seed))
    for name, law in _ON_TYPES.items():
        yield Result(rule, name, _first(law, subjects))


def _first(law: Callable[[Subject], Broken | None], subjects: Sequence[Subject]) -> Broken | None:
    """The first failure of a law, made small; None where it held on everything."""
    for subject in subjects:
        found = _failing(law, subject)
        if found is not None:
            rule, seed = subject.rule, subject.seed

            def fails(events: pl.DataFrame, like: Broken = found) -> Broken | None:
                again = _failing(law, Subject(rule, events, seed))
                return again if again is not None and _alike(again, like) else None

            return smallest(fails, found, _TRIES) if found.events.height else found
    return None


def _failing(law: Callable[[Subject], Broken | None], subject: Subject) -> Broken | None:
    """What a law says; a rule without rows fails it."""
    try:
        return law(subject)
    except Unrunnable as error:
        label = _culprit(subject.rule, subject.events)
        cells = (Cell({}, label, "rows", str(error)),)
        return Broken("rows can be computed from any events", cells, subject.events)


def _alike(one: Broken, other: Broken) -> bool:
    """Whether a smaller failure is of the same kind: an error stays one, a difference too."""
    return (one.said.startswith("rows can be")) == (other.said.startswith("rows can be"))


def _culprit(rule: LabelRule, events: pl.DataFrame) -> str:
    """The label without whose definition rows could be computed."""
    for name in rule.labels:
        alone = replace(rule, labels={n: rule.labels[n] for n in _needs(rule, name)}, money=())
        try:
            rows_of(alone, events)
        except Unrunnable:
            return name
    return ROW


def _needs(rule: LabelRule, name: str) -> tuple[str, ...]:
    """A label and those that it uses."""
    used = [n.name for n in rule.labels[name].walk() if isinstance(n, LabelRef)]
    return tuple(dict.fromkeys((*(m for u in used for m in _needs(rule, u)), name)))
