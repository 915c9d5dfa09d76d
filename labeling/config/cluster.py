"""A Kafka cluster and its schema registry, as ``[cluster.NAME]`` names them.

Always holds: whatever librdkafka or the registry's client can be told stands under its own name in
``settings`` and is passed on as it is; the few settings on which exactness rests are refused there.

Not promised: that a setting exists. librdkafka says so when a client is made.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, field_validator

from labeling.config.hints import Table

#: Ours: other values of them would lose or double records, or are said elsewhere.
RESERVED: Final = {
    "bootstrap.servers": "write it as bootstrap = ",
    "enable.auto.commit": "positions are committed with their effects",
    "enable.auto.offset.store": "positions are committed with their effects",
    "auto.offset.reset": "an expired position is listed as a gap, never skipped silently",
    "enable.idempotence": "what is sent must not be doubled or reordered",
    "enable.partition.eof": "it tells when a partition has been read to its end",
    "statistics.interval.ms": "it is the reader's timer",
    "group.id": "write it as group = in [live]",
}

Setting = str | int | float | bool


class RegistryConfig(Table):
    """A Confluent schema registry: ``url`` and the settings of its client (auth, TLS)."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    settings: dict[str, Setting] = Field(default_factory=dict)


class ClusterConfig(Table):
    """A Kafka cluster: ``bootstrap`` servers, librdkafka ``settings``, and a ``registry``."""

    bootstrap: Annotated[str, Field(min_length=1)]
    settings: dict[str, Setting] = Field(default_factory=dict)
    registry: RegistryConfig | None = None

    @field_validator("settings")
    @classmethod
    def _free(cls, settings: dict[str, Setting]) -> dict[str, Setting]:
        for name, why in RESERVED.items():
            if name in settings:
                raise ValueError(f"{name} is set by the flow itself: {why}")
        return settings
