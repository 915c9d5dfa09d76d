"""What a live flow writes of itself into a commit: positions, watermarks, gaps, deliveries.

Always holds: a row replaces the one of the same key; what is replaced and what replaces it belong
to one transaction.

Not promised: that what is written follows from what was read. Its callers see to that.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from labeling.io.store.live_tables import DELIVERIES, GAPS, OUTBOX, POSITIONS, STREAMS, WATERMARKS
from labeling.io.store.transaction import Transaction


class LiveCommit(Transaction):
    """A transaction with the calls of a live flow."""

    def set_positions(self, positions: pl.DataFrame) -> None:
        """Replace positions; rows of ``positions`` but ``commit``."""
        self.replace(POSITIONS, positions, ("source", "cluster", "topic", "partition", "shard"))

    def set_watermarks(self, watermarks: pl.DataFrame) -> None:
        """Replace watermarks; rows of ``watermarks`` but ``commit``."""
        self.replace(WATERMARKS, watermarks, ("shard", "kind", "name"))

    def forget_positions(self, topic: str | None = None) -> None:
        """Take out the positions of one topic, or all positions and watermarks."""
        if topic is None:
            self._db.run("DELETE FROM positions")
            self._db.run("DELETE FROM watermarks")
        else:
            self._db.run("DELETE FROM positions WHERE topic = ?", [topic])

    def set_streams(self, streams: pl.DataFrame) -> None:
        """Replace what the stream owns; rows of ``streams`` but ``commit``."""
        self.replace(STREAMS, streams, ("rule", "version"))

    def append_gaps(self, gaps: pl.DataFrame) -> None:
        """Add rows of ``gaps``; columns as there, but ``commit``."""
        self.append(GAPS, gaps)

    def set_delivered(self, topic: str, through_commit: int) -> None:
        """Note how far a topic has been delivered."""
        row = pl.DataFrame({"topic": [topic], "through_commit": [through_commit]})
        self.replace(DELIVERIES, row, ("topic",))

    def add_outbox(self, files: pl.DataFrame) -> None:
        """Name files of records to be sent; rows of ``outbox`` but ``commit``."""
        self.append(OUTBOX, files)

    def remove_outbox(self, names: Iterable[str]) -> None:
        """Take out files that were delivered; whoever calls deletes them after the commit."""
        self._db.run("DELETE FROM outbox WHERE name IN (SELECT unnest(?))", [list(names)])
