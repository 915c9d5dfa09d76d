"""Who listens to a store that is written, in which order.

Always holds: every process that may publish rows has the same listeners: the flow, and replay,
repair or verify where no flow runs. Samples come first, since others hear of them; who writes to
topics comes last.

Not promised: that a publication through another process's store is heard here. That one hears it.
"""

from __future__ import annotations

from labeling.config.rules import Tree
from labeling.config.settings import Config
from labeling.io.store.listener import Listener
from labeling.products.context import Context, Stage
from labeling.products.formats.topics import SampleTopics
from labeling.products.health.keeper import HealthKeeper
from labeling.products.markers.keeper import MarkerKeeper
from labeling.products.rollups.keeper import RollupKeeper
from labeling.products.samples.maker import SampleMaker


def listeners(config: Config, tree: Tree, stage: Stage) -> tuple[Listener, ...]:
    """The listeners that make products, in their order.

    Args:
        config: the configuration.
        tree: the operator's rules, samples and rollups.
        stage: puts records for topics beside a commit; see ``Context``.
    """
    context = Context(config, tree, stage)
    return (
        SampleMaker(context),
        RollupKeeper(context),
        HealthKeeper(context),
        MarkerKeeper(context),
        SampleTopics(context),
    )
