"""Where records come from, and how their fields become the columns of an event.

Always holds: every column that a source maps is of the event contract or declared in
``[columns]``; every kind of event that it emits fills event_ts, event_type and user_id (event_id
comes from the record's position where it is not mapped); options that mean nothing for a
column's type are refused.

Not promised: that the records have the fields. ``labeling source try`` shows that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, field_validator, model_validator

from labeling.config.features import FEATURES, inside
from labeling.config.hints import Table
from labeling.config.paths import split_path
from labeling.model.window import duration_ms

#: Units as (numerator, denominator): of a time or a duration into ms, of money into micro-units.
UNITS: Final[Mapping[str, tuple[int, int]]] = {
    "s": (1_000, 1),
    "ms": (1, 1),
    "us": (1, 1_000),
    "ns": (1, 1_000_000),
    "micro": (1_000_000, 1),
    "cent": (10_000, 1),
}
TIME_UNITS: Final = ("s", "ms", "us", "ns")
#: Formats that only files have, and those that only topics have.
FILE_FORMATS: Final = ("csv", "parquet")
TOPIC_FORMATS: Final = ("avro", "protobuf")

Unit = Literal["s", "ms", "us", "ns", "micro", "cent"]


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("write a duration such as '10m'")  # noqa: TRY004 - pydantic tells it
    return duration_ms(value)


def _spec(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str) else _list(value)


DurationMs = Annotated[int, BeforeValidator(_duration)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_list)]
OneOrMore = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]


class Corrected(Table):
    """A time by the server's clock: ``client + received - sent``, each a path or a spec."""

    client: Annotated[Spec, BeforeValidator(_spec)]
    sent: Annotated[Spec, BeforeValidator(_spec)]
    received: Annotated[Spec, BeforeValidator(_spec)]


class Spec(Table):
    """How one column is filled: exactly one of the ways, with the options of its type.

    Ways: ``path``; ``const``; ``first_of`` (the first that is not null); ``hash_of`` (a hash of
    fields); ``derive`` (a hash of the event's own columns); ``corrected`` (times only);
    ``none = true`` (leaves the column null, against a mapping inherited from the source).
    Options: ``unit`` or ``scale`` for numbers and times, ``split`` for a list in one text.
    """

    path: str | None = None
    const: str | int | float | bool | None = None
    first_of: Annotated[
        tuple[Annotated[Spec, BeforeValidator(_spec)], ...] | None, BeforeValidator(_list)
    ] = None
    hash_of: Texts | None = None
    derive: Texts | None = None
    corrected: Corrected | None = None
    none: bool | None = None
    unit: Unit | None = None
    scale: Annotated[int, Field(ge=1, le=10**9)] | None = None
    split: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Spec:
        ways = ("path", "const", "first_of", "hash_of", "derive", "corrected", "none")
        given = [way for way in ways if getattr(self, way) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"give exactly one of {', '.join(ways)}; found {found}")
        for way in ("first_of", "hash_of", "derive"):
            if getattr(self, way) == ():
                raise ValueError(f"{way} is empty; name at least one field")
        if self.unit and self.scale:
            raise ValueError("give unit or scale, not both")
        if self.path is None and (self.unit or self.scale or self.split):
            raise ValueError("unit, scale and split belong to a path; put them beside it")
        for path in (self.path, *(self.hash_of or ())):
            if path is not None:
                split_path(path)
        return self

    @property
    def ratio(self) -> tuple[int, int] | None:
        """Numerator and denominator that the number is scaled by; None where it is taken as is."""
        if self.unit:
            return UNITS[self.unit]
        return (self.scale, 1) if self.scale else None

    def leaves(self) -> Iterator[Spec]:
        """The specs with a path or a constant that this one is made of, itself included."""
        if self.first_of:
            for one in self.first_of:
                yield from one.leaves()
        elif self.corrected:
            for one in (self.corrected.client, self.corrected.sent, self.corrected.received):
                yield from one.leaves()
        else:
            yield self

    def paths(self) -> Iterator[str]:
        """Every path that is read for this column."""
        for leaf in self.leaves():
            if leaf.path:
                yield leaf.path
            yield from leaf.hash_of or ()


ColumnMap = dict[str, Annotated[Spec, BeforeValidator(_spec)]]


class When(Table):
    """Which records (or elements) a block is for.

    The field is not null; with ``equals`` it is also one of the given texts.
    """

    path: str
    equals: OneOrMore | None = None

    @field_validator("path")
    @classmethod
    def _path(cls, path: str) -> str:
        split_path(path)
        return path


class Emit(Table):
    """One kind of event that a record gives: ``map`` is laid over the source's.

    With ``explode`` there is one event per element of a list: ``element`` (or ``element.x``) is
    the element, every other path the record's; ``position`` is the element's index from 0.
    """

    when: Annotated[When | None, BeforeValidator(_spec)] = None
    explode: str | None = None
    map: ColumnMap = Field(default_factory=dict)

    @field_validator("explode")
    @classmethod
    def _path(cls, path: str | None) -> str | None:
        if path is not None:
            split_path(path)
        return path


class SourceConfig(Table):
    """A ``[[source]]``: where records come from and how they are mapped.

    Durations are ms. ``files`` are globs relative to the configuration's folder, for ``labeling
    import``; ``topics`` of ``cluster`` are what ``labeling run`` reads, from ``start`` on
    (``earliest``, ``latest``, a time, or offsets by partition) where no position is committed. A
    partition that has been read to its end counts as idle after ``idle_after_ms``.
    ``event_types`` tells what the source can carry, so that rules need not wait for it. Of kind
    ``features`` a source has columns of its own, ``features``: see ``labeling.config.features``.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    kind: Literal["events", "features"] = "events"
    features: dict[str, str] = Field(default_factory=dict)
    format: Literal["json", "csv", "parquet", "avro", "protobuf"] = "json"
    files: OneOrMore = ()
    topics: OneOrMore = ()
    cluster: str | None = None
    start: str | dict[str, int] = "earliest"
    idle_after_ms: Annotated[DurationMs, Field(alias="idle_after", ge=0)] = 30_000
    event_types: Texts | None = None
    max_disorder_ms: Annotated[DurationMs, Field(alias="max_disorder", ge=0)] = 5 * 60_000
    header: bool = True
    fields: Texts | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    timezone: str | None = None
    null_tokens: Texts = ("",)
    map: ColumnMap = Field(default_factory=dict)
    types: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    only_mapped: bool = False
    emit: Annotated[tuple[Emit, ...], BeforeValidator(_list)] = ()

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, name: str | None) -> str | None:
        return None if name is None else known_timezone(name)

    @model_validator(mode="after")
    def _options(self) -> SourceConfig:
        if not self.files and not self.topics:
            raise ValueError(
                "files is missing; name the files, such as files = 'data/*.json', or Kafka topics, "
                "such as topics = ['events']"
            )
        self._check_topics()
        if self.format != "csv":
            for key in ("header", "fields", "delimiter"):
                if key in self.model_fields_set:
                    raise ValueError(f"{key} belongs to format = 'csv', this is {self.format!r}")
        elif not self.header and not self.fields:
            raise ValueError("a CSV without header needs its field names: fields = ['user', ...]")
        return self

    def _check_topics(self) -> None:
        """Hold what belongs to topics, and what belongs to files, to that."""
        if self.topics and self.format in FILE_FORMATS:
            raise ValueError(
                f"format {self.format!r} is of files; topics have json, avro, protobuf"
            )
        if self.files and self.format in TOPIC_FORMATS:
            raise ValueError(f"format {self.format!r} is for topics; not for a source with files")
        if not self.topics:
            for key in ("cluster", "start", "idle_after_ms"):
                if key in self.model_fields_set:
                    raise ValueError(f"{key.removesuffix('_ms')} belongs to a source with topics")
        if isinstance(self.start, dict) and len(self.topics) != 1:
            raise ValueError("start by offsets needs a source of exactly one topic")

    def emits(self) -> tuple[Emit, ...]:
        """The blocks with their full maps: the source's own, overlaid by each block's."""
        blocks = self.emit or (Emit(),)
        full = tuple(e.model_copy(update={"map": {**self.map, **e.map}}) for e in blocks)
        return tuple(inside(e, self) for e in full) if self.kind == FEATURES else full


def known_timezone(name: str) -> str:
    """The name itself.

    Raises:
        ValueError: no such timezone.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown timezone {name!r}; write one like 'Europe/Copenhagen'") from None
    return name


Corrected.model_rebuild()
Spec.model_rebuild()
