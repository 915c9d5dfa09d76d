"""Features as they lie on disk: found by request and item, and never held in memory."""

from __future__ import annotations

from labeling.config.settings import Config


class FeatureFiles:
    """The features of all sources of a configuration.

    Args:
        config: names the sources and the archive.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
