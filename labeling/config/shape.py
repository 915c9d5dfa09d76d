"""Which parts of a record a mapping reads, as Polars types.

Always holds: the shape has exactly the fields that some path names: a value is a String (its
text), an object a Struct, a list a List. A part that is read in two ways is an error.

Not promised: that records have this shape. Where one does not, that is a reject.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from labeling.config.mapcheck import REST, record_path
from labeling.config.paths import is_reserved, split_path
from labeling.config.source import Emit, SourceConfig


@dataclass
class _Node:
    """One place in a record and how it is read: as a value, an object's fields, a list's items.

    Where only a ``when`` asks whether it is there, none of them: then its text will do.
    """

    value: bool = False
    fields: dict[str, _Node] = field(default_factory=dict)
    items: _Node | None = None

    def at(self, names: tuple[str, ...]) -> _Node:
        node = self
        for name in names:
            node = node.fields.setdefault(name, _Node())
        return node

    def list_item(self) -> _Node:
        if self.items is None:
            self.items = _Node()
        return self.items

    def dtype(self, place: str) -> pl.DataType:
        ways = {"a value": self.value, "an object": bool(self.fields), "a list": self.items}
        used = [way for way, on in ways.items() if on]
        if len(used) > 1:
            raise ValueError(f"{place!r} is read both as {' and as '.join(used)}; choose one")
        if self.items is not None:
            return pl.List(self.items.dtype(f"{place}[]"))
        if self.fields:
            inner = {name: node.dtype(f"{place}.{name}") for name, node in self.fields.items()}
            return pl.Struct(inner)
        return pl.String()


def record_shape(source: SourceConfig, schema: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
    """The top-level fields that a source's mapping reads, with the types that they are read as.

    Raises:
        ValueError: no field is read, or one is read in two ways; the message names the field.

    >>> record_shape(SourceConfig(name="web", files="x", map={"user_id": "ctx.user"}), {
    ...     "user_id": pl.String()})
    {'ctx': Struct({'user': String})}
    """
    root = _Node()
    for emit in source.emits():
        items = root.at(split_path(emit.explode)).list_item() if emit.explode else None
        if emit.when is not None and not is_reserved(emit.when.path):
            of_element, names = record_path(emit.when.path, emit)
            node = (items if of_element and items is not None else root).at(names)
            node.value = node.value or emit.when.equals is not None
        for path, is_list in _reads(emit, schema):
            of_element, names = record_path(path, emit)
            node = (items if of_element and items is not None else root).at(names)
            (node.list_item() if is_list else node).value = True
    if not root.fields:
        raise ValueError("the mapping reads no field of the record; map one")
    return {name: node.dtype(name) for name, node in root.fields.items()}


def _reads(emit: Emit, schema: Mapping[str, pl.DataType]) -> Iterator[tuple[str, bool]]:
    """The paths into the record that a block reads, each with whether it is read as a list."""
    for column, spec in emit.map.items():
        for leaf in spec.leaves():
            as_list = isinstance(schema[column], pl.List) and leaf.split is None
            for path in leaf.paths():
                if path != REST and not is_reserved(path):
                    yield path, as_list
