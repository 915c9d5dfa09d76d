"""``[live]``: how ``labeling run`` moves events.

Always holds: nothing here changes what a row says, only when it is there and what it costs.

Not promised: that a configuration fits the machine; ``labeling run`` says what it needs.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from labeling.config.hints import Table
from labeling.config.sizes import size
from labeling.config.source import DurationMs


class LiveConfig(Table):
    """The ``[live]`` table. Durations are ms.

    ``shards`` divide the users; a batch ends at ``batch_events``, at about ``batch_bytes`` of
    records, or after ``batch_ms``;
    ``max_lead_ms`` bounds how far one partition may be read ahead of the slowest;
    ``changes_topic``, ``rejects_topic`` and ``markers_topic`` are written to ``cluster`` after
    each commit;
    ``group`` is the consumer group that is told the positions; ``endpoint`` answers SQL and
    metrics; ``compact`` starts ``labeling compact`` beside the flow whenever an hour is over;
    ``repair_every_ms`` starts ``labeling repair`` so often, 0 never; ``memory_bytes`` is what the
    flow may need for the events of hot rules, None what the machine has.
    """

    shards: Annotated[int, Field(ge=1, le=1024)] = 1
    batch_events: Annotated[int, Field(ge=1)] = 250_000
    batch_bytes: Annotated[int, BeforeValidator(size), Field(ge=1)] = 256 * 10**6
    batch_ms: Annotated[DurationMs, Field(alias="batch", ge=0)] = 500
    max_lead_ms: Annotated[DurationMs, Field(alias="max_lead", ge=0)] = 10 * 60_000
    group: Annotated[str, Field(min_length=1)] = "labeling"
    cluster: str | None = None
    changes_topic: str | None = None
    rejects_topic: str | None = None
    markers_topic: str | None = None
    endpoint: str = "127.0.0.1:8765"
    query_timeout_ms: Annotated[DurationMs, Field(alias="query_timeout", ge=1)] = 30_000
    query_rows: Annotated[int, Field(ge=1)] = 1_000_000
    compact: bool = True
    repair_every_ms: Annotated[DurationMs, Field(alias="repair_every", ge=0)] = 5 * 60_000
    memory_bytes: Annotated[int | None, Field(alias="memory", gt=0), BeforeValidator(size)] = None

    @field_validator("endpoint")
    @classmethod
    def _address(cls, endpoint: str) -> str:
        host, _, port = endpoint.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004 - the last port
            raise ValueError(f"endpoint {endpoint!r}: write host:port, such as '127.0.0.1:8765'")
        return endpoint
