"""Running golden cases: one case through one drive, and writing down what it should have been.

Always holds: nothing is written but by ``accept``, which writes the expectation of one case, named
by the caller, from the event-by-event drive; a drive's changes are held to changes.txt or,
where a case has none, to those of the event-by-event drive, wherever they can be compared.

Not promised: that an accepted expectation is right. It is what the engine made; read it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from labeling.errors import ConfigError
from labeling.model.kinds import Rule
from labeling.model.rollup import Rollup
from labeling.model.sample import SampleRule
from labeling.testing.drives import EVENT_BY_EVENT, Drive, Run
from labeling.testing.golden_case import EXPECTED, Case, CaseError, Place, load
from labeling.testing.golden_diff import (
    Difference,
    compare_changes,
    compare_outcomes,
    compare_rows,
    difference_table,
)
from labeling.testing.golden_layout import changes_sheet, rows_sheet
from labeling.testing.golden_table import Sheet, TableError, read_sheet

#: What names the rules where neither configuration nor caller does.
DEFAULT_RULES: Final = "rules:RULES"
_SHOWN: Final = 20
_WRITTEN: Final[WeakKeyDictionary[Case, Sheet]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Failure:
    """A case that did not pass a drive: which pass of the drive, and what differs."""

    case: str
    drive: str
    label: str
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        """A headline and a table, for people."""
        label = f" ({self.label})" if self.label else ""
        shown = difference_table(self.differences[:_SHOWN])
        more = len(self.differences) - _SHOWN
        rest = f"and {more} more\n" if more > 0 else ""
        return f"{self.case} in drive {self.drive}{label}:\n{shown}{rest}"


def check(case: Case, drive: Drive) -> Failure | None:
    """The first pass of a drive that does not end as the case says; None where all do.

    Raises:
        CaseError: the expectation names columns that the rule does not have.
        Exception: whatever the engine raises.
    """
    for run in drive.runs(case.arrival):
        try:
            differences = tuple(_differences(case, run))
        except TableError as error:
            raise CaseError(f"{case.path}: {error}") from error
        if differences:
            return Failure(case.name, drive.name, run.label, differences)
    return None


def _differences(case: Case, run: Run) -> Iterator[Difference]:
    if case.rows is None:
        raise CaseError(f"{case.path}: no rows.txt to compare with")
    yield from compare_rows(case.rule, case.rows, run.rows)
    if run.changes is not None:
        expected = case.changes or _written(case)
        yield from compare_changes(case.rule, expected, run.changes, reasons=run.reasons)
    if run.outcomes is not None and case.outcomes is not None:
        became = iter(run.outcomes)
        got = [next(became) if whole else "rejected" for whole in case.accepted]
        yield from compare_outcomes(case.outcomes, got)


def _written(case: Case) -> Sheet:
    """The changes of the event-by-event drive, which is run once for each case."""
    known = _WRITTEN.get(case)
    if known is not None:
        return known
    run = next(EVENT_BY_EVENT.runs(case.arrival))
    if run.changes is None:
        raise RuntimeError("the event-by-event drive has no changes")
    _WRITTEN[case] = made = changes_sheet(case.rule, run.changes)
    return made


def accept(place: Place, rules: Sequence[Rule]) -> str:
    """Write rows.txt, and changes.txt where the file exists, from the event-by-event drive.

    Columns shown before are shown again. To begin a changes.txt, make an empty file.

    Returns:
        What was done, for people.

    Raises:
        CaseError: the case cannot be run, or ends without a row.
    """
    case = load(place.path, rules, accepting=True)
    run = next(EVENT_BY_EVENT.runs(case.arrival))
    if not run.rows.height or run.changes is None:
        raise CaseError(f"{place.path}: ends without a row; a case expects at least one")
    rows, changes = (place.path / name for name in EXPECTED)
    made = {rows: rows_sheet(case.rule, run.rows, _header(rows))}
    if changes.exists():
        made[changes] = changes_sheet(case.rule, run.changes, _header(changes))
    for file, sheet in made.items():
        file.write_text(str(sheet), encoding="utf-8")
    said = ", ".join(f"{f.name} ({t.lines} lines)" for f, t in made.items())
    return f"accepted {case.name}: wrote {said}; read them before you commit them"


def _header(file: Path) -> tuple[str, ...]:
    """The columns that a file shows, none where it cannot be read."""
    try:
        return read_sheet(file.read_text(encoding="utf-8")).header
    except (OSError, TableError):
        return ()


def named(places: Sequence[Place], name: str) -> Place:
    """The place of a case by its name, or by ``<rule>/<case>`` where several share it.

    Raises:
        ConfigError: no case or several have the name.
    """
    fit = [p for p in places if p.problem is None and name in (p.path.name, p.name)]
    if len(fit) == 1:
        return fit[0]
    if fit:
        raise ConfigError(f"case {name!r}: write one of {', '.join(p.name for p in fit)}")
    raise ConfigError(f"case {name!r}: there is none of this name; see `labeling golden`")


def rules_of(root: Path, named_rules: str | None = None) -> tuple[Rule, ...]:
    """The rules of a project.

    Args:
        root: the project's folder, from which its modules are imported.
        named_rules: ``module:RULES``; else ``rules`` of labeling.toml, else ``rules:RULES``.

    Raises:
        ConfigError: they cannot be imported, or are no tuple of rules.
    """
    spec = named_rules or _configured(root / "labeling.toml") or DEFAULT_RULES
    module, _, name = spec.partition(":")
    if not module or not name:
        raise ConfigError(f"rules {spec!r}: write module:NAME, such as {DEFAULT_RULES!r}")
    try:
        rules = getattr(import_module(module), name)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise ConfigError(f"rules {spec!r}: {said}; is {root} the project's folder?") from error
    known = Rule | SampleRule | Rollup
    if not isinstance(rules, list | tuple) or not all(isinstance(r, known) for r in rules):
        raise ConfigError(f"rules {spec!r}: {name} must be a tuple of rules")
    # Samples and rollups follow from the rows of rules, which cases are about.
    return tuple(r for r in rules if isinstance(r, Rule))


def _configured(file: Path) -> str | None:
    if not file.exists():
        return None
    try:
        rules = tomllib.loads(file.read_text(encoding="utf-8")).get("rules")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {error}") from error
    return rules if isinstance(rules, str) else None
