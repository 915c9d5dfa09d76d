"""The event contract: one row is one thing that happened, immutable.

Always holds: the identity of an event is ``(user_id, event_ts, event_id)``;
``event_ts`` is UTC in whole milliseconds; these columns are the only ones that rules,
archive and store know, besides the extra columns that a configuration declares and the
columns of origin that the archive keeps.

Not promised: that a column beyond the identity and the type is filled. A null in a
match column takes no part in matching.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Union, get_args, get_origin

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

TS: Final = pl.Datetime("ms", "UTC")


class Contract(BaseModel):
    """One event as it enters the engine. The schema below is derived from this model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: Annotated[str, Field(min_length=1, description="repeats are duplicates")]
    event_ts: Annotated[datetime, Field(description="when it happened, UTC, whole ms")]
    event_type: Annotated[
        str, Field(min_length=1, description="open set: rules name what they read")
    ]
    user_id: Annotated[str, Field(min_length=1, description="the shard column")]
    item_id: Annotated[str | None, Field(description="what it is about")] = None
    author_id: Annotated[str | None, Field(description="who made the item")] = None
    request_id: Annotated[
        str | None, Field(description="the recommendation request; joins features")
    ] = None
    impression_id: Annotated[str | None, Field(description="reference to an impression")] = None
    view_id: Annotated[str | None, Field(description="pairs the events of one view")] = None
    order_id: Annotated[str | None, Field(description="reference to an order")] = None
    scene: Annotated[str | None, Field(description="discovery, search, profile, ...")] = None
    page_id: Annotated[str | None, Field(description="the page it happened on")] = None
    referrer_page_id: Annotated[str | None, Field(description="the page before it")] = None
    position: Annotated[
        int | None, Field(ge=-(2**31), lt=2**31, description="slot in the list")
    ] = None
    value: Annotated[
        int | None, Field(description="money in micro-units, or ms, by event type")
    ] = None
    session_id: Annotated[str | None, Field(description="the client's session")] = None
    platform: Annotated[str | None, Field(description="ios, android, web, ...")] = None
    experiments: Annotated[
        list[str] | None, Field(description="passed through to every output row")
    ] = None
    props: Annotated[str | None, Field(description="the rest of the record, JSON")] = None


_SCALARS: Final[Mapping[Any, pl.DataType]] = {
    str: pl.String(),
    int: pl.Int64(),
    datetime: TS,
    list[str]: pl.List(pl.String()),
}


def _dtype(name: str, annotation: Any) -> pl.DataType:
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (a for a in get_args(annotation) if a is not type(None))
    # The one column narrower than its Python type: see its bounds in the model.
    return pl.Int32() if name == "position" else _SCALARS[annotation]


EVENT_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    name: _dtype(name, field.annotation) for name, field in Contract.model_fields.items()
}
REQUIRED: Final = tuple(n for n, f in Contract.model_fields.items() if f.is_required())
IDENTITY: Final = ("user_id", "event_ts", "event_id")

#: What a configuration or a rule may declare a further column to be.
EXTRA_TYPES: Final[Mapping[str, pl.DataType]] = {
    "str": pl.String(),
    "i32": pl.Int32(),
    "i64": pl.Int64(),
    "f64": pl.Float64(),
    "bool": pl.Boolean(),
    "datetime": TS,
    "list[str]": pl.List(pl.String()),
    "list[f64]": pl.List(pl.Float64()),
}

#: Where an event came from, as the archive keeps it. ``index`` is the event's place in
#: its record, ``arrival`` one of ``ARRIVALS``, ``archived`` the commit that archived it.
ORIGIN_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "source": pl.String(),
    "cluster": pl.String(),
    "topic": pl.String(),
    "partition": pl.Int32(),
    "offset": pl.Int64(),
    "index": pl.Int32(),
    "broker_ts": TS,
    "arrival": pl.String(),
    "archived": pl.Int64(),
}
ARRIVALS: Final = ("on_time", "late", "too_late")


def event_schema(extra: Mapping[str, str] | None = None) -> dict[str, pl.DataType]:
    """The contract's columns followed by declared extra ones.

    Args:
        extra: name to one of ``EXTRA_TYPES``, as in ``[columns]`` of the configuration.

    Returns:
        Column names to Polars types, contract first, extras in the order given.

    Raises:
        ValueError: an extra column of an unknown type, or of a name already taken.

    >>> list(event_schema({"campaign_id": "str"}))[-1]
    'campaign_id'
    """
    schema = dict(EVENT_SCHEMA)
    for name, kind in (extra or {}).items():
        if name in EVENT_SCHEMA or name in ORIGIN_SCHEMA or name == "user_key":
            raise ValueError(f"declared column {name!r}: the name is taken by the event contract")
        if kind not in EXTRA_TYPES:
            known = ", ".join(EXTRA_TYPES)
            raise ValueError(f"declared column {name!r}: unknown type {kind!r}; one of {known}")
        schema[name] = EXTRA_TYPES[kind]
    return schema
