"""A golden case: events in the order of their arrival beside the rows they must end as.

Always holds: a ``Case`` was read from four files at most, all of them known, none of them empty,
on one screen; its expectation names a rule that exists. Anything else is a ``CaseError``.

    fixtures/<rule>/<case>/case.toml     why, max_disorder, lateness, version
                          /events.txt    one event a line, as they arrive
                          /rows.txt      the rows when everything has ended
                          /changes.txt   optional: what was published on the way, event by event

Not promised: that the expectation is right. Running it says so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import polars as pl

from labeling.errors import DataError
from labeling.model.event import REQUIRED
from labeling.model.kinds import Rule
from labeling.model.window import duration_ms
from labeling.testing.arrival import Arrival
from labeling.testing.golden_table import (
    MOST_WIDTH,
    Sheet,
    Table,
    TableError,
    read_sheet,
    read_table,
    value,
)

MOST_EVENTS: Final = 25
EXPECTED: Final = ("rows.txt", "changes.txt")
_FILES: Final = frozenset({"case.toml", "events.txt", *EXPECTED})
_KEYS: Final = frozenset({"why", "max_disorder", "lateness", "version"})
#: An optional column of events.txt: what must become of the event, event by event.
OUTCOME: Final = "outcome"
OUTCOMES: Final = ("on_time", "late", "too_late", "duplicate", "rejected")


class CaseError(DataError):
    """A case, or what lies in its place, cannot be run; the message names the fix."""


@dataclass(frozen=True, eq=False)
class Case:
    """What a case says.

    ``lines`` has the columns of the rule's ``event_schema``, one row per line of events.txt in
    order; ``outcomes`` is what must become of each, or None where the file does not say.
    """

    path: Path
    rule: Rule
    why: str
    max_disorder_ms: int
    lateness_ms: int
    lines: pl.DataFrame
    outcomes: tuple[str, ...] | None
    rows: Sheet | None
    changes: Sheet | None

    @property
    def name(self) -> str:
        """``<rule>/<case>``: how people name the case."""
        return f"{self.path.parent.name}/{self.path.name}"

    @cached_property
    def accepted(self) -> pl.Series:
        """Of each line whether it is an event: without a required column it is rejected."""
        whole = pl.all_horizontal(pl.col(c).is_not_null() for c in REQUIRED)
        return self.lines.select(whole).to_series()

    @cached_property
    def arrival(self) -> Arrival:
        """The events as drives take them."""
        events = self.lines.filter(self.accepted)
        return Arrival(self.rule, events, self.max_disorder_ms, self.lateness_ms)


@dataclass(frozen=True)
class Place:
    """A case's folder, or something that should not be there and the reason."""

    path: Path
    problem: str | None = None

    @property
    def name(self) -> str:
        """``<rule>/<case>``, or the name of what is in the wrong place."""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def said(self) -> str:
        """The problem with its place, once."""
        problem = self.problem or "cannot be run"
        return problem if problem.startswith(str(self.path)) else f"{self.path}: {problem}"


def places(root: Path, rules: Sequence[Rule]) -> list[Place]:
    """Every case under a fixtures folder, by name, and everything that is none.

    Args:
        root: the fixtures folder, one folder per rule inside.
        rules: the rules that cases may be about.
    """
    known = {rule.name for rule in rules}
    found: list[Place] = []
    for folder in _visible(root):
        if folder.is_file():
            if folder.name != "README.md":
                found.append(Place(folder, "not a folder of cases; move it or remove it"))
        elif folder.name not in known:
            near = get_close_matches(folder.name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            found.append(Place(folder, f"no rule has this name; {hint}Rename or remove the folder"))
        else:
            inside = _visible(folder)
            found += [_place(path) for path in inside]
            if not inside:
                found.append(Place(folder, "a rule's folder without cases; add one or remove it"))
    return found


def _place(path: Path) -> Place:
    return Place(path, None if path.is_dir() else "not a case's folder; move it or remove it")


def _visible(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if not p.name.startswith((".", "__")))


def load(path: Path, rules: Sequence[Rule], *, accepting: bool = False) -> Case:
    """The case in a folder.

    Args:
        path: ``fixtures/<rule>/<case>``.
        rules: the rules that it may be about.
        accepting: do not mind a missing or unreadable expectation: it is about to be written.

    Raises:
        CaseError: something is missing, empty, unknown, unreadable or does not fit a screen.
    """
    strange = [p.name for p in _visible(path) if p.name not in _FILES]
    if strange:
        raise CaseError(f"{path}: unknown file {strange[0]!r}; a case has {_list(_FILES)}")
    said = _said(path)
    rule = _rule(path, rules, said.get("version"))
    try:
        disorder, lateness = (duration_ms(said[k]) for k in ("max_disorder", "lateness"))
    except (TypeError, ValueError) as error:
        raise CaseError(f"{path / 'case.toml'}: {error}") from error
    lines, outcomes = _events(path / "events.txt", rule)
    rows, changes = (None if accepting else _expected(path / name) for name in EXPECTED)
    if rows is None and not accepting:
        raise CaseError(
            f"{path}: no rows.txt; write it, or accept it by name: --accept {path.name}"
        )
    return Case(path, rule, said["why"], disorder, lateness, lines, outcomes, rows, changes)


def _said(path: Path) -> Mapping[str, Any]:
    file = path / "case.toml"
    if not file.exists():
        raise CaseError(
            f"{path}: no case.toml; it says why the case exists, or the folder is orphaned"
        )
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise CaseError(f"{file}: {error}") from error
    for key in said.keys() - _KEYS:
        near = get_close_matches(key, _KEYS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"a case has {_list(_KEYS)}"
        raise CaseError(f"{file}: unknown key {key!r}; {hint}")
    for key in sorted(_KEYS - {"version"} - said.keys()):
        raise CaseError(f"{file}: {key} is missing")
    if not isinstance(said["why"], str) or not said["why"].strip():
        raise CaseError(f"{file}: why is empty; say what the case is there to show")
    return said


def _rule(path: Path, rules: Sequence[Rule], version: object) -> Rule:
    named = [r for r in rules if r.name == path.parent.name]
    fit = [r for r in named if version in (None, r.version)]
    if len(fit) == 1:
        return fit[0]
    have = _list(str(r.version) for r in named) or "none"
    fix = "say which in case.toml" if version is None else f"not {version}"
    raise CaseError(f"{path}: rule {path.parent.name!r} has versions: {have}; {fix}")


def _events(file: Path, rule: Rule) -> tuple[pl.DataFrame, tuple[str, ...] | None]:
    found = _table(file)
    if found is None:
        raise CaseError(f"{file.parent}: no events.txt; without it the expectation is orphaned")
    if len(found.rows) > MOST_EVENTS:
        raise CaseError(f"{file}: {len(found.rows)} events; a case has {MOST_EVENTS} at most")
    schema = {**rule.event_schema, OUTCOME: pl.String()}
    for column in found.header:
        if column not in schema:
            near = get_close_matches(column, schema, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "the rule declares no such column"
            raise CaseError(f"{file}: unknown column {column!r}; {hint}")
    numbers = [{"event_id": f"e{n}"} for n in range(1, len(found.rows) + 1)]
    records = [
        {**n, **_values(file, r, schema)} for n, r in zip(numbers, found.records(), strict=True)
    ]
    outcomes = None
    if OUTCOME in found.header:
        outcomes = tuple(r.pop(OUTCOME) or "on_time" for r in records)
        for word in outcomes:
            if word not in OUTCOMES:
                raise CaseError(f"{file}: outcome {word!r}; one of {_list(OUTCOMES)}")
    return pl.DataFrame(records, schema=dict(rule.event_schema)), outcomes


def _values(
    file: Path, record: Mapping[str, str], schema: Mapping[str, pl.DataType]
) -> dict[str, Any]:
    values = {}
    for column, cell in record.items():
        try:
            values[column] = value(cell, schema[column])
        except TableError as error:
            raise CaseError(f"{file}: column {column!r}: {error}") from error
    return values


def _expected(file: Path) -> Sheet | None:
    if not file.exists():
        return None
    try:
        found = read_sheet(file.read_text(encoding="utf-8"))
    except TableError as error:
        raise CaseError(f"{file}: {error}") from error
    for part in found.tables:
        _fits(file, part)
    return found


def _table(file: Path) -> Table | None:
    if not file.exists():
        return None
    try:
        found = read_table(file.read_text(encoding="utf-8"))
    except TableError as error:
        raise CaseError(f"{file}: {error}") from error
    _fits(file, found)
    return found


def _fits(file: Path, found: Table) -> None:
    """Refuse a table without lines, or one that is wider than a screen."""
    if not found.rows:
        raise CaseError(f"{file}: empty; a case has at least one line under its header")
    if found.width > MOST_WIDTH:
        raise CaseError(f"{file}: {found.width} characters wide; {MOST_WIDTH} fit on a screen")


def _list(words: Any) -> str:
    return ", ".join(sorted(words))
