"""Whether a source's mapping makes sense for the columns that it fills.

Always holds: ``check_source`` passes only a mapping of known columns, each with options that its
type understands, in which every kind of event has a time, a type and a user.

Not promised: anything about the records; only the configuration is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from labeling.config.features import shown
from labeling.config.hints import nearest
from labeling.config.paths import ELEMENT, INDEX, PARENT, split_path
from labeling.config.source import TIME_UNITS, Emit, SourceConfig, Spec

#: Filled by the mapping in every kind of event; event_id has the position to fall back on.
MUST_MAP: Final = ("event_ts", "event_type", "user_id")
#: Stands for the whole rest of the record, in the column ``props`` only.
REST: Final = "*"


def check_source(source: SourceConfig, schema: Mapping[str, pl.DataType]) -> None:
    """Hold a source's mapping to the columns of ``event_schema(extra)``.

    Raises:
        ValueError: names the source, the block and the column, and says what to change.
    """
    for number, emit in enumerate(source.emits()):
        block = f" emit {number + 1}" if source.emit else ""
        place = f"[[source]] {source.name!r}{block}"
        for column in emit.map:
            if column not in schema:
                hint = nearest(column, schema)
                raise ValueError(
                    f"{place}: map.{column}: no such column{hint} (further ones go into [columns])"
                )
        for column in MUST_MAP:
            if column not in emit.map or emit.map[column].none:
                raise ValueError(f"{place}: map.{column} is missing; every event needs it")
        if emit.explode is None:
            _no_element(emit, place)
        for column, spec in emit.map.items():
            try:
                _check(column, spec, schema, emit)
            except ValueError as error:
                raise ValueError(f"{place}: map.{shown(source, column)}: {error}") from None


def _no_element(emit: Emit, place: str) -> None:
    paths = [path for spec in emit.map.values() for path in spec.paths()]
    for path in [*paths, *([emit.when.path] if emit.when else [])]:
        if path == INDEX:
            raise ValueError(
                f"{place}: {INDEX} needs explode: a record that is not a list has no index"
            )


def _check(column: str, spec: Spec, schema: Mapping[str, pl.DataType], emit: Emit) -> None:
    dtype = schema[column]
    if spec.none or spec.path == REST:
        if spec.path == REST and column != "props":
            raise ValueError("'*' (the rest of the record) goes into props only")
        return
    if spec.derive is not None:
        _check_derive(column, spec.derive, schema, emit)
    if (spec.derive or spec.hash_of) and dtype != pl.String():
        raise ValueError(f"a hash is a text, the column is {dtype}")
    if spec.corrected and not isinstance(dtype, pl.Datetime):
        raise ValueError(f"corrected is for times, the column is {dtype}")
    if isinstance(dtype, pl.List) and (spec.first_of or spec.const is not None):
        raise ValueError("a list is filled from one path")
    if spec.first_of:
        for one in spec.first_of:
            _check(column, one, schema, emit)
    for leaf in spec.leaves():
        _check_leaf(leaf, dtype, timed=spec.corrected is not None)


def _check_leaf(leaf: Spec, dtype: pl.DataType, *, timed: bool) -> None:
    is_time = timed or isinstance(dtype, pl.Datetime)
    if leaf.unit and is_time and leaf.unit not in TIME_UNITS:
        raise ValueError(f"unit {leaf.unit!r} is not of a time; one of {', '.join(TIME_UNITS)}")
    if leaf.scale and is_time:
        raise ValueError("a time takes a unit, not a scale")
    if (leaf.unit or leaf.scale) and not is_time and not dtype.is_integer():
        raise ValueError(f"unit and scale are for whole numbers and times, the column is {dtype}")
    if leaf.split and not isinstance(dtype, pl.List):
        raise ValueError(f"split makes a list, the column is {dtype}")
    for path in leaf.paths():
        if path == REST:
            raise ValueError("'*' stands alone: props = '*'")


def _check_derive(
    column: str, names: tuple[str, ...], schema: Mapping[str, pl.DataType], emit: Emit
) -> None:
    for name in names:
        if name not in schema:
            raise ValueError(f"derive names {name!r}, which is no column{nearest(name, schema)}")
        other = emit.map.get(name)
        if name == column or (other is not None and other.derive is not None):
            raise ValueError(f"derive names {name!r}, which is itself derived; name mapped columns")
        if isinstance(schema[name], pl.List):
            raise ValueError(  # noqa: TRY004 - an error of the configuration, told as the others
                f"derive names {name!r}, a list; name columns of single values"
            )
        if other is None and not (name == "position" and emit.explode):
            raise ValueError(f"derive names {name!r}, which is not mapped; map it or leave it out")


def record_path(path: str, emit: Emit) -> tuple[bool, tuple[str, ...]]:
    """Whether the path is of the exploded element, and its names below that or the record.

    >>> record_path("element.id", Emit(explode="items"))
    (True, ('id',))
    >>> record_path("parent.user", Emit(explode="items"))
    (False, ('user',))
    """
    names = split_path(path)
    if emit.explode is not None and names[0] == ELEMENT:
        return True, names[1:]
    if emit.explode is not None and names[0] == PARENT and len(names) > 1:
        return False, names[1:]
    return False, names
