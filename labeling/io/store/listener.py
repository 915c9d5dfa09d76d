"""Who hears what commits publish, so that it can be told elsewhere.

Always holds: every change that a commit makes to a rule's rows is heard inside its transaction,
whoever asked for it: the stream, a replay, or another process through the endpoint; calls follow
one another, since commits take turns.

Not promised: that what was heard stays. A transaction that fails is followed by ``begin``, not by
``committed``.
"""

from __future__ import annotations

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
        """A commit, which may be written to, publishes; arguments as for ``Commit.publish``."""

    def publish_first(
        self, commit: Commit, table: RuleTable, rows: pl.DataFrame, updates: pl.DataFrame
    ) -> None:
        """Likewise, as for ``Commit.publish_first``; ``rows`` may have ``point_ts``, ``reason``."""

    def end(self, commit: Commit) -> None:
        """The last of a transaction."""

    def committed(self) -> None:
        """The transaction is in the store, and no other has begun. Does not fail, nor wait."""

    def send(self) -> None:
        """Tell others what is committed. Not in a transaction; from any thread, and may wait.

        Raises:
            DataError: they cannot be told now. What was heard is kept.
        """


#: Where nobody listens.
DEAF: Final = Listener()
