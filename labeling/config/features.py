"""A ``[[source]]`` of kind ``features``: what a ranker knew when it ranked.

Always holds: a record is of one request, item and time (clause S2 of docs/samples.md): inside it is
an event whose user is the request and whose id is the item. It has the columns of its own source,
and none of ``[columns]``.

Not promised: that a ranker logs every item, or any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from labeling.config.hints import nearest
from labeling.model.event import EVENT_SCHEMA, EXTRA_TYPES, ORIGIN_SCHEMA, event_schema

if TYPE_CHECKING:
    import polars as pl

    from labeling.config.source import Emit, SourceConfig, Spec
    from labeling.model.sample import SampleRule

#: The type of such events, and the value of ``kind`` of such sources.
FEATURES: Final = "features"
#: What the map of such a source fills beside its features; ``props`` only if asked for.
KEYS: Final = ("request_id", "item_id", "served_ts")
#: The column that tells records of one key apart by what they say (clause S4).
FEATURES_KEY: Final = "features_key"
_TAKEN: Final = frozenset({*EVENT_SCHEMA, *ORIGIN_SCHEMA, *KEYS, FEATURES_KEY, "user_key", "row"})
#: Of an event the columns that hold a key.
_INSIDE: Final[Mapping[str, tuple[str, ...]]] = {
    "request_id": ("request_id", "user_id"),
    "item_id": ("item_id", "event_id"),
    "served_ts": ("event_ts",),
}


def type_of(source: str) -> str:
    """What watermarks take the records of a source for: they wait for each source by itself.

    >>> type_of("ranker")
    'features:ranker'
    """
    return f"{FEATURES}:{source}"


def waits_of(samples: Iterable[SampleRule]) -> dict[str, frozenset[str]]:
    """By the key of a label rule what its watermark waits for beside its events (clause S5)."""
    waits: dict[str, frozenset[str]] = {}
    for sample in samples:
        key = sample.labels.key
        waits[key] = waits.get(key, frozenset()) | {type_of(sample.features.source)}
    return waits


def within_of(samples: Iterable[SampleRule], key: str) -> dict[str, int]:
    """The sources of features of a label rule, and how long before a row they are asked, in ms."""
    found: dict[str, int] = {}
    for features in (s.features for s in samples if s.labels.key == key):
        found[features.source] = max(found.get(features.source, 0), features.within_ms)
    return found


def carries(source: SourceConfig) -> frozenset[str] | None:
    """The event types that a source can carry, as watermarks know them; None: anything."""
    if source.kind == FEATURES:
        return frozenset({type_of(source.name)})
    return None if source.event_types is None else frozenset(source.event_types)


def apart_from(sources: Iterable[SourceConfig], waited: Iterable[str]) -> list[str]:
    """The sources of features that a rule does not wait for; ``waited``: those it does."""
    names = {*waited}
    return [s.name for s in sources if s.kind == FEATURES and s.name not in names]


def columns_of(source: SourceConfig, columns: Mapping[str, str]) -> Mapping[str, str]:
    """The declared columns of what a source gives: its features, else those of ``[columns]``."""
    return source.features if source.kind == FEATURES else columns


def schema_of(source: SourceConfig, columns: Mapping[str, str]) -> dict[str, pl.DataType]:
    """The columns that the mapping of a source fills, once the source is held to its kind.

    Raises:
        ValueError: see ``check_features``.
    """
    check_features(source)
    return event_schema(columns_of(source, columns))


def check_columns(columns: Mapping[str, str]) -> None:
    """Hold ``[columns]`` to what events may have.

    Raises:
        ValueError: an unknown type, a name that is taken, or a type of features alone.
    """
    event_schema(columns)
    for name, kind in columns.items():
        if kind == "list[f64]":
            raise ValueError(f"declared column {name!r}: type {kind!r} is for features only")


def keeps_props(source: SourceConfig) -> bool:
    """Whether the rest of the record is kept."""
    return any("props" in emit.map and not emit.map["props"].none for emit in source.emits())


def inside(emit: Emit, source: SourceConfig) -> Emit:
    """A block as it fills the columns of an event; ``emit`` has its full map.

    A feature that is not mapped is the field of its own name: of the element, where the block
    explodes a list whose elements are read at all, else of the record.
    """
    of_element = emit.explode is not None and any(_in_element(s) for s in emit.map.values())
    where = "element." if of_element else ""
    given: dict[str, Spec] = {name: _path(where + name) for name in source.features}
    given |= emit.map
    filled = {c: given[key] for key, cs in _INSIDE.items() if key in given for c in cs}
    filled["event_type"] = _const(FEATURES)
    own = {name: spec for name, spec in given.items() if name not in _INSIDE}
    return emit.model_copy(update={"map": {**filled, **own}})


def shown(source: SourceConfig, column: str) -> str:
    """A column of an event as the map of its source names it."""
    if source.kind != FEATURES:
        return column
    return next((key for key, columns in _INSIDE.items() if column in columns), column)


def check_features(source: SourceConfig) -> None:
    """Hold a source to its kind.

    Raises:
        ValueError: names the source and the key, and says what to change.
    """
    place = f"[[source]] {source.name!r}"
    if source.kind == FEATURES:
        _check_names(source, place)
        _check_maps(source, place)
    else:
        _check_events(source, place)


def _check_events(source: SourceConfig, place: str) -> None:
    if source.features:
        raise ValueError(f"{place}: features belong to kind = 'features', this is 'events'")
    types = [*source.types.values(), *(source.event_types or ())]
    for spec in (emit.map.get("event_type") for emit in source.emits()):
        types += [str(leaf.const) for leaf in (spec.leaves() if spec else ())]
    if FEATURES in types:
        raise ValueError(
            f"{place}: event type {FEATURES!r} is that of features; write kind = 'features', or "
            "another event type"
        )


def _check_names(source: SourceConfig, place: str) -> None:
    if not source.features:
        raise ValueError(
            f"{place}: features is missing; name them, as features = {{ ctr = 'f64' }}"
        )
    for key in ("event_types", "types", "only_mapped"):
        if key in source.model_fields_set:
            raise ValueError(f"{place}: {key} belongs to kind = 'events': features have one type")
    for name, kind in source.features.items():
        if name in _TAKEN:
            raise ValueError(
                f"{place}: features.{name}: the name is taken; name the feature otherwise and map "
                f"it: map.{name}_1 = '{name}'"
            )
        if kind not in EXTRA_TYPES:
            known = ", ".join(EXTRA_TYPES)
            raise ValueError(f"{place}: features.{name}: unknown type {kind!r}; one of {known}")


def _check_maps(source: SourceConfig, place: str) -> None:
    known = (*KEYS, *source.features, "props")
    for number, emit in enumerate(source.emit or (None,)):
        block = f"{place} emit {number + 1}" if emit else place
        full = {**source.map, **(emit.map if emit else {})}
        for column in full:
            if column not in known:
                hint = nearest(column, known)
                raise ValueError(
                    f"{block}: map.{column}: features have request_id, item_id and served_ts, "
                    f"their own columns and props{hint}"
                )
        for key in KEYS:
            if key not in full or full[key].none:
                raise ValueError(
                    f"{block}: map.{key} is missing; every record of features needs it"
                )


def _in_element(spec: Spec) -> bool:
    return any(path == "element" or path.startswith("element.") for path in spec.paths())


def _path(path: str) -> Spec:
    from labeling.config.source import Spec  # noqa: PLC0415 - that module imports this one

    return Spec(path=path)


def _const(value: str) -> Spec:
    from labeling.config.source import Spec  # noqa: PLC0415 - that module imports this one

    return Spec(const=value)
