"""The pytest plugin: a project's ``fixtures/`` run with its tests, one item per case and drive.

Always holds: everything under the fixtures folder is an item that passes or fails; what is
missing, orphaned, unknown or empty fails. ``--accept NAME`` rewrites the expectation of exactly
the named case, says so, and fails where it cannot.

Not promised: that cases run when paths are given and the fixtures are not among them.

    pytest                              all tests and, after them, all cases
    pytest fixtures/note_labels         the cases of a rule
    pytest --accept two_clicks          rewrite what one case expects (again for another)

Options in the ini file: ``labeling_fixtures`` (the folder, "fixtures") and ``labeling_rules``
("module:RULES"; else ``rules`` in labeling.toml, else "rules:RULES").
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pytest

from labeling.errors import LabelingError
from labeling.model.kinds import Rule
from labeling.testing.drives import DRIVES, Drive
from labeling.testing.golden_case import Case, CaseError, Place, load, places
from labeling.testing.golden_run import Failure, accept, check, named, rules_of

_PROJECT: Final = pytest.StashKey["Project"]()


class Project:
    """The fixtures of a pytest run: where they are, their rules, and what was asked to accept."""

    def __init__(self, config: pytest.Config) -> None:
        self.root = config.rootpath
        self.fixtures = self.root / config.getini("labeling_fixtures")
        self._named_rules = config.getini("labeling_rules") or None
        self.accepted: dict[Path, str | None] = {}

    @cached_property
    def active(self) -> bool:
        """Whether the folder holds golden cases; other projects have a ``fixtures/`` too."""
        return any(self.fixtures.glob("*/*/case.toml"))

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The project's rules, imported from its root when first asked for."""
        if str(self.root) not in sys.path:
            sys.path.insert(0, str(self.root))
        return rules_of(self.root, self._named_rules)

    @cached_property
    def places(self) -> list[Place]:
        """Every case, and what is in the place of one."""
        return places(self.fixtures, self.rules) if self.active else []


class GoldenFailureError(Exception):
    """A case does not end as expected; the message is the table of differences."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))


class Folder(pytest.Directory):
    """The fixtures folder, a rule's folder in it, or a case's in that."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """What is inside: folders of folders, and in the end items."""
        project = self.config.stash[_PROJECT]
        try:
            found = project.places
        except LabelingError as error:
            broken = Place(self.path, str(error))
            yield Misplaced.from_parent(self, name="rules", place=broken)
            return
        folders = []
        for place in found:
            if place.path == self.path:
                yield from self._case(project, place)
            elif place.path.parent == self.path and not place.path.is_dir():
                yield Misplaced.from_parent(self, name=place.path.name, place=place)
            elif self.path in place.path.parents:
                depth = len(self.path.parts) + 1
                folders.append(Path(*place.path.parts[:depth]))
        for path in dict.fromkeys(folders):
            yield Folder.from_parent(self, path=path)

    def _case(self, project: Project, place: Place) -> Iterator[pytest.Item]:
        if place.problem is not None:
            yield Misplaced.from_parent(self, name="unknown", place=place)
        elif place.path in project.accepted:
            yield Accepting.from_parent(self, name="accept", place=place)
        else:
            try:
                case = load(place.path, project.rules)
            except CaseError as error:
                broken = Place(place.path, str(error))
                yield Misplaced.from_parent(self, name="unreadable", place=broken)
                return
            for drive in DRIVES:
                yield Driven.from_parent(self, name=drive.name, case=case, drive=drive)


class _Quiet(pytest.Item):
    """An item that reports its own message, not Python's stack."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The message of what is expected to go wrong, the stack of what is not."""
        if isinstance(excinfo.value, GoldenFailureError | LabelingError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """The case's folder and the drive."""
        return self.path, None, f"{self.path.parent.name}/{self.path.name} {self.name}"


class Driven(_Quiet):
    """One case in one drive."""

    def __init__(self, *, case: Case, drive: Drive, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case, self.drive = case, drive

    def runtest(self) -> None:
        """Run the drive and compare."""
        failure = check(self.case, self.drive)
        if failure is not None:
            raise GoldenFailureError(failure)


class Misplaced(_Quiet):
    """Something under the fixtures that is no case that can be run; it always fails."""

    def __init__(self, *, place: Place, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.place = place

    def runtest(self) -> None:
        """Say what is wrong."""
        raise CaseError(self.place.said)


class Accepting(_Quiet):
    """A case named by ``--accept``: its expectation is written, then held in every drive."""

    def __init__(self, *, place: Place, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.place = place

    def runtest(self) -> None:
        """Write, then check."""
        project = self.config.stash[_PROJECT]
        project.accepted[self.place.path] = accept(self.place, project.rules)
        case = load(self.place.path, project.rules)
        for drive in DRIVES:
            failure = check(case, drive)
            if failure is not None:
                raise GoldenFailureError(failure)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the command line and of the ini file."""
    group = parser.getgroup("labeling")
    group.addoption(
        "--accept",
        dest="labeling_accept",
        metavar="NAME",
        action="append",
        default=[],
        help="rewrite what the golden case NAME expects, from the event-by-event drive",
    )
    parser.addini("labeling_fixtures", "folder of golden cases", default="fixtures")
    parser.addini("labeling_rules", "module:RULES that the golden cases are about", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Find the cases, refuse names to accept that are none's, and run fixtures with testpaths."""
    config.stash[_PROJECT] = project = Project(config)
    try:
        for name in config.getoption("labeling_accept"):
            project.accepted[named(project.places, name).path] = None
    except LabelingError as error:
        raise pytest.UsageError(str(error)) from error
    if project.active and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        config.args.append(str(project.fixtures))


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """The fixtures folder is ours to collect."""
    project = parent.config.stash[_PROJECT]
    if path == project.fixtures and project.active:
        folder: pytest.Collector = Folder.from_parent(parent, path=path)
        return folder
    return None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A case that was to be accepted and was not is a failure, also where it never ran."""
    project = session.config.stash.get(_PROJECT, None)
    if project is not None and None in project.accepted.values():
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was accepted and what was not."""
    project = terminalreporter.config.stash[_PROJECT]
    for path, said in project.accepted.items():
        if said is None:
            terminalreporter.write_line(
                f"NOT accepted: {path} did not run; nothing was written", red=True
            )
        else:
            terminalreporter.write_line(said, yellow=True)
