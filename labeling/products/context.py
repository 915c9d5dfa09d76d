"""What those who listen to a store know of the world.

Always holds: a value; it is made once for a store that is opened to be written.

Not promised: topics. A process that is no flow stages records, and a flow sends them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from labeling.config.rules import Tree
from labeling.config.settings import Config
from labeling.io.store.commit import Commit
from labeling.products.features.files import FeatureFiles

#: Puts a commit's records for a topic (``key`` and ``value``, Binary) beside it; see ``Outbox``.
Stage = Callable[[Commit, str, pl.DataFrame], None]


def unheard(commit: Commit, topic: str, records: pl.DataFrame) -> None:
    """Tell nobody: of those who only read, or publish for no topic."""


@dataclass(frozen=True)
class Context:
    """Configuration, the operator's tree, features on disk, and where records for topics go."""

    config: Config
    tree: Tree
    stage: Stage = unheard
    features: FeatureFiles = field(init=False)

    def __post_init__(self) -> None:
        """Open nothing yet."""
        object.__setattr__(self, "features", FeatureFiles(self.config))
