"""``check``: holds rules to laws 1, 3, 4 and 6, on events of their golden cases and random ones.

Always holds: the same rules, fixtures, seed and number of examples give the same results; each rule
gets one result per check of its kind, in the order of ``CHECKS``; a failure shows the smallest
events found to break the law, and which label differs.

Not promised: a proof. A rule that passes kept the laws on what was tried.

    order      the same events in another order, or evaluated again, give the same rows
    batches    batches, lateness, restarts and repeats change no row
    locality   events of other groups and other users have no influence
    reach      events outside an anchor's reach have no influence
    point      events after a point have no influence on the row at it
    changes    old rows and their changes give the new ones; equal rows make no change
    empty      no events give no rows, of the same columns
    types      labels are of their declared types, and no Boolean is null
    credit     of an attribution: the credits of an action sum to one, its shares to its value
    python     no Python runs inside an expression
    floats     no float is summed
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import polars as pl

from labeling.model.attribution import AttributionRule
from labeling.model.credit import Weighted
from labeling.model.expr import LabelRef
from labeling.model.kinds import Rule
from labeling.model.rule import LabelRule
from labeling.testing.check import drive, laws, wrapped
from labeling.testing.check.finding import ROW, Broken, Cell
from labeling.testing.check.fixtures import fixture_events
from labeling.testing.check.shrink import smallest
from labeling.testing.check.streams import frames
from labeling.testing.check.subject import Subject, Unrunnable, rows_of

__all__ = ["CHECKS", "EXAMPLES", "Result", "check", "checks_of", "fixture_events"]

#: Random streams per rule unless asked otherwise.
EXAMPLES: Final = 60
_TRIES: Final = 120

_UNRUNNABLE: Final = "cannot be computed"
Law = Callable[[Subject], Broken | None]
_ON_EVENTS: Final[Mapping[str, Law]] = {
    "order": laws.order,
    "batches": drive.batches,
    "locality": laws.locality,
    "reach": laws.reach,
    "point": laws.point,
    "changes": drive.published,
    "empty": laws.empty,
    "types": laws.types,
    "credit": laws.credit,
}
_ON_RULES: Final[Mapping[str, Callable[[Rule, int], Broken | None]]] = {
    "python": lambda rule, _: wrapped.python(rule),
    "floats": wrapped.floats,
}
#: The names of the checks, in the order in which they are reported.
CHECKS: Final = (*_ON_EVENTS, *_ON_RULES)


@dataclass(frozen=True, eq=False)
class Result:
    """What one check says of one rule; ``broken`` is None where the law held."""

    rule: Rule
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
        block = "".join(f"    {text}\n" if text else "\n" for text in str(self.broken).splitlines())
        return f"{line}FAILED  {self._what}: {self.broken.said}\n{block}".rstrip("\n")

    @property
    def _what(self) -> str:
        """Which labels are wrong, or that whole rows are."""
        if not self.labels:
            return "rows"
        kind = "label" if isinstance(self.rule, LabelRule) else "column"
        return f"{kind}{'s' if len(self.labels) > 1 else ''} {', '.join(map(repr, self.labels))}"


def check(
    rules: Sequence[Rule],
    *,
    fixtures: Mapping[str, pl.DataFrame] | None = None,
    seed: int = 0,
    examples: int = EXAMPLES,
    only: Collection[str] = CHECKS,
) -> Iterator[Result]:
    """Hold each rule to each law, one result at a time.

    Args:
        rules: what to check.
        fixtures: rule key to events to check it on beside random ones (see ``fixture_events``).
        seed: another gives other random streams.
        examples: how many of them, at least one.
        only: the checks to make, of ``CHECKS``.

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
    unknown = sorted(set(only) - set(CHECKS))
    if unknown:
        raise ValueError(f"only={unknown}: no such check; there are {', '.join(CHECKS)}")
    for rule in rules:
        given = (fixtures or {}).get(rule.key)
        subjects = [Subject(rule, e, seed) for e in _events(rule, given, seed, examples)]
        for name in checks_of(rule):
            if name in only:
                yield Result(rule, name, _checked(name, rule, subjects, seed))


def checks_of(rule: Rule) -> tuple[str, ...]:
    """The checks that a rule is held to, in the order of ``CHECKS``."""
    return tuple(c for c in CHECKS if c != "credit" or isinstance(rule, AttributionRule))


def _events(
    rule: Rule, given: pl.DataFrame | None, seed: int, examples: int
) -> Iterator[pl.DataFrame]:
    """Frames of events; those of golden cases stand in the last, among random ones."""
    found = list(frames(rule, seed=seed, examples=examples))
    if given is not None:
        found[-1] = pl.concat([given.select(found[-1].columns), found[-1]])
    return iter(found)


def _checked(name: str, rule: Rule, subjects: Sequence[Subject], seed: int) -> Broken | None:
    """One check of one rule."""
    if name in _ON_RULES:
        return _ON_RULES[name](rule, seed)
    return _first(_ON_EVENTS[name], subjects, explain=name == "types")


def _first(law: Law, subjects: Sequence[Subject], *, explain: bool) -> Broken | None:
    """The first failure of a law, made small; None where it held on everything.

    Where rows cannot be computed every law fails, and the one that is to ``explain`` shows it.
    """
    for subject in subjects:
        found = _failing(law, subject)
        if found is None:
            continue
        if found.said == _UNRUNNABLE and not explain:
            return replace(found, said=f"{_UNRUNNABLE}, see types", events=subject.events.clear())
        return smallest(partial(_like, law, subject, found.said), found, _TRIES)
    return None


def _failing(law: Law, subject: Subject) -> Broken | None:
    """What a law says; a rule without rows fails it."""
    try:
        return law(subject)
    except Unrunnable as error:
        label = _culprit(subject.rule, subject.events)
        return Broken(_UNRUNNABLE, (Cell({}, label, "rows", str(error)),), subject.events)


def _like(law: Law, subject: Subject, said: str, events: pl.DataFrame) -> Broken | None:
    """The failure of fewer events, if it is an error where the first was one and else not."""
    found = _failing(law, Subject(subject.rule, events, subject.seed))
    same = found is not None and (found.said == _UNRUNNABLE) == (said == _UNRUNNABLE)
    return found if same else None


def _culprit(rule: Rule, events: pl.DataFrame) -> str:
    """The label, or the weights, without whose definition rows could be computed."""
    if isinstance(rule, AttributionRule):
        return next((c for c in _own_weights(rule) if not _runs(_of_credit(rule, c), events)), ROW)
    for name in rule.labels:
        alone = replace(rule, labels={n: rule.labels[n] for n in _needs(rule, name)}, money=())
        if not _runs(alone, events):
            return name
    return ROW


def _runs(rule: Rule, events: pl.DataFrame) -> bool:
    """Whether its rows can be computed."""
    try:
        rows_of(rule, events)
    except Unrunnable:
        return False
    return True


def _own_weights(rule: AttributionRule) -> Iterator[str]:
    """The columns of credit by own weights, if rows can be computed without any."""
    return (f"credit{m}" for m, model in rule.models.items() if isinstance(model, Weighted))


def _of_credit(rule: AttributionRule, column: str) -> AttributionRule:
    """The rule with one of its models only."""
    return replace(rule, credit=rule.models[column.removeprefix("credit")])


def _needs(rule: LabelRule, name: str) -> tuple[str, ...]:
    """A label and those that it uses."""
    used = [n.name for n in rule.labels[name].walk() if isinstance(n, LabelRef)]
    return tuple(dict.fromkeys((*(m for u in used for m in _needs(rule, u)), name)))
