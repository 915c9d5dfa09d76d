"""Errors whose message is meant for the person at the terminal.

Always holds: the message says what was wrong, where, and what to do about it; the command
line prints it as one line and exits with ``exit_code``.

    LabelingError            anything below, caught by the command line
    ├── ConfigError          labeling.toml or a command's arguments
    ├── RuleError            a rule that cannot mean anything; also a ValueError
    ├── DataError            data that is missing, damaged or not ready
    ├── RegistryUnavailable  a schema registry that does not answer: wait, and ask again
    └── StoreError           the DuckDB file: locked, full, of another version
"""

from __future__ import annotations


class LabelingError(Exception):
    """Base of every error that names its own fix.

    ``transient``: what went wrong is outside, and the same may work later: a flow waits and tries
    again, a command ends.
    """

    exit_code = 2

    def __init__(self, message: str = "", *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class ConfigError(LabelingError):
    """The configuration or the arguments do not make sense."""


class RuleError(LabelingError, ValueError):
    """A rule does not make sense; the message names the rule and the fix."""


class DataError(LabelingError):
    """Input or archived data is missing, damaged or not ready."""

    exit_code = 1


class RegistryUnavailable(LabelingError):  # noqa: N818 - a state that passes, not a fault
    """A schema registry does not answer, or refuses us; nothing was decoded, so ask again."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message, transient=True)


class StoreError(LabelingError):
    """The store cannot be opened, read or written."""

    exit_code = 1
