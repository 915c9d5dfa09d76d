"""The decoder of a configured source: the one place that makes it.

Always holds: topics, imports, rejects and ``labeling source try`` read a source's records alike,
with the columns of its kind: those of ``[columns]``, or its own features.

Not promised: that a registry answers; a decoder asks it when it meets a schema.
"""

from __future__ import annotations

from labeling.config.settings import Config
from labeling.config.source import SourceConfig
from labeling.io.decode import Decoder


def open_decoder(config: Config, source: SourceConfig) -> Decoder:
    """Make a source's decoder.

    Raises:
        ConfigError: the mapping cannot work, or the format needs a registry and there is none.
    """
    # Only who reads these formats waits for the import of a registry's client.
    registry = None
    if source.format in ("avro", "protobuf"):
        from labeling.io.registry import source_registry  # noqa: PLC0415 - as said

        registry = source_registry(config, source)
    return Decoder(
        source,
        config.columns_of(source),
        max_clock_skew_ms=config.max_clock_skew_ms,
        registry=registry,
    )
