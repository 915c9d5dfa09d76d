"""Who hears what commits publish, so that it can be told elsewhere, or something made of it.

Always holds: every change that a commit makes to a rule's rows is heard inside its transaction,
whoever asked for it: the stream, a replay, or another process through the endpoint; calls follow
one another, since commits take turns. Who listens may write into the commit, and what it publishes
is heard in turn.

Not promised: that what was heard stays. A transaction that fails is followed by ``begin``, not by
``committed``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import polars as pl

    from labeling.io.store.commit import Commit
    from labeling.model.table import RuleTable


class Listener:
    """Hears of the commits of a store; this one does nothing with it."""

    def begin(self) -> None:
        """A transaction begins; what was heard of one that failed is void."""

    def publish(self, commit: Commit, table: RuleTable, changes: pl.DataFrame) -> None:
        """A commit, which may be written to, has published; arguments as for ``Commit.publish``."""

    def publish_first(
        self, commit: Commit, table: RuleTable, rows: pl.DataFrame, updates: pl.DataFrame
    ) -> None:
        """Likewise, as for ``Commit.publish_first``; ``rows`` may have ``point_ts``, ``reason``."""

    def hours(
        self,
        commit: Commit,
        table: RuleTable,
        complete: Mapping[datetime, bool],
        through_ts: datetime | None,
        published_by: str,
    ) -> None:
        """A commit has noted what is published of hours; arguments as for ``Commit.set_hours``."""

    def passed(self, commit: Commit, table: RuleTable, before_ms: int, f_ms: int) -> None:
        """In this commit ``F`` of a rule's version goes from ``before_ms`` to ``f_ms``."""

    def features(self, commit: Commit, source: str, late: pl.DataFrame) -> None:
        """A commit has archived features of a source, ``late`` (the archive's columns) late."""

    def end(self, commit: Commit) -> None:
        """The last of a transaction."""

    def committed(self) -> None:
        """The transaction is in the store, and no other has begun. Does not fail, nor wait."""

    def send(self) -> None:
        """Tell others what is committed. Not in a transaction; from any thread, and may wait.

        Raises:
            DataError: they cannot be told now. What was heard is kept.
        """


@dataclass(frozen=True)
class Several(Listener):
    """Listeners that hear everything, one after the other.

    The last one's ``end`` and ``committed`` come last: it may still hear what the others publish.
    """

    each: Sequence[Listener]

    def begin(self) -> None:
        """See ``Listener``."""
        for one in self.each:
            one.begin()

    def publish(self, commit: Commit, table: RuleTable, changes: pl.DataFrame) -> None:
        """See ``Listener``."""
        for one in self.each:
            one.publish(commit, table, changes)

    def publish_first(
        self, commit: Commit, table: RuleTable, rows: pl.DataFrame, updates: pl.DataFrame
    ) -> None:
        """See ``Listener``."""
        for one in self.each:
            one.publish_first(commit, table, rows, updates)

    def hours(
        self,
        commit: Commit,
        table: RuleTable,
        complete: Mapping[datetime, bool],
        through_ts: datetime | None,
        published_by: str,
    ) -> None:
        """See ``Listener``."""
        for one in self.each:
            one.hours(commit, table, complete, through_ts, published_by)

    def passed(self, commit: Commit, table: RuleTable, before_ms: int, f_ms: int) -> None:
        """See ``Listener``."""
        for one in self.each:
            one.passed(commit, table, before_ms, f_ms)

    def features(self, commit: Commit, source: str, late: pl.DataFrame) -> None:
        """See ``Listener``."""
        for one in self.each:
            one.features(commit, source, late)

    def end(self, commit: Commit) -> None:
        """See ``Listener``."""
        for one in self.each:
            one.end(commit)

    def committed(self) -> None:
        """See ``Listener``."""
        for one in self.each:
            one.committed()

    def send(self) -> None:
        """See ``Listener``."""
        for one in self.each:
            one.send()


#: Where nobody listens.
DEAF: Final = Listener()
